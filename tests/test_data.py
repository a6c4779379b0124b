"""From an AnnData to minibatches, and neighbours of cells: against plain dense numpy, scipy and scikit-learn."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

import scdeepclust as sdc
from scdeepclust import datasets, diffusion, losses
from scdeepclust.data import Cells, Inputs, align, read
from scdeepclust.data.components import by_covariance
from scdeepclust.data.expression import log_normalised
from scdeepclust.data.read import as_csr
from scdeepclust.data.rows import Rows
from scdeepclust.diffusion.tensors import mean_over, nearest

CPU = torch.device("cpu")


# --------------------------------------------------------------------------------------------------- reading a matrix


@pytest.fixture
def outlier(counts):
    """A gene so high in one cell that clipping bites, and a mask that leaves it in."""
    x = counts.X.toarray()
    x[:, 3] = 0
    x[:7, 3] = [500, 1, 1, 1, 1, 1, 1]
    counts.X = sparse.csr_matrix(x)
    counts.var["highly_variable"] = np.arange(100) < 60
    return counts


def plain_features(raw_counts, mask, transform, gene_scaling):
    """Size factors over all genes, transformation, scaling, clipping; and what is subtracted from each gene."""
    x = np.asarray(raw_counts, dtype=np.float64)
    size = x.sum(1) / np.median(x.sum(1))
    x = (x / size[:, None])[:, mask]
    x = np.sqrt(x) if transform == "sqrt" else np.log1p(x)
    mean, sd = x.mean(0), x.std(0)
    scale = sd**gene_scaling
    return np.minimum(x, mean + 10 * sd) / scale, mean / scale, sd / scale


TRANSFORMS = [("sqrt", 0.0), ("sqrt", 0.5), ("log1p", 0.5), ("log1p", 1.0)]
transforms = pytest.mark.parametrize(("transform", "gene_scaling"), TRANSFORMS)


def everything(cells):
    return torch.cat([batch.x for batch in cells.chunks()]).numpy()


@transforms
def test_genes_are_features_as_plain_numpy_has_them(outlier, transform, gene_scaling):
    inputs, raw = Inputs("counts", transform, gene_scaling, None), read(outlier)
    x = inputs.fit(raw, seed=0)
    cells = inputs.cells(raw, device=CPU, batch_size=64, with_counts=False, x=x)
    values, mean, sd = plain_features(outlier.X.toarray(), outlier.var["highly_variable"], transform, gene_scaling)
    np.testing.assert_allclose(everything(cells), (values - mean) / np.sqrt((sd**2).mean()), rtol=1e-4, atol=1e-4)
    assert (values[0, 3] < values[0].max()) or gene_scaling  # the outlier was clipped


def on_gpu(values, n_pcs, *, device, seed):
    return by_covariance(values, n_pcs, device)


@transforms
@pytest.mark.parametrize("route", ["sparse", "projected", "with counts", "on a GPU"])
def test_components_are_features_as_scikit_learn_has_them(outlier, transform, gene_scaling, route, monkeypatch):
    inputs, raw = Inputs("counts", transform, gene_scaling, 8), read(outlier)
    if route == "on a GPU":  # its arithmetic, here on a CPU
        monkeypatch.setattr("scdeepclust.data.inputs.principal_components", on_gpu)
    x = inputs.fit(raw, seed=0)
    assert inputs.n_features == 8
    x = None if route == "projected" else x
    cells = inputs.cells(raw, device=CPU, batch_size=64, with_counts=route == "with counts", x=x)
    values, *_ = plain_features(outlier.X.toarray(), outlier.var["highly_variable"], transform, gene_scaling)
    expected = PCA(8, svd_solver="full").fit_transform(values)
    expected /= np.sqrt((expected**2).mean())
    found = everything(cells)
    expected *= np.sign((expected * found).sum(0))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_more_components_than_genes_are_as_many_as_there_can_be(types):
    inputs, raw = Inputs("counts", "sqrt", 0.0, 500), read(types)
    inputs.fit(raw, seed=0)
    assert inputs.n_features == 99


def test_lognormalised_values_are_only_scaled_and_centred(lognorm):
    inputs, raw = Inputs("lognorm", "sqrt", 1.0, None), read(lognorm)
    inputs.fit(raw, seed=0)
    x = lognorm.X.toarray().astype(np.float64)
    expected = np.minimum((x - x.mean(0)) / x.std(0), 10)
    cells = inputs.cells(raw, device=CPU, batch_size=64, with_counts=False)
    np.testing.assert_allclose(everything(cells), expected, rtol=1e-3, atol=1e-4)


def test_a_representation_is_only_turned_shifted_and_scaled():
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(80, 5)) * [1, 5, 2, 9, 3] + 7).astype(np.float32)
    inputs, raw = Inputs("rep", "sqrt", 1.0, 3), read(ad.AnnData(obsm={"z": z}), use_rep="z")
    x = inputs.fit(raw, seed=0)
    assert inputs.n_features == 5  # nothing is left out, whatever n_pcs is
    found = everything(inputs.cells(raw, device=CPU, batch_size=64, with_counts=False, x=x))
    assert (found**2).mean() == pytest.approx(1, rel=1e-4)
    apart = lambda m: ((m[:, None] - m[None]) ** 2).sum(2)  # noqa: E731
    np.testing.assert_allclose(apart(found) / apart(found).mean(), apart(z) / apart(z).mean(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("n_pcs", [None, 8], ids=["genes", "components"])
def test_features_of_stored_inputs_are_the_same(types, n_pcs):
    inputs, raw = Inputs("counts", "sqrt", 0.5, n_pcs), read(types)
    inputs.fit(raw, seed=0)
    twin = Inputs(**inputs.config)
    twin.load_state_dict(inputs.state_dict())
    arguments = dict(device=CPU, batch_size=64, with_counts=False)
    np.testing.assert_array_equal(everything(twin.cells(raw, **arguments)), everything(inputs.cells(raw, **arguments)))


def test_two_thousand_genes_are_taken_of_more(types):
    wide = datasets.simulate_types(120, 2300, n_types=3, mean_depth=20_000)
    chosen = read(wide, drop_empty=True)
    assert chosen.values.shape[1] <= 2000
    assert read(wide, mask_var=None, drop_empty=True).values.shape[1] > 2000


@pytest.mark.parametrize(("kind", "flavor"), [("counts", "seurat_v3"), ("lognorm", "seurat")])
def test_they_are_those_that_scanpy_finds_most_variable(kind, flavor):
    wide = datasets.simulate_types(200, 2300, n_types=4, mean_depth=30_000)
    sc.pp.filter_genes(wide, min_cells=1)
    if kind == "lognorm":
        sc.pp.normalize_total(wide, target_sum=1e4)
        sc.pp.log1p(wide)
    table = sc.pp.highly_variable_genes(wide, n_top_genes=2000, flavor=flavor, inplace=False)
    assert read(wide).var_names == list(wide.var_names[table["highly_variable"].to_numpy()])


def test_reading_changes_nothing(counts, same):
    counts.X = sparse.csr_matrix(counts.X)[:, ::-1]  # indices are not sorted
    counts.X.data[0] = 0  # a stored zero
    before = counts.copy()
    raw = read(counts)
    raw.values.data[:] = -1
    if not np.shares_memory(raw.values.data, counts.X.data):
        same(counts, before)
    assert (raw.values.data != 0).all()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda x: x, id="as it is"),
        pytest.param(lambda x: x[::-1, ::-1].tocsc(), id="turned csc"),
        pytest.param(sparse.coo_array, id="coo"),
        pytest.param(
            lambda x: sparse.csr_matrix((np.r_[x.data, [0]], np.r_[x.indices, [0]], np.r_[x.indptr[:-1], [x.nnz + 1]])),
            id="zero",
        ),
        pytest.param(lambda x: x.toarray(), id="dense"),
    ],
)
def test_any_matrix_becomes_canonical_csr(make):
    given = make(sparse.random_array((20, 10), density=0.3, format="csr", rng=np.random.default_rng(0)))
    before = given.copy()
    found = as_csr(given)
    assert found.has_canonical_format
    assert found.dtype == np.float32
    assert found.data.all()
    dense = given if isinstance(given, np.ndarray) else given.toarray()
    np.testing.assert_allclose(found.toarray(), dense, rtol=1e-6)
    assert abs(before - given).sum() == 0


def test_genes_are_matched_by_name(types):
    raw = read(types)
    shuffled = types[:, np.random.default_rng(0).permutation(100)].copy()
    arguments = dict(kind="counts", n_features=100, columns=[], categories=[], layer=None, use_rep=None, batch_key=None)
    found = align(shuffled, raw.var_names, **arguments)
    np.testing.assert_array_equal(found.values.toarray(), raw.values.toarray())
    assert found.var_names == raw.var_names


@pytest.mark.parametrize("where", ["X", "frame"])
def test_columns_of_a_representation_are_matched_by_name(types, where):
    few, types = {"n_clusters": 3, "pretrain_steps": 5, "cluster_steps": 5}, types.copy()
    z = np.log1p(types.X.toarray())
    types.X = z - z.mean(0)
    types.obsm["frame"] = pd.DataFrame(types.X, index=types.obs_names, columns=types.var_names)
    model = sdc.Model(types, use_rep=where, **few)
    model.train(progress=False)
    shuffled = types[:, np.random.default_rng(0).permutation(100)].copy()
    shuffled.obsm["frame"] = shuffled.obsm["frame"].iloc[:, ::-1]
    np.testing.assert_array_equal(model.predict(shuffled), model.predict())
    shuffled.obsm["frame"] = shuffled.obsm["frame"].rename(columns={"gene3": "other"})
    lacking = shuffled[:, shuffled.var_names != "gene3"].copy()
    with pytest.raises(ValueError, match="lacks 1 of the 100 columns that the model was trained on: 'gene3'"):
        model.predict(lacking)
    # where nothing has a name, the place counts
    types.obsm["frame"] = types.obsm["frame"].to_numpy()
    if where == "frame":
        np.testing.assert_array_equal(model.predict(types), model.predict())


def test_a_saved_model_knows_the_names_of_columns(types, tmp_path):
    types = types.copy()
    types.obsm["frame"] = pd.DataFrame(np.log1p(types.X.toarray()), index=types.obs_names, columns=types.var_names)
    model = sdc.Model(types, use_rep="frame", n_clusters=3, pretrain_steps=5, cluster_steps=5)
    model.train(progress=False)
    model.save(tmp_path / "model")
    types.obsm["frame"] = types.obsm["frame"].iloc[:, ::-1]
    np.testing.assert_array_equal(sdc.Model.load(tmp_path / "model").predict(types), model.predict())


def test_half_precision_is_read_like_any_other(types):
    half = types.copy()
    half.X = half.X.toarray().astype(np.float16)
    np.testing.assert_array_equal(read(half).values.toarray(), read(types).values.toarray())
    half.X = np.full(half.shape, 1000, dtype=np.float16)  # a cell's total is above what half precision holds
    values, _ = log_normalised(half, ["gene0"], None, "layer")
    np.testing.assert_allclose(values, np.log1p(1000))


def test_categories_never_seen_are_of_none_with_a_warning(counts):
    counts.obs["batch"] = pd.Categorical(["a", "b", "c"] * 100)
    counts.obs["donor"] = ["x", "y"] * 150
    with pytest.warns(UserWarning, match=r"100 cells have categories of obs\['batch'\].*'b'; it knows 'c', 'a'"):
        found = align(
            counts,
            list(counts.var_names),
            kind="counts",
            n_features=100,
            columns=[],
            categories=[["c", "a"], ["y", "x"]],
            layer=None,
            use_rep=None,
            batch_key="batch",
            categorical_covariate_keys=["donor"],
        )
    assert found.covariates[:3].tolist() == [[1, 1], [-1, 0], [0, 1]]
    cells = Cells(
        device=CPU, batch_size=3, x=torch.zeros(300, 1), covariates=(torch.from_numpy(found.covariates), (2, 2))
    )
    assert cells[torch.arange(3)].covariates.tolist() == [[0, 1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 1]]


# --------------------------------------------------------------------------------------------------------- minibatches


@given(st.integers(4, 400), st.integers(3, 100), st.booleans())
def test_every_cell_is_in_exactly_one_batch_and_none_is_alone(n, batch_size, shuffled):
    cells = Cells(device=CPU, batch_size=batch_size, x=torch.arange(n)[:, None].float())
    generator = torch.Generator().manual_seed(0) if shuffled else None
    batches = [cells[part] for part in cells.parts(generator=generator)]
    sizes = [len(batch.index) for batch in batches]
    assert len(batches) == cells.n_batches()
    assert 2 <= min(sizes) <= max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    seen = torch.cat([batch.index for batch in batches])
    assert sorted(seen.tolist()) == list(range(n))
    assert torch.equal(torch.cat([batch.x for batch in batches])[:, 0], seen.float())


def test_batches_of_some_cells():
    cells = Cells(device=CPU, batch_size=4, x=torch.zeros(20, 1))
    some = torch.tensor([3, 5, 8, 13, 19])
    assert torch.cat([batch.index for batch in cells.batches(some)]).tolist() == some.tolist()


def test_epochs_are_shuffled_anew_and_the_same_again():
    cells = Cells(device=CPU, batch_size=8, x=torch.zeros(64, 1))

    def two_epochs():
        generator = torch.Generator().manual_seed(0)
        return [torch.cat(list(cells.parts(generator=generator))).tolist() for _ in range(2)]

    first, second = two_epochs()
    assert first != second
    assert [first, second] == two_epochs()


@pytest.fixture(params=["as they are", "padded"])
def rows(request):
    """Both ways to gather rows; the second is that of a GPU, here on a CPU."""
    some = sparse.random_array((50, 9), density=0.2, format="csr", rng=np.random.default_rng(0), dtype=np.float32)
    empty = sparse.csr_array((2, 9), dtype=np.float32)
    backwards = sparse.csr_array((np.float32([1, 2, 3]), [8, 1, 0], [0, 3]), shape=(1, 9))
    full = sparse.csr_array(np.ones((1, 9), dtype=np.float32))
    matrix = sparse.vstack([some, empty, backwards, full], format="csr")
    return matrix, Rows(matrix, CPU, padded=request.param == "padded")


@pytest.mark.parametrize(
    "index",
    [[0], [3, 1, 2], [50, 7, 51, 7], [50, 51], [52, 1], [53, 4], list(range(54))],
    ids=["one", "three", "twice", "empty", "unsorted", "full", "all"],
)
def test_gathered_rows_are_scipys(rows, index):
    matrix, gather = rows
    found = gather[torch.tensor(index)]
    assert found.shape == (len(index), 9)
    assert found.row.tolist() == sorted(found.row.tolist())
    np.testing.assert_array_equal(found.dense(), matrix[index].toarray())


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_counts_that_are_padded_are_as_likely(types, likelihood):
    """Value and gradients."""
    matrix, index = types.X.tocsr().astype(np.float32), torch.arange(0, 300, 7)
    found = []
    for padded in (False, True):
        counts = Rows(matrix, CPU, padded=padded)[index]
        generator = torch.Generator().manual_seed(0)
        heads = [torch.randn(shape, generator=generator) for shape in (counts.shape, counts.shape[1:], counts.shape)]
        heads = [head.double().requires_grad_() for head in heads[: 2 + (likelihood == "zinb")]]
        loss = getattr(losses, likelihood)(*heads, counts)
        found.append([loss, *torch.autograd.grad(loss, heads)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


# ----------------------------------------------------------------------------------------------------------- neighbours


@pytest.fixture(scope="module")
def ten_thousand():
    """More cells than scanpy searches exactly: where a pynndescent that returns sparse arrays makes it fail."""
    rng = np.random.default_rng(0)
    groups = rng.integers(4, size=10_000)
    return rng.normal(size=(10_000, 10)) + 12 * np.eye(10)[groups], groups


@pytest.mark.slow
def test_communities_of_ten_thousand_cells(ten_thousand):
    z, groups = ten_thousand
    found = diffusion.communities(z.astype(np.float32), resolution=0.02)
    assert adjusted_rand_score(groups, found) > 0.95


@pytest.mark.slow
def test_scanpys_neighbours_of_ten_thousand_cells(ten_thousand):
    import scanpy as sc

    z, groups = ten_thousand
    adata = ad.AnnData(obs=pd.DataFrame(index=pd.RangeIndex(10_000).astype(str)), obsm={"z": z})
    sc.pp.neighbors(adata, use_rep="z", n_neighbors=15, random_state=0)
    connected = adata.obsp["connectivities"].tocoo()
    assert (groups[connected.row] == groups[connected.col]).mean() > 0.99


def test_nearest_neighbours_are_those_of_a_plain_table():
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    indices, distances = diffusion.neighbors(x, 7)
    table = np.sqrt(((x[:, None] - x[None]) ** 2).sum(2))
    np.fill_diagonal(table, np.inf)
    np.testing.assert_array_equal(indices, np.argsort(table, axis=1)[:, :7])
    np.testing.assert_allclose(distances, np.sort(table, axis=1)[:, :7], rtol=1e-3)


@pytest.mark.parametrize("n_steps", [0, 1, 2, 3])
def test_averages_are_steps_of_a_row_stochastic_matrix(n_steps):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    table = ((x[:, None] - x[None]) ** 2).sum(2)
    np.fill_diagonal(table, np.inf)
    kernel = np.zeros((60, 60))
    np.put_along_axis(kernel, np.argsort(table, axis=1)[:, :7], 1 / 7, axis=1)
    np.testing.assert_allclose(kernel.sum(1), 1)
    assert not kernel.diagonal().any()
    found = diffusion.average(x, n_neighbors=7, n_steps=n_steps)
    np.testing.assert_allclose(found, np.linalg.matrix_power(kernel, n_steps) @ x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_copies", [2, 5, 30])
def test_duplicates_are_neighbours_but_never_a_cell_of_itself(n_copies):
    x = np.repeat(np.random.default_rng(0).normal(size=(60 // n_copies, 3)).astype(np.float32), n_copies, axis=0)
    indices, distances = diffusion.neighbors(x, 4)
    assert indices.shape == (60, 4)
    assert not (indices == np.arange(60)[:, None]).any()
    assert all(len(set(row)) == 4 for row in indices.tolist())
    n_same = min(4, n_copies - 1)
    np.testing.assert_allclose(distances[:, :n_same], 0, atol=1e-3)
    same = np.arange(60) // n_copies
    np.testing.assert_array_equal(same[indices[:, :n_same]], np.repeat(same[:, None], n_same, 1))


@pytest.mark.parametrize("at_once", [50, 2**28], ids=["few cells at once", "all at once"])
def test_a_gpu_finds_the_same_neighbours_and_averages(at_once):
    """Its arithmetic, here on a CPU."""
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    indices, _ = diffusion.neighbors(x, 7)
    found = nearest(torch.from_numpy(x), 7, at_once=at_once)
    np.testing.assert_array_equal(found, indices)
    averaged = mean_over(torch.from_numpy(x), found, 2)
    np.testing.assert_allclose(averaged, diffusion.average_over(x, indices, 2), atol=1e-6)


def test_more_neighbours_than_cells_are_all_others():
    indices, _ = diffusion.neighbors(np.arange(5.0)[:, None], 30)
    assert [sorted(row) for row in indices.tolist()] == [[j for j in range(5) if j != i] for i in range(5)]


@pytest.fixture
def by_lists(monkeypatch):
    """Few cells searched as many are."""
    monkeypatch.setattr("scdeepclust.diffusion.search.EXACT_UP_TO", 0)


@pytest.mark.parametrize("n_neighbors", [10, 100])
def test_the_search_by_lists_finds_nearly_all(by_lists, n_neighbors):
    x = np.random.default_rng(0).normal(size=(12_000, 5)).astype(np.float32)
    some = np.arange(0, 12_000, 40)
    exact, at = diffusion.neighbors(x, n_neighbors, rows=some)
    found, distances = diffusion.neighbors(x, n_neighbors)
    assert not (found == np.arange(12_000)[:, None]).any()
    assert (np.diff(distances, axis=1) >= 0).all()
    shared = [len(np.intersect1d(*pair)) for pair in zip(exact, found[some], strict=True)]
    assert np.mean(shared) > 0.98 * n_neighbors
    assert (distances[some] / at).mean() < 1.01
    on_gpu = nearest(torch.from_numpy(x), n_neighbors, exact_up_to=0).numpy()  # the way of a GPU, here on a CPU
    assert not (on_gpu == np.arange(12_000)[:, None]).any()
    shared = [len(np.intersect1d(*pair)) for pair in zip(exact, on_gpu[some], strict=True)]
    assert np.mean(shared) > 0.98 * n_neighbors
    for again, first in zip(diffusion.neighbors(x, n_neighbors), (found, distances), strict=True):
        np.testing.assert_array_equal(again, first)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(5, 72), n_places=st.integers(1, 72), k=st.integers(1, 100))
def test_the_search_by_lists_of_few_or_equal_cells_is_exact(seed, n, n_places, k):
    """All lists are looked through where there are no more than that many."""
    x = np.random.default_rng(seed).normal(size=(n_places, 3)).astype(np.float32)
    x = x[np.random.default_rng(seed).integers(n_places, size=n)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scdeepclust.diffusion.search.EXACT_UP_TO", 0)
        found, distances = diffusion.neighbors(x, k)
    exact, at = diffusion.neighbors(x, k)
    assert found.shape == exact.shape == (n, min(k, n - 1))
    on_gpu = nearest(torch.from_numpy(x), min(k, n - 1), exact_up_to=0).numpy()  # the way of a GPU, here on a CPU
    for some in (found, on_gpu):
        assert not (some == np.arange(n)[:, None]).any()
        assert all(len(set(row)) == len(row) for row in some.tolist())
    np.testing.assert_allclose(distances, at, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(x[on_gpu] - x[:, None], axis=2), at, atol=2e-3)


def test_most_cells_in_one_list_are_searched_too(by_lists):
    x = np.random.default_rng(0).normal(size=(6000, 3)).astype(np.float32)
    x[1000:] *= 1e-3
    exact, _ = diffusion.neighbors(x, 10, rows=np.arange(6000))
    found, distances = diffusion.neighbors(x, 10)
    shared = [len(np.intersect1d(*pair)) for pair in zip(exact, found, strict=True)]
    assert np.mean(shared) > 9.8
    np.testing.assert_allclose(distances, np.linalg.norm(x[found] - x[:, None], axis=2), rtol=1e-5)


def test_where_the_lists_around_a_cell_hold_too_few_all_cells_are_searched(by_lists):
    """Far from a crowd of equal cells, single ones have lists of their own."""
    x = np.concatenate([np.random.default_rng(0).normal(20, 5, size=(60, 3)), np.zeros((3000, 3))]).astype(np.float32)
    _, exact = diffusion.neighbors(x, 40, rows=np.arange(60))
    found, distances = diffusion.neighbors(x, 40)
    np.testing.assert_allclose(distances[:60], exact, rtol=1e-5)
    assert (distances[60:] == 0).all()
    on_gpu = nearest(torch.from_numpy(x), 40, exact_up_to=0).numpy()
    for some in (found, on_gpu):
        assert all(len({*row, cell}) == 41 for cell, row in enumerate(some.tolist()))
    np.testing.assert_allclose(np.linalg.norm(x[on_gpu[:60]] - x[:60, None], axis=2), exact, rtol=1e-3)


def test_centres_are_means_of_clusters(ten_thousand):
    z, groups = (part[:500] for part in ten_thousand)
    found = diffusion.starting_centres(
        z.astype(np.float32), 4, smooth=None, n_neighbors=10, n_diffusion=1, n_init=3, random_state=0
    )
    means = np.stack([z[groups == k].mean(0) for k in range(4)])
    nearest = np.linalg.norm(found[:, None] - means[None], axis=2)
    assert nearest.min(1).max() < 1e-4
    assert set(nearest.argmin(1)) == {0, 1, 2, 3}


def test_starts_that_a_few_cells_choose_are_refined_on_all(ten_thousand, monkeypatch):
    fit, seen = KMeans.fit, []
    monkeypatch.setattr(KMeans, "fit", lambda self, x: seen.append(len(x)) or fit(self, x))
    z, groups = (part[:2000] for part in ten_thousand)
    options = {"smooth": z, "n_neighbors": 10, "n_diffusion": 1, "n_init": 10, "random_state": 0}
    found = diffusion.starting_centres(z.astype(np.float32), 4, n_choosing=200, **options)
    means = np.stack([z[groups == k].mean(0) for k in range(4)])
    nearest = np.linalg.norm(found[:, None] - means[None], axis=2)
    assert nearest.min(1).max() < 1e-4
    # too few for each cluster cannot choose
    assert len(diffusion.starting_centres(z.astype(np.float32), 30, n_choosing=200, **options)) == 30
    assert seen == [200, 2000, 2000]


def test_a_sample_is_that_of_its_seed_and_in_order():
    cells = Cells(device=CPU, batch_size=4, x=torch.zeros(50, 1))
    one, again, other = cells.sample(20), cells.sample(20), cells.sample(20, seed=1)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert len(one.unique()) == 20
    assert torch.equal(one, one.sort().values)
    assert torch.equal(cells.sample(60, seed=3), torch.arange(50))
