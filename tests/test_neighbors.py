"""Neighbours chosen by what was held out: what is chosen where the truth is known, and what scanpy makes of the result."""

from __future__ import annotations

import functools
import importlib
import random

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

import scdeepclust as sdc
from scdeepclust import datasets, diffusion

BLOCKS = {"n_pcs": [1, 2, 3, 4, 5, 6, 10, 20], "n_neighbors": 60, "weights": "uniform", "n_steps": 1, "n_splits": 2}
FEW = {"n_pcs": [2, 5], "n_neighbors": 12, "n_splits": 2, "progress": False}


def log_normalised(adata):
    """The same cells with log-normalised values instead of counts."""
    x = adata.X.toarray().astype(np.float64)
    depth = x.sum(1, keepdims=True)
    return ad.AnnData(sparse.csr_matrix(np.log1p(x / depth * np.median(depth)), dtype=np.float32), obs=adata.obs.copy())


def search(adata, **arguments):
    found = sdc.pp.neighbors(adata, copy=True, **{"progress": False} | arguments)
    return found.uns[arguments.get("key_added", "n2s")]


def renamed(adata):
    """With names that are unique and genes that are not empty."""
    adata = adata.copy()
    adata.obs_names = [f"c{i}" for i in range(adata.n_obs)]
    sc.pp.filter_genes(adata, min_cells=1)
    return adata


def lowest(table):
    """The lowest loss of one step for each number of components."""
    return table[table["n_steps"] == 1].groupby("n_pcs")["loss"].min()


# ------------------------------------------------------------------------------------------------------------ pure noise


@pytest.fixture(scope="module")
def of_noise():
    """Searches of Poisson counts of one type: nothing but noise."""
    noise = datasets.simulate_types(500, 150, n_types=1, dispersion=0, depth_sd=0, random_state=0)

    @functools.cache
    def run(scheme):
        grid = {"n_pcs": [2, 10, 20, 40], "n_neighbors": 80, "n_steps": 1, "n_splits": 2}
        return search(noise, scheme=scheme, weights="uniform", rule="min", **grid)

    return run


def takes_all_neighbors(found):
    return found["choice"]["n_neighbors"] == 80


def is_flat(found):
    """Whether more components change the loss of the most neighbours by less than a percent."""
    loss = found["loss"].query("n_neighbors == 80")["loss"]
    return np.ptp(loss) < 0.01 * loss.mean()


def beats_the_mean(found):
    return found["loss"]["loss"].min() < found["references"]["mean"]


@pytest.mark.parametrize("scheme", ["count_split", "gene_split"])
def test_of_pure_noise_all_neighbours_are_taken_and_components_change_nothing(of_noise, scheme):
    found = of_noise(scheme)
    assert takes_all_neighbors(found)
    assert is_flat(found)
    assert not beats_the_mean(found)
    # A mean of k cells has the noise of one k-th of a cell on top of the cell's own, and a little that chose them.
    loss = found["loss"].query("n_neighbors == 80")["loss"]
    assert (loss / found["references"]["mean"]).between(1 + 1 / 80, 1.04).all()


def test_a_graph_that_has_seen_its_target_sees_structure_in_pure_noise(of_noise):
    """DEWAKSS's scheme fails what the test above asks: its loss falls with every component."""
    found = of_noise("self")
    assert not takes_all_neighbors(found)
    assert not is_flat(found)
    assert beats_the_mean(found)
    assert (np.diff(lowest(found["loss"])) < 0).all()
    assert found["choice"]["n_pcs"] == 40


# ---------------------------------------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("n_types", [4, 6])
@pytest.mark.parametrize("scheme", ["count_split", "gene_split"])
def test_types_take_one_component_less_than_there_are_types(scheme, n_types, seed):
    types = {"n_types": n_types, "dispersion": 0, "separation": 0.7, "depth_sd": 0, "mean_depth": 1000}
    adata = datasets.simulate_types(300, 120, **types, random_state=seed)
    found = search(adata if scheme == "count_split" else log_normalised(adata), **BLOCKS)
    assert found["search"]["scheme"] == scheme
    assert n_types - 2 <= found["choice"]["n_pcs"] <= n_types
    assert found["choice"]["n_neighbors"] == pytest.approx(min(60, 300 / n_types), abs=3)


