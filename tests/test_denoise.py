"""Denoising against dense algebra and against the rates that simulated counts were drawn from."""

from __future__ import annotations

import importlib

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

import scdeepclust as sdc
from scdeepclust import datasets

GRID = {"n_pcs": [2, 5, 10], "n_neighbors": 24, "n_splits": 2, "progress": False}


def log_normalised(x):
    """Log of one plus counts at the median depth, dense."""
    x = x.toarray().astype(np.float64) if sparse.issparse(x) else np.asarray(x, dtype=np.float64)
    depth = x.sum(1, keepdims=True)
    return np.log1p(x / depth * np.median(depth))


def averaged(matrix, x, average="rates"):
    """Of counts: sums over neighbours by sums of their depths, then the logarithm; or a mean of log values."""
    if average == "log":
        return matrix @ log_normalised(x)
    x = x.toarray().astype(np.float64)
    depth = x.sum(1, keepdims=True)
    return np.log1p((matrix @ x) / (matrix @ depth) * np.median(depth))


def dense_kernel(x, k, weights="uniform", *, self_loops=False):
    """A row-stochastic matrix over scikit-learn's neighbours, by loops; k may differ from cell to cell."""
    k = np.broadcast_to(k, len(x))
    distances, indices = NearestNeighbors(n_neighbors=max(k.max(), 5)).fit(x).kneighbors()
    matrix = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        u = distances[i, : k[i]] / distances[i, :5].mean()
        matrix[i, indices[i, : k[i]]] = {
            "uniform": np.ones(k[i]),
            "distance": np.exp(-u),
            "gaussian": np.exp(-(u**2) / 2),
        }[weights]
        matrix[i, i] = self_loops
    return matrix / matrix.sum(1, keepdims=True)


def honest(matrix, n_steps):
    found = matrix
    for _ in range(n_steps - 1):
        found = found @ matrix
        np.fill_diagonal(found, 0)
        found = found / found.sum(1, keepdims=True)
    return found


@pytest.fixture
def quick(monkeypatch):
    """A default grid of a few points, where the search is another test's matter."""
    module = importlib.import_module("scdeepclust.selection.grid")
    monkeypatch.setattr(module, "N_PCS", (2, 5))
    monkeypatch.setattr(module, "MOST_NEIGHBORS", 12)


@pytest.fixture(scope="module")
def searched(types):
    """Cells with neighbours; not to be changed."""
    return sdc.pp.neighbors(types, copy=True, **GRID)


@pytest.fixture
def cells(searched):
    """The same, to be changed at will."""
    return searched.copy()


def values(adata, key="denoised"):
    found = adata.layers[key]
    return found.toarray() if sparse.issparse(found) else found


# ---------------------------------------------------------------------------------------------------------- the algebra


@pytest.mark.parametrize("average", ["rates", "log"])
@pytest.mark.parametrize("weights", ["uniform", "distance", "gaussian"])
@pytest.mark.parametrize(("n_steps", "self_loops"), [(1, False), (3, False), (2, True)])
def test_of_counts_it_is_a_power_of_the_kernel(cells, average, weights, n_steps, self_loops):
    steps = {"n_neighbors": 7, "n_steps": n_steps, "weights": weights, "self_loops": self_loops}
    sdc.pp.denoise(cells, average=average, progress=False, **steps)
    matrix = dense_kernel(cells.obsm["X_n2s"], 7, weights, self_loops=self_loops)
    wanted = averaged(np.linalg.matrix_power(matrix, n_steps), cells.X, average)
    np.testing.assert_allclose(values(cells), wanted, rtol=1e-3, atol=1e-4)


def test_deep_neighbours_count_for_more_where_rates_are_averaged(cells):
    """A cell ten times as deep brings ten times as many molecules to its neighbours, and moves log values no more."""
    deeper = cells.copy()
    x = deeper.X.toarray()
    x[0] *= 1000
    deeper.X = sparse.csr_matrix(x)
    sdc.pp.denoise(deeper, n_neighbors=10, n_steps=1, weights="uniform", progress=False)
    near = dense_kernel(cells.obsm["X_n2s"], 10)[:, 0] > 0
    alone = np.log1p(x[0] / x[0].sum() * np.median(x.sum(1)))
    assert near.any()
    np.testing.assert_allclose(values(deeper)[near], np.broadcast_to(alone, (near.sum(), len(alone))), atol=0.2)