def test_a_graph_that_has_seen_its_target_takes_all_components_it_can_get():
    adata = datasets.simulate_types(300, 120, n_types=4, dispersion=0, separation=0.7, depth_sd=0, mean_depth=1000)
    assert search(adata, scheme="self", **BLOCKS)["choice"]["n_pcs"] == 20


def test_a_representation_is_split_after_a_rotation():
    rng = np.random.default_rng(0)
    groups = rng.integers(3, size=240)
    rep = rng.normal(size=(240, 12))
    rep[:, :2] += 60 * np.array([[0, 0], [1, 0], [0, 1]])[groups]  # all signal in two of the axes
    adata = ad.AnnData(obs=pd.DataFrame(index=pd.RangeIndex(240).astype(str)), obsm={"rep": rep})
    found = search(adata, use_rep="rep", n_pcs=[1, 2, 3, 5], weights="uniform", n_steps=1)
    assert found["search"]["scheme"] == "gene_split"
    assert found["choice"]["n_pcs"] == 2
    assert found["choice"]["n_neighbors"] == pytest.approx(np.bincount(groups).min() - 1, abs=5)


# -------------------------------------------------------------------------------------- what DEWAKSS found on RNA mixtures


@pytest.fixture(scope="module")
def mixtures():
    """SORT-seq pseudo-cells, with square roots after Freeman and Tukey in a layer, as in the paper."""
    adata = datasets.cellbench_rnamix()
    adata = adata[adata.obs["batch"] == "SORT-seq"].copy()
    sc.pp.filter_genes(adata, min_cells=10)
    depth = np.asarray(adata.X.sum(1)).ravel()
    x = sparse.csr_matrix(sparse.diags(np.median(depth) / depth) @ adata.X.astype(np.float64))
    x.data = (np.sqrt(x.data) + np.sqrt(x.data + 1) - 1) / 10  # a shift and a scale change nothing
    adata.layers["ftt"] = x.astype(np.float32)
    return adata


def as_dewakss(adata, **arguments):
    return search(adata, scheme="self", gene_scaling=0, rule="min", **arguments)


@pytest.mark.public
@pytest.mark.slow
def test_the_published_optimum_of_the_rna_mixtures(mixtures):
    """Tjärnberg et al. 2021, figure 2: four components, and an error that falls steeply and rises slowly again."""
    found = as_dewakss(
        mixtures, layer="ftt", mask_var=None, weights="uniform", n_pcs=[2, 3, 4, 6, 15], n_neighbors=80, n_steps=1
    )
    assert found["minimum"]["n_pcs"] == 4
    assert 30 <= found["minimum"]["n_neighbors"] < 80
    curve = found["loss"].query("n_pcs == 4").set_index("n_neighbors")["loss"]
    assert curve[5] > 1.1 * curve.min()
    assert curve.min() < curve[80] < 1.02 * curve.min()


@pytest.mark.public
def test_with_their_unit_of_distance_their_weights_take_four_components_too(mixtures, monkeypatch):
    """Ours is the mean distance of the five nearest, theirs that of all; ours predicts most real cells better."""
    grid = {"layer": "ftt", "weights": "distance", "n_pcs": [2, 4, 8, 15], "n_neighbors": 80, "n_steps": 1}
    ours = as_dewakss(mixtures, **grid)
    monkeypatch.setattr(importlib.import_module("scdeepclust.diffusion.markov"), "SCALE", 80)
    theirs = as_dewakss(mixtures, **grid)
    assert theirs["minimum"]["n_pcs"] == 4
    assert 30 <= theirs["minimum"]["n_neighbors"] < 80
    # At four components ours ends within two percent, after a fall from five neighbours of more than a tenth.
    loss = ours["loss"].set_index(["n_pcs", "n_neighbors"])["loss"]
    assert loss[4].min() < 1.02 * loss.min()
    assert loss[4][5] > 1.1 * loss[4].min()
    assert 30 <= loss[4].idxmin() <= 80


@pytest.mark.public
def test_more_neighbours_need_fewer_steps(mixtures):
    """The paper's second finding, and of many neighbours one step is best."""
    values = sparse.csr_array(mixtures.layers["ftt"])[:, np.asarray(mixtures.X.mean(0)).ravel().argsort()[-1000:]]
    x = sc.pp.pca(values.toarray(), n_comps=4, random_state=0)
    indices, distances = diffusion.neighbors(x, 80)
    best = []
    for k in (2, 5, 10, 40, 80):
        matrix = diffusion.kernel(indices[:, :k], distances[:, :k])
        loss = diffusion.loss_of_kernel(matrix, values, values, n_steps=6, honest=True)
        best.append(int(loss.mean(0).argmin()) + 1)
    assert best == sorted(best, reverse=True)
    assert best[0] > 2
    assert best[-1] == 1


@pytest.mark.public
def test_square_roots_of_counts_serve_as_well_as_those_of_freeman_and_tukey(mixtures):
    grid = {"weights": "uniform", "n_pcs": [2, 3, 4, 6, 15], "n_neighbors": 60, "n_steps": 1}
    found = as_dewakss(mixtures, transform="sqrt", **grid)["minimum"]
    assert found["n_pcs"] in {3, 4, 6}
    assert 25 <= found["n_neighbors"] <= 55


# --------------------------------------------------------------------------------------------------------- what is chosen


@pytest.mark.parametrize("rule", ["one_se", "min"])
def test_the_choice_is_that_of_the_rule(counts, rule):
    found = search(counts, n_pcs=[2, 3, 5, 8, 12], n_neighbors=30, rule=rule)
    table, choice = found["loss"], found["choice"]
    lowest_row = table.loc[table["loss"].idxmin()]
    assert found["minimum"]["loss"] == lowest_row["loss"]
    assert table["excess"].min() == pytest.approx(0, abs=1e-7)
    if rule == "min":
        assert choice == found["minimum"]
        return
    near = table[table["excess"] <= table["excess_se"]]
    assert choice["n_pcs"] == near["n_pcs"].min()
    near = near[near["n_pcs"] == choice["n_pcs"]]
    assert choice["n_steps"] == near["n_steps"].min()
    near = near[near["n_steps"] == choice["n_steps"]]
    assert choice["n_neighbors"] == near["n_neighbors"].max()


def test_a_second_step_that_gains_nothing_is_not_taken():
    """Its loss is lower by a hundredth of the standard error of the difference."""
    from scdeepclust.selection.table import chosen, rows_of, table_of, with_steps

    rng = np.random.default_rng(0)
    one, noise = rng.normal(5, 1, size=100), rng.normal(size=100)
    two = one + (noise - noise.mean()) - 0.01 * noise.std() / 10
    table = table_of([(5, "uniform")], np.array([[[one.mean()]]]), one[None, None])
    more = rows_of([(5, 1, "uniform", 2)], np.array([[[two.mean()]]]))
    table = with_steps(table, more, (two - one)[None])
    assert chosen(table, "min")["n_steps"] == 2
    assert chosen(table, "one_se")["n_steps"] == 1


def test_every_combination_has_its_row(counts):
    found = search(counts, n_pcs=[2, 5], n_neighbors=12, weights=["uniform", "gaussian"], n_steps=3, n_splits=2)
    table = found["loss"]
    one = table[table["n_steps"] == 1]
    assert len(one) == 2 * 12 * 2
    assert not table.duplicated(["n_pcs", "n_neighbors", "weights", "n_steps"]).any()
    assert set(table["n_steps"]) == {1, 2, 3}
    assert np.isfinite(table[["loss", "loss_se", "excess", "excess_se"]]).all(axis=None)
    best = table.loc[table["loss"].idxmin()]
    assert found["references"]["mean"] > best["loss"]