def test_the_choice_of_the_search_is_what_is_done(cells):
    sdc.pp.denoise(cells, progress=False)
    choice = cells.uns["n2s"]["choice"]
    matrix = dense_kernel(cells.obsm["X_n2s"], choice["n_neighbors"], choice["weights"])
    wanted = averaged(np.linalg.matrix_power(matrix, choice["n_steps"]), cells.X)
    np.testing.assert_allclose(values(cells), wanted, rtol=1e-3, atol=1e-4)
    params = cells.uns["denoised"]["params"]
    assert {k: params[k] for k in ("n_pcs", "n_neighbors", "n_steps", "weights")} == {
        k: choice[k] for k in ("n_pcs", "n_neighbors", "n_steps", "weights")
    }
    assert params["neighbors_key"] == "n2s"
    assert params["local"] is False


def test_three_neighbours_weigh_as_they_did_in_the_search(cells):
    """There, the unit of distances is the mean of the five nearest, however many are taken."""
    sdc.pp.denoise(cells, n_neighbors=3, weights="distance", n_steps=1, progress=False)
    wanted = averaged(dense_kernel(cells.obsm["X_n2s"], 3, "distance"), cells.X)
    np.testing.assert_allclose(values(cells), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scheme", ["gene_split", "self"])
def test_of_other_values_no_step_gives_a_cell_itself_back(lognorm, scheme):
    sdc.pp.neighbors(lognorm, scheme=scheme, **GRID)
    sdc.pp.denoise(lognorm, n_neighbors=6, n_steps=3, weights="uniform", progress=False)
    matrix = dense_kernel(lognorm.obsm["X_n2s"], 6)
    wanted = honest(matrix, 3) @ lognorm.X.toarray()
    np.testing.assert_allclose(values(lognorm), wanted, rtol=1e-3, atol=1e-4)
    assert np.abs(np.linalg.matrix_power(matrix, 3) @ lognorm.X.toarray() - wanted).max() > 0.01


@pytest.mark.parametrize("n_steps", [1, 2])
def test_scanpys_graph_serves_with_equal_weights(counts, n_steps):
    counts.obsm["rep"] = np.asarray(sc.pp.pca(log_normalised(counts.X), n_comps=10, random_state=0))
    sc.pp.neighbors(counts, n_neighbors=15, use_rep="rep", transformer="sklearn")
    before = counts.copy()
    sdc.pp.denoise(counts, neighbors_key="neighbors", n_steps=n_steps, progress=False)
    matrix = (before.obsp["distances"].toarray() > 0).astype(float)
    assert set(matrix.sum(1)) == {14}
    wanted = averaged(np.linalg.matrix_power(matrix / 14, n_steps), counts.X)
    np.testing.assert_allclose(values(counts), wanted, rtol=1e-4, atol=1e-5)
    assert "n2s" not in counts.uns
    few = sdc.pp.denoise(before, neighbors_key="neighbors", n_neighbors=4, progress=False, copy=True)
    wanted = averaged(dense_kernel(before.obsm["rep"], 4), counts.X)
    np.testing.assert_allclose(values(few), wanted, rtol=1e-3, atol=1e-4)


def test_without_its_components_the_stored_graph_serves(cells):
    k = cells.uns["n2s"]["choice"]["n_neighbors"]
    sdc.pp.denoise(cells, n_steps=1, weights="uniform", progress=False)
    with_components = values(cells)
    del cells.obsm["X_n2s"]
    sdc.pp.denoise(cells, n_steps=1, weights="uniform", progress=False)
    assert k > 3
    np.testing.assert_allclose(values(cells), with_components, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------- its shape


def test_a_dense_layer_equals_a_sparse_one(cells):
    sdc.pp.denoise(cells, progress=False)
    sdc.pp.denoise(cells, dense=True, key_added="dense", progress=False)
    assert sparse.issparse(cells.layers["denoised"])
    assert isinstance(cells.layers["dense"], np.ndarray)
    assert cells.layers["denoised"].dtype == cells.layers["dense"].dtype == np.float32
    np.testing.assert_array_equal(values(cells), cells.layers["dense"])


def test_some_genes_are_columns_of_all(cells):
    sdc.pp.denoise(cells, dense=True, progress=False)
    genes = ["gene42", "gene0", "gene99"]
    sdc.pp.denoise(cells, genes=genes, key_added="some", progress=False)
    found = cells.obsm["some"]
    assert isinstance(found, pd.DataFrame)
    assert found.columns.to_list() == genes
    assert found.index.equals(cells.obs_names)
    assert "some" not in cells.layers
    np.testing.assert_allclose(found, cells.layers["denoised"][:, cells.var_names.get_indexer(genes)], rtol=1e-5)
    sdc.pp.denoise(cells, genes=pd.Index(genes), key_added="index", progress=False)
    pd.testing.assert_frame_equal(cells.obsm["index"], found)


def test_more_genes_than_fit_at_once():
    adata = datasets.simulate_types(60, 600, n_types=2)
    sdc.pp.neighbors(adata, n_pcs=5, n_neighbors=10, n_splits=1, n_steps=1, progress=False)
    sdc.pp.denoise(adata, progress=False)
    choice = adata.uns["n2s"]["choice"]
    wanted = averaged(dense_kernel(adata.obsm["X_n2s"], choice["n_neighbors"], choice["weights"]), adata.X)
    np.testing.assert_allclose(values(adata), wanted, rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------------------ neighbours of each cell's own


@pytest.mark.parametrize("n_neighbors", [None, 1, 8])
def test_local_takes_half_or_twice_the_neighbours_only(cells, n_neighbors):
    sdc.pp.denoise(cells, local=True, n_neighbors=n_neighbors, n_steps=1, weights="uniform", progress=False)
    k = n_neighbors or cells.uns["n2s"]["choice"]["n_neighbors"]
    found = cells.obs["denoised_n_neighbors"]
    assert found.isin([max(1, k // 2), k, 2 * k]).all()
    wanted = averaged(dense_kernel(cells.obsm["X_n2s"], found.to_numpy()), cells.X)
    np.testing.assert_allclose(values(cells), wanted, rtol=1e-3, atol=1e-4)
    assert cells.uns["denoised"]["params"]["local"] is True


def test_local_takes_no_more_neighbours_than_a_type_has_cells():
    adata = datasets.simulate_types(300, 100, n_types=2, proportions=[0.9, 0.1], separation=2.0, dispersion=0)
    sdc.pp.neighbors(adata, n_pcs=5, n_neighbors=20, weights="uniform", n_steps=1, n_splits=2, progress=False)
    sdc.pp.denoise(adata, local=True, progress=False)
    found = adata.obs.groupby("cell_type", observed=True)["denoised_n_neighbors"].mean()
    assert found.to_dict() == {"type0": 40, "type1": 20}  # there are 270 and 30


def test_local_reads_the_counts_that_the_search_read(counts):
    """With counts in a layer and log-normalised values in X, as scanpy's tutorials leave them."""
    plain = counts.copy()
    counts.layers["counts"] = counts.X.copy()
    counts.X = sparse.csr_matrix(log_normalised(counts.X), dtype=np.float32)
    sdc.pp.neighbors(plain, **GRID)
    sdc.pp.neighbors(counts, layer="counts", **GRID)
    for adata in (plain, counts):
        sdc.pp.denoise(adata, local=True, progress=False)
    pd.testing.assert_series_equal(counts.obs["denoised_n_neighbors"], plain.obs["denoised_n_neighbors"])


def test_local_serves_where_cells_are_gone_and_with_them_all_that_had_a_gene(searched):
    cells = searched.copy()
    cells.X = cells.X.toarray()
    cells.X[:-50, 7] = 0
    left = cells[:-50].copy()
    sdc.pp.denoise(left, local=True, progress=False)
    assert (left.obs["denoised_n_neighbors"] > 0).all()
    assert (values(left)[:, 7] == 0).all()
    left.X[0] = 0  # a cell without counts has the neighbours that were chosen for all
    sdc.pp.denoise(left, local=True, progress=False)
    assert left.obs["denoised_n_neighbors"].iloc[0] == left.uns["n2s"]["choice"]["n_neighbors"]


def test_local_needs_a_search(counts):
    sc.pp.neighbors(counts, n_neighbors=5, use_rep="X", transformer="sklearn")
    with pytest.raises(ValueError, match="local=True needs neighbours of scdeepclust"):
        sdc.pp.denoise(counts, neighbors_key="neighbors", local=True, progress=False)


# ------------------------------------------------------------------------------------------------------- what is touched


def test_x_never_changes_and_only_what_is_said_is_added(cells, same):
    before = cells.copy()
    sdc.pp.denoise(cells, local=True, key_added="mine", progress=False)
    assert set(cells.layers) - set(before.layers) == {"mine"}
    assert set(cells.uns) - set(before.uns) == {"mine"}
    assert set(cells.obs) - set(before.obs) == {"mine_n_neighbors"}
    del cells.layers["mine"], cells.uns["mine"], cells.obs["mine_n_neighbors"]
    same(cells, before)


@pytest.mark.usefixtures("quick")
def test_a_copy_leaves_the_original_as_it_is(counts, same):
    before = counts.copy()
    found = sdc.pp.denoise(counts, copy=True, progress=False)
    same(counts, before)
    assert {"denoised", "n2s"} <= set(found.uns)
    assert sdc.pp.denoise(counts, progress=False) is None
    same(counts, found)


def test_a_layer_is_used(cells):
    doubled = cells.copy()
    doubled.layers["other"] = cells.X[::-1].copy()
    sdc.pp.denoise(doubled, layer="other", progress=False)
    choice = cells.uns["n2s"]["choice"]
    matrix = dense_kernel(cells.obsm["X_n2s"], choice["n_neighbors"], choice["weights"])
    wanted = averaged(np.linalg.matrix_power(matrix, choice["n_steps"]), cells.X[::-1])
    np.testing.assert_allclose(values(doubled), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("quick")
def test_without_a_graph_one_is_searched_in_the_layer(counts, same):
    counts.layers["counts"] = counts.X.copy()
    counts.X = None
    wanted = counts.copy()
    sdc.pp.neighbors(wanted, layer="counts", random_state=3, progress=False)
    sdc.pp.denoise(counts, layer="counts", random_state=3, progress=False)
    same(counts.uns["n2s"]["loss"], wanted.uns["n2s"]["loss"])


def test_with_a_graph_none_is_searched(cells, monkeypatch, same):
    graph = cells.uns["n2s"]

    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr(importlib.import_module("scdeepclust.selection.neighbors"), "choose_neighbors", never)
    monkeypatch.setattr(sdc.pp, "neighbors", never)
    sdc.pp.denoise(cells, progress=False)
    same(cells.uns["n2s"], graph)


@pytest.mark.usefixtures("quick")
def test_the_same_seed_gives_the_same_result(counts, same):
    one, two = (sdc.pp.denoise(counts, local=True, random_state=5, copy=True, progress=False) for _ in range(2))
    same(one, two)


def test_a_result_survives_a_file(cells, tmp_path):
    sdc.pp.denoise(cells, local=True, progress=False)
    sdc.pp.denoise(cells, genes=["gene3"], key_added="one", progress=False)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    read = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert read.uns["denoised"]["params"] == cells.uns["denoised"]["params"]
    np.testing.assert_array_equal(values(read), values(cells))
    np.testing.assert_array_equal(read.obsm["one"], cells.obsm["one"])


# -------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param({"genes": ["gene1", "CD3E"]}, KeyError, "genes='CD3E' is not in .*'gene0'", id="gene"),
        pytest.param({"genes": "CD3E"}, KeyError, "genes='CD3E' is not in .*'gene0'", id="one gene"),
        pytest.param({"genes": ["GENE1"]}, KeyError, "the nearest are: 'gene1'", id="near gene"),
        pytest.param({"layer": "raw"}, KeyError, "layer='raw' is not in adata.layers; there are: 'own'", id="layer"),
        pytest.param({"neighbors_key": "x"}, KeyError, "neighbors_key='x' is not in .*'source'", id="neighbours"),
        pytest.param({"weights": "exp"}, ValueError, "weights='exp' must be one of 'uniform'", id="weights"),
        pytest.param({"average": "mean"}, ValueError, "average='mean' must be one of 'rates', 'log'", id="average"),
        pytest.param({"n_neighbors": 0}, ValueError, "n_neighbors=0 must be", id="no neighbours"),
        pytest.param({"n_steps": 0}, ValueError, "n_steps=0 must be", id="no steps"),
        pytest.param({"n_steps": 1.5}, ValueError, "n_steps=1.5 must be", id="half a step"),
        pytest.param({"n_neighbors": True}, ValueError, "n_neighbors=True must be", id="boolean neighbours"),
        pytest.param({"key_added": ""}, ValueError, "key_added=''", id="key"),
        pytest.param({"random_state": "a"}, ValueError, "random_state='a'", id="seed"),
        pytest.param({"n_neighbors": 5000}, ValueError, "n_neighbors=5000, but", id="more than there are"),
        pytest.param({"genes": 3}, TypeError, "genes=3 must be a name or a list of names", id="number of genes"),
    ],
)
@pytest.mark.parametrize("graph", [False, True], ids=["no graph", "graph"])
def test_one_clear_error_and_cells_as_they_were(counts, searched, same, graph, arguments, message, error):
    adata = searched.copy() if graph else counts
    adata.layers["own"] = adata.X.copy()
    before = adata.copy()
    with pytest.raises(error, match=message):
        sdc.pp.denoise(adata, progress=False, **arguments)
    same(adata, before)


def test_no_search_is_begun_that_could_not_serve(lognorm, same):
    before = lognorm.copy()
    with pytest.raises(ValueError, match="self_loops=True, but these neighbours are found with scheme='gene_split'"):
        sdc.pp.denoise(lognorm, self_loops=True, progress=False)
    same(lognorm, before)


def test_a_graph_that_did_not_come_along_is_said_to_be_gone(cells):
    both = ad.concat([cells, cells], uns_merge="first", index_unique="-")
    with pytest.raises(
        KeyError, match=r"neighbors_key='n2s': its graph, .*'n2s_distances'.* is gone.*sdc.pp.neighbors"
    ):
        sdc.pp.denoise(both, progress=False)
    both.uns["neighbors"] = both.uns.pop("n2s")
    with pytest.raises(KeyError, match=r"is gone.* with sc.pp.neighbors\(adata\), or leave neighbors_key out"):
        sdc.pp.denoise(both, neighbors_key="neighbors", progress=False)


def test_negative_values_are_refused(cells):
    cells.X = cells.X.toarray() - 5
    with pytest.raises(ValueError, match="negative values"):
        sdc.pp.denoise(cells, progress=False)


# ------------------------------------------------------------------------------------------------- is it nearer the truth


def errors(adata):
    """Root mean squared error against log rates at the median depth: of doing nothing, of scanpy's way, and of ours."""
    rate = np.asarray(adata.layers.pop("rate"), dtype=np.float64)
    depth = adata.X.sum(1).A1
    truth = np.log1p(rate / rate.sum(1, keepdims=True) * np.median(depth))
    noisy = log_normalised(adata.X)
    usual = adata.copy()
    sc.pp.normalize_total(usual)
    sc.pp.log1p(usual)
    sc.pp.pca(usual, random_state=0)
    sc.pp.neighbors(usual, transformer="sklearn", random_state=0)  # 15, the cell itself among them
    matrix = (usual.obsp["distances"].toarray() > 0) + np.eye(adata.n_obs)
    assert set(matrix.sum(1)) == {15}
    estimates = {"noisy": noisy, "scanpy": matrix @ noisy / 15}
    for average in ("rates", "log"):
        sdc.pp.denoise(adata, average=average, dense=True, progress=False)
        estimates[average] = values(adata)
    return {name: float(np.sqrt(np.mean((found - truth) ** 2))) for name, found in estimates.items()}


@pytest.mark.parametrize(
    ("simulate", "arguments"),
    [
        pytest.param("simulate_types", {"n_types": 4}, id="types"),
        pytest.param("simulate_types", {"n_types": 4, "mean_depth": 200, "dispersion": 0}, id="types, mostly noise"),
        pytest.param("simulate_lineage", {}, id="lineage"),
        pytest.param("simulate_lineage", {"mean_depth": 200}, id="lineage, mostly noise"),
    ],
)
def test_denoised_values_are_nearer_to_the_true_rates(simulate, arguments):
    adata = getattr(datasets, simulate)(300, 120, return_rates=True, random_state=1, **arguments)
    sc.pp.filter_genes(adata, min_cells=1)
    error = errors(adata)
    for average in ("rates", "log"):
        assert error[average] < 0.97 * error["scanpy"]
        assert error[average] < 0.6 * error["noisy"]
    assert error["rates"] < error["log"]


def test_cells_whose_neighbours_are_gone_keep_their_own_values(types):
    graph = types.copy()
    sc.pp.neighbors(graph, n_neighbors=4, use_rep="X", transformer="sklearn")
    some = graph[::4].copy()
    alone = np.diff(some.obsp["distances"].tocsr().indptr) == 0
    assert 0 < alone.sum() < some.n_obs
    with pytest.warns(UserWarning, match=f"{alone.sum()} cells have no neighbour left"):
        sdc.pp.denoise(some, neighbors_key="neighbors")
    depth = some.X.sum(1).A1 if hasattr(some.X.sum(1), "A1") else some.X.sum(1)
    own = np.log1p(some.X.toarray() / np.asarray(depth)[:, None] * np.median(depth))
    np.testing.assert_allclose(some.layers["denoised"].toarray()[alone], own[alone], rtol=1e-5)


def test_weights_do_not_depend_on_neighbours_that_are_gone(types):
    cells = types.copy()
    sc.pp.neighbors(cells, n_neighbors=6, use_rep="X", transformer="sklearn")
    some = cells[::3].copy()
    with pytest.warns(UserWarning, match="have no neighbour left"):
        sdc.pp.denoise(some, neighbors_key="neighbors", weights="distance", average="log", n_neighbors=6)
    stored = some.obsp["distances"].tocsr()
    logs = np.log1p(some.X.toarray() / some.X.sum(1).A1[:, None] * np.median(some.X.sum(1).A1))
    for i in np.flatnonzero(np.diff(stored.indptr) == 2)[:5]:
        row = stored[[i]]
        w = np.exp(-row.data / row.data.mean())
        np.testing.assert_allclose(
            some.layers["denoised"][[i]].toarray()[0], w @ logs[row.indices] / w.sum(), rtol=1e-4
        )


def test_the_record_of_the_neighbours_is_not_overwritten(types, same):
    cells = types.copy()
    sdc.pp.neighbors(cells, n_pcs=[5], n_neighbors=10, n_splits=1, progress=False)
    before = cells.copy()
    with pytest.raises(ValueError, match="key_added='n2s' would overwrite the record of the neighbours"):
        sdc.pp.denoise(cells, key_added="n2s")
    same(cells, before)
    sdc.pp.denoise(cells, genes=["gene0", "gene1", "gene0"])
    assert list(cells.obsm["denoised"]) == ["gene0", "gene1"]


def test_what_is_no_graph_is_said_to_be_none(types, same):
    cells = types.copy()
    cells.uns["else"] = {"a": 1}
    before = cells.copy()
    with pytest.raises(ValueError, match="neighbors_key='else' holds no neighbours; there are: none"):
        sdc.pp.denoise(cells, neighbors_key="else")
    same(cells, before)


def test_numbers_of_neighbours_of_an_earlier_run_do_not_stay(types):
    cells = types.copy()
    sdc.pp.denoise(cells, local=True, progress=False)
    assert "denoised_n_neighbors" in cells.obs
    sdc.pp.denoise(cells, progress=False)
    assert "denoised_n_neighbors" not in cells.obs


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_a_gene_can_be_named_where_others_have_the_same_name_twice(counts):
    sdc.pp.neighbors(counts, **GRID)
    sdc.pp.denoise(counts, genes="gene7", key_added="alone")
    twice = counts.copy()
    twice.var_names = ["gene1", *counts.var_names[1:]]
    sdc.pp.denoise(twice, genes="gene7", key_added="alone")
    pd.testing.assert_frame_equal(twice.obsm["alone"], counts.obsm["alone"])


def test_most_cells_may_be_empty(counts):
    """Their median is no depth to bring the others to."""
    sdc.pp.neighbors(counts, **GRID)
    full = counts.X.copy()
    counts.X = sparse.csr_matrix(full.multiply((np.arange(300) < 140)[:, None]))
    sdc.pp.denoise(counts)
    assert counts.layers["denoised"].max() > 1


def test_what_a_graph_cannot_give_is_refused(counts):
    sc.pp.neighbors(counts, n_neighbors=5, use_rep="X", transformer="sklearn")
    before = counts.copy()
    with pytest.raises(ValueError, match=r"n_neighbors=50.*more than 5 neighbours"):
        sdc.pp.denoise(counts, neighbors_key="neighbors", n_neighbors=50)
    sdc.pp.neighbors(counts, scheme="gene_split", **GRID)
    with pytest.raises(ValueError, match=r"self_loops=True.*gene_split"):
        sdc.pp.denoise(counts, self_loops=True)
    assert set(counts.layers) == set(before.layers)