@pytest.mark.parametrize(
    "which", [[(1, 1), (1, 4), (1, 6), (2, 5)], [(2, 3)]], ids=["five neighbours have a unit", "three have the same"]
)
@pytest.mark.parametrize(
    ("scheme", "self_loops"), [("count_split", False), ("count_split", True), ("gene_split", False), ("self", False)]
)
def test_losses_are_those_of_dense_algebra(counts, scheme, self_loops, which, monkeypatch):
    """The whole search, rebuilt from its splits with scikit-learn's neighbours and dense matrices."""
    module = importlib.import_module("scdeepclust.selection.neighbors")
    splits, original = [], module._split

    def kept(*arguments):
        splits.append(original(*arguments))
        return splits[-1]

    monkeypatch.setattr(module, "_split", kept)
    grid = {"n_pcs": [3], "n_neighbors": 6, "weights": "distance", "n_splits": 2, "self_loops": self_loops}
    found = search(renamed(counts[:120]), scheme=scheme, **grid)
    assert len(splits) == (1 if scheme == "self" else 2)
    for n_steps, k in which:
        losses = []
        for split in splits:
            distances, indices = NearestNeighbors(n_neighbors=6).fit(split.x[:, :3]).kneighbors()
            matrix = np.zeros((120, 120))
            weight = np.exp(-distances / distances[:, :5].mean(1, keepdims=True))
            np.put_along_axis(matrix, indices[:, :k], weight[:, :k], axis=1)
            matrix += self_loops * np.eye(120)
            matrix /= matrix.sum(1, keepdims=True)
            if n_steps == 2:
                matrix = matrix @ matrix
                if scheme != "count_split":
                    np.fill_diagonal(matrix, 0)
                    matrix /= matrix.sum(1, keepdims=True)
            losses.append(np.mean((matrix @ split.source.toarray() - split.target.toarray()) ** 2))
        row = found["loss"].query("n_steps == @n_steps and n_neighbors == @k")
        assert row["loss"].item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_sample_of_cells_predicts_the_loss_of_all(counts, monkeypatch):
    grid = {"n_pcs": [2, 5], "n_neighbors": 20, "n_steps": 1}
    everyone = search(counts, **grid)
    monkeypatch.setattr("scdeepclust.selection.neighbors.MOST_SCORED", 150)
    some = search(counts, **grid)
    np.testing.assert_allclose(some["loss"]["loss"], everyone["loss"]["loss"], rtol=0.05)


# ------------------------------------------------------------------------------------------------------- scanpy's part


def test_scanpys_tools_work_on_the_result(counts):
    sdc.pp.neighbors(counts, **FEW)
    sc.tl.umap(counts, neighbors_key="n2s", maxiter=5)
    sc.tl.leiden(counts, neighbors_key="n2s", flavor="igraph", n_iterations=2, directed=False)
    sc.tl.paga(counts, groups="leiden", neighbors_key="n2s")
    sc.tl.diffmap(counts, neighbors_key="n2s", n_comps=4)
    assert np.isfinite(counts.obsm["X_umap"]).all()
    assert counts.obs["leiden"].nunique() >= 3
    assert counts.uns["paga"]["connectivities"].shape[0] == counts.obs["leiden"].nunique()


def test_distances_hold_the_chosen_neighbours_as_scanpys_own_do(counts):
    sdc.pp.neighbors(counts, **FEW)
    k = counts.uns["n2s"]["choice"]["n_neighbors"]
    indices, distances = diffusion.neighbors(counts.obsm["X_n2s"], k)
    stored = counts.obsp["n2s_distances"]
    assert not any(i in row.indices for i, row in enumerate(stored))
    assert np.diff(stored.indptr).tolist() == [k] * counts.n_obs
    for i, row in enumerate(stored):
        order = np.argsort(row.data)
        assert set(row.indices) == set(indices[i])
        np.testing.assert_allclose(row.data[order], distances[i], rtol=1e-3)


def test_connectivities_are_those_that_scanpy_makes_of_the_choice(counts):
    sdc.pp.neighbors(counts, **FEW)
    k = counts.uns["n2s"]["choice"]["n_neighbors"]
    sc.pp.neighbors(counts, n_neighbors=k + 1, use_rep="X_n2s", transformer="sklearn", key_added="plain")
    ours, scanpys = counts.obsp["n2s_connectivities"], counts.obsp["plain_connectivities"]
    np.testing.assert_allclose(ours.toarray(), scanpys.toarray(), atol=1e-4)


def test_results_go_under_the_key_and_nothing_else_changes(counts, same):
    before = counts.copy()
    sdc.pp.neighbors(counts, key_added="mine", **FEW)
    assert set(counts.uns) - set(before.uns) == {"mine"}
    assert set(counts.obsm) - set(before.obsm) == {"X_mine"}
    assert set(counts.obsp) - set(before.obsp) == {"mine_distances", "mine_connectivities"}
    assert counts.obsm["X_mine"].shape == (counts.n_obs, counts.uns["mine"]["choice"]["n_pcs"])
    assert counts.obsm["X_mine"].dtype == np.float32
    del counts.uns["mine"], counts.obsm["X_mine"], counts.obsp["mine_distances"], counts.obsp["mine_connectivities"]
    same(counts, before)


def test_a_copy_leaves_the_original_as_it_is(counts, same):
    before = counts.copy()
    found = sdc.pp.neighbors(counts, copy=True, **FEW)
    same(counts, before)
    assert sdc.pp.neighbors(counts, **FEW) is None
    same(found, counts)


@pytest.mark.parametrize("random_state", [7, np.int64(7)])
def test_the_same_seed_gives_the_same_result_and_touches_no_global_state(counts, same, random_state):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    threads = torch.get_num_threads()
    one, two = (sdc.pp.neighbors(counts, copy=True, random_state=random_state, **FEW) for _ in range(2))
    same(one, two)
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    assert torch.get_num_threads() == threads


def test_another_seed_splits_otherwise(counts):
    one, two = (search(counts, random_state=seed, **FEW)["loss"]["loss"] for seed in (0, 1))
    assert not np.allclose(one, two, rtol=1e-6)
    np.testing.assert_allclose(one, two, rtol=0.1)


@pytest.mark.parametrize("convert", [sparse.csc_matrix, sparse.csr_array, lambda x: x.toarray().astype(np.int64)])
def test_the_matrix_may_have_any_format(counts, convert, same):
    wanted = search(counts, **FEW)
    counts.X = convert(counts.X)
    same(search(counts, **FEW)["loss"], wanted["loss"])


def test_counts_in_a_layer(counts, same):
    wanted = search(counts, **FEW)
    counts.layers["counts"] = counts.X.copy()
    counts.X = log_normalised(counts).X
    found = search(counts, layer="counts", **FEW)
    same(found["loss"], wanted["loss"])
    assert found["search"]["layer"] == "counts"
    assert search(counts, **FEW)["search"]["scheme"] == "gene_split"


def test_genes_that_are_not_used_count_for_the_depth_only(counts):
    mask = np.arange(counts.n_vars) % 2 == 0
    found = search(counts, mask_var=mask, **FEW)
    counts.var["half"] = mask
    named = search(counts, mask_var="half", **FEW)
    pd.testing.assert_frame_equal(found["loss"], named["loss"])
    alone = search(counts[:, mask].copy(), **FEW)
    assert not np.allclose(alone["loss"]["loss"], found["loss"]["loss"], rtol=1e-4)


def test_a_result_survives_a_file(counts, tmp_path):
    sdc.pp.neighbors(counts, **FEW)
    counts.write_h5ad(tmp_path / "cells.h5ad")
    read = ad.read_h5ad(tmp_path / "cells.h5ad")
    before, after = counts.uns["n2s"], read.uns["n2s"]
    pd.testing.assert_frame_equal(before["loss"], after["loss"], check_exact=True, check_dtype=False, check_like=True)
    assert after["choice"] == before["choice"]
    assert after["references"] == before["references"]
    assert set(after["search"]) == set(before["search"])
    np.testing.assert_array_equal(read.obsm["X_n2s"], counts.obsm["X_n2s"])
    for adata in (counts, read):
        sdc.pp.denoise(adata, dense=True, progress=False)
        sc.tl.leiden(adata, neighbors_key="n2s", flavor="igraph", n_iterations=2, directed=False)
    np.testing.assert_array_equal(read.layers["denoised"], counts.layers["denoised"])
    assert (read.obs["leiden"] == counts.obs["leiden"]).all()


# ------------------------------------------------------------------------------------------------------------- hard cells


def finite(adata):
    found = sdc.pp.neighbors(adata, copy=True, **FEW | {"n_neighbors": 20})
    assert np.isfinite(found.obsm["X_n2s"]).all()
    assert np.isfinite(found.obsp["n2s_connectivities"].data).all()
    assert np.isfinite(found.uns["n2s"]["loss"]["loss"]).all()
    return found


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
@pytest.mark.parametrize("n_cells", [2, 8, 60])
def test_duplicates_of_cells(counts, n_cells):
    found = finite(renamed(counts[np.repeat(np.arange(n_cells), 120 // n_cells)]))
    assert found.n_obs == 120


def test_cells_without_a_gene_in_common():
    rng = np.random.default_rng(0)
    x = np.kron(np.eye(3), np.ones((50, 20))) * rng.poisson(3, size=(150, 60))
    x[x.sum(1) == 0, 0] = 1
    found = finite(ad.AnnData(sparse.csr_matrix(x, dtype=np.float32)))
    connected = found.obsp["n2s_connectivities"].tocoo()
    assert (connected.row // 50 == connected.col // 50).mean() > 0.99


def test_very_shallow_cells_have_no_say_but_neighbours():
    adata = datasets.simulate_types(200, 60, n_types=2, mean_depth=16, depth_sd=0.5)
    adata = adata[adata.X.sum(1).A1 > 0]
    adata = adata[:, adata.X.sum(0).A1 > 0].copy()
    n_shallow = (adata.X.sum(1).A1 < 10).sum()
    assert n_shallow > 10
    with pytest.warns(UserWarning, match=f"{n_shallow} of {adata.n_obs} cells hold fewer than 10 counts .* no say"):
        found = finite(adata)
    assert (np.diff(found.obsp["n2s_connectivities"].indptr) > 0).all()


@pytest.mark.parametrize("n_cells", [12, 40])
def test_few_cells(counts, n_cells):
    adata = renamed(counts[:n_cells])
    found = search(adata)  # what is tried by default shrinks with the data, without a warning
    assert max(found["search"]["n_pcs"]) <= n_cells - 3
    assert found["loss"]["n_neighbors"].max() == n_cells - 2


def test_a_grid_that_the_data_do_not_allow_is_clipped_and_named(counts):
    adata = renamed(counts[:40])
    with pytest.warns(UserWarning, match=r"tried are n_pcs=\[5, 37\] and up to n_neighbors=38") as caught:
        found = search(adata, n_pcs=[5, 50, 500], n_neighbors=100)
    assert caught[0].filename == __file__
    assert set(found["loss"]["n_pcs"]) == {5, 37}
    assert found["loss"]["n_neighbors"].max() == 38
    with pytest.warns(UserWarning, match=r"n_pcs=\[37\]"):
        search(log_normalised(adata), n_pcs=60, n_neighbors=10, n_steps=1)


# -------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"scheme": "mcv"}, "scheme='mcv' must be one of .*'count_split'.*'self'", id="scheme"),
        pytest.param({"weights": "exp"}, "weights='exp' must be one of .*'distance'", id="weights"),
        pytest.param({"weights": ["uniform", "exp"]}, "weights='exp' must be one of", id="one of the weights"),
        pytest.param({"weights": []}, "weights", id="no weights"),
        pytest.param({"rule": "best"}, "rule='best' must be one of 'one_se', 'min'", id="rule"),
        pytest.param({"n_pcs": 0}, "n_pcs=0 must be an integer of at least 1", id="no components"),
        pytest.param({"n_pcs": [5, -1]}, "n_pcs=-1 must be", id="negative components"),
        pytest.param({"n_pcs": [2.5]}, "n_pcs=2.5 must be", id="half a component"),
        pytest.param({"n_pcs": []}, "n_pcs", id="no numbers of components"),
        pytest.param({"n_pcs": True}, "n_pcs=True must be", id="boolean components"),
        pytest.param({"n_neighbors": 0}, "n_neighbors=0 must be", id="no neighbours"),
        pytest.param({"n_neighbors": 2.5}, "n_neighbors=2.5 must be", id="half a neighbour"),
        pytest.param({"n_steps": 0}, "n_steps=0 must be", id="no steps"),
        pytest.param({"n_splits": 0}, "n_splits=0 must be", id="no splits"),
        pytest.param({"scheme": "gene_split", "self_loops": True}, "self_loops=True .*count_split", id="self loops"),
        pytest.param({"scheme": "self", "self_loops": True}, "self_loops=True .*predict itself", id="leaky self loops"),
        pytest.param({"transform": "sqr"}, "transform='sqr'", id="transform"),
        pytest.param({"gene_scaling": -1}, "gene_scaling=-1", id="scaling"),
        pytest.param({"key_added": "a/b"}, "key_added='a/b'", id="key"),
        pytest.param({"random_state": -1}, "random_state=-1", id="seed"),
    ],
)
def test_one_clear_error_and_cells_as_they_were(counts, same, arguments, message):
    before = counts.copy()
    with pytest.raises(ValueError, match=message):
        sdc.pp.neighbors(counts, progress=False, **arguments)
    same(counts, before)


@pytest.mark.parametrize("n_pcs", [np.int64(5), np.array([2, 5]), (2, 5), range(2, 5)], ids=str)
def test_numbers_of_components_may_be_numpys(counts, n_pcs):
    found = search(counts, **FEW | {"n_pcs": n_pcs})
    assert set(found["loss"]["n_pcs"]) == set(np.ravel(n_pcs))


def test_values_that_are_no_counts_cannot_be_split_by_molecules(lognorm):
    with pytest.raises(ValueError, match=r"scheme='count_split' needs counts.*scheme='gene_split'"):
        sdc.pp.neighbors(lognorm, scheme="count_split", progress=False)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(counts, value):
    x = counts.X.toarray()
    x[3, 4] = value
    counts.X = x
    with pytest.raises(ValueError, match=r"NaN and .* infinite values"):
        sdc.pp.neighbors(counts, progress=False)


@pytest.mark.parametrize(
    "arguments",
    [{"layer": "raw"}, {"use_rep": "X_scvi"}, {"mask_var": "hvg"}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_a_key_that_does_not_exist(counts, arguments):
    (name, key), *_ = arguments.items()
    with pytest.raises(KeyError, match=f"{name}='{key}' is not in .*there are"):
        sdc.pp.neighbors(counts, progress=False, **arguments)


def test_too_few_cells_or_genes(counts):
    with pytest.raises(ValueError, match="9 cells are too few to choose anything by"):
        search(renamed(counts[:9]))
    with pytest.raises(ValueError, match="3 genes are too few") as error:
        search(counts[:, :3][counts[:, :3].X.min(1).toarray().ravel() > 0].copy())
    assert "n_clusters" not in str(error.value)  # there is no such argument here


# ----------------------------------------------------------------------------------------- another package's noise2self


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("k", [3, 15, 40])
def test_losses_are_those_of_scself(renamed_types, k):
    """Uniform weights, one step, the same components. Asked for one number of neighbours at a time, because the graph that
    scself 0.5.1 makes of fewer than 25,000 cells does not tell which neighbours are nearer."""
    scself = pytest.importorskip("scself", reason="scself is not installed")
    from scdeepclust.data import read
    from scdeepclust.selection.halves import log_normalised

    n_pcs = [2, 5, 10]
    ours = search(renamed_types, scheme="self", n_pcs=n_pcs, n_neighbors=k, weights="uniform", n_steps=1)["loss"]
    raw = read(renamed_types)
    x = sdc.methods.get("idec", n_pcs=10).inputs("counts").fit(raw, seed=0).numpy()
    _, (theirs, _) = scself.noise2self(
        sparse.csr_matrix(log_normalised(raw)),
        neighbors=np.array([k]),
        npcs=np.array(n_pcs),
        pc_data=x,
        standardization_method=None,
        connectivity=True,
        return_errors=True,
    )
    found = ours[ours["n_neighbors"] == k].set_index("n_pcs")["loss"].loc[n_pcs]
    np.testing.assert_allclose(found, theirs[:, 0], rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("n_types", [4, 6])
def test_as_many_components_as_molecular_cross_validation_takes(n_types, seed):
    """scself reconstructs the second half of the molecules from components of the first, without neighbours."""
    scself = pytest.importorskip("scself", reason="scself is not installed")
    types = {"n_types": n_types, "dispersion": 0, "separation": 0.7, "depth_sd": 0, "mean_depth": 1000}
    adata = datasets.simulate_types(300, 120, **types, random_state=seed)
    theirs = np.asarray(scself.mcv(adata.X.astype(int), n=3, n_pcs=20, zero_center=True, silent=True)).mean(0)
    ours = search(adata, n_pcs=list(range(1, 13)), n_neighbors=60, weights="uniform", n_steps=1)["choice"]
    assert ours["n_pcs"] == theirs.argmin() == n_types - 1


@pytest.fixture(scope="module")
def renamed_types():
    return renamed(datasets.simulate_types(300, 100, n_types=3, separation=2.0))


def test_the_same_weights_twice_are_tried_once(counts):
    grid = {"n_pcs": [3], "n_neighbors": 6, "n_steps": 1}
    once, twice = (search(counts, weights=["distance"] * n, **grid) for n in (1, 2))
    pd.testing.assert_frame_equal(once["loss"], twice["loss"])
