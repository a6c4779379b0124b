"""Finders and simulators: where data come from, and that the simulated truth holds."""

from __future__ import annotations

import inspect

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy.sparse import csr_matrix, issparse
from scipy.stats import spearmanr

from scdeepclust import datasets, metrics

VARIABLE = "SCDEEPCLUST_DATASETS"
NAMES = sorted(set(datasets.__all__) - {"available", "simulate_lineage", "simulate_types"})
FILES = [name for name in NAMES if name != "pbmc68k"]
SIMULATORS = [datasets.simulate_lineage, datasets.simulate_types]
simulators = pytest.mark.parametrize("simulate", SIMULATORS, ids=lambda function: function.__name__)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No folder of ours, and an empty folder of scanpy's."""
    monkeypatch.delenv(VARIABLE, raising=False)
    # by hand: monkeypatch cannot undo a property of scanpy's metaclass
    before, sc.settings.datasetdir = sc.settings.datasetdir, tmp_path / "scanpy"
    yield tmp_path
    sc.settings.datasetdir = before


def written(adata, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    adata.write_h5ad(path)
    return ad.read_h5ad(path)


def small(cell_type=("a", "b")):
    obs = pd.DataFrame({"cell_type": pd.Categorical(cell_type)}, index=["c0", "c1"])
    return ad.AnnData(csr_matrix(np.eye(2, dtype=np.float32)), obs=obs)


def test_pbmc68k_is_clean_and_log_normalised(nowhere):
    adata = datasets.pbmc68k()
    assert adata.shape == (700, 765)
    assert list(adata.obs) == ["cell_type", "louvain", "phase"]
    assert adata.obs["cell_type"].nunique() == 10
    assert list(adata.uns) == ["source"]
    leftovers = [adata.obsm, adata.obsp, adata.varm, set(adata.layers) - {None}, adata.var.columns]
    assert [len(leftover) for leftover in leftovers] == [0] * 5
    assert adata.raw is None
    assert isinstance(adata.X, csr_matrix)
    assert adata.X.dtype == np.float32
    np.testing.assert_array_equal(adata.X.toarray(), sc.datasets.pbmc68k_reduced().raw.X.toarray())
    assert adata.X.min() >= 0
    assert not adata.uns["source"]["raw_counts"]
    again = written(adata, nowhere / "a.h5ad")
    assert "log1p" in again.uns["source"]["X"]


@pytest.mark.public
def test_pbmc68k_is_log1p_of_the_counts():
    counts, logs = datasets.pbmc68k_reduced(), datasets.pbmc68k()
    assert list(counts.obs_names) == list(logs.obs_names)
    scale = np.expm1(logs.X.toarray()) / np.maximum(counts.X.toarray(), 1)
    typical = np.array([np.median(row[row > 0]) for row in scale])
    np.testing.assert_allclose(scale[scale > 0], np.repeat(typical, (scale > 0).sum(axis=1)), rtol=0.02)


@pytest.mark.public
@pytest.mark.parametrize("name", [n for n in FILES if n != "bodenmiller12_cytof"])
def test_every_file_is_found_with_labels_and_source(name):
    adata = getattr(datasets, name)()
    assert adata.n_obs > 200
    assert issparse(adata.X)
    key = "cell_type_weak" if name == "tusi18_bonemarrow" else "cell_type"
    assert isinstance(adata.obs[key].dtype, pd.CategoricalDtype)
    assert adata.obs[key].notna().all()
    assert {"X", "citation"} <= set(adata.uns["source"])
    whole = not (adata.X.data % 1).any()
    assert whole == bool(adata.uns["source"]["raw_counts"])


@pytest.mark.public
def test_available_names_the_files():
    found = datasets.available()
    assert sorted(found) == NAMES
    assert all(found[name].endswith(".h5ad") for name in FILES)
    assert found["pollen14"].endswith("pollen14_hvg3k.h5ad")


@pytest.mark.public
def test_weak_labels_are_not_called_cell_type():
    assert "cell_type" not in datasets.tusi18_bonemarrow().obs


def test_available_without_any_folder(nowhere):
    found = datasets.available()
    assert sorted(found) == NAMES
    assert found["pollen14"] == "not found"
    assert found["paul15"] == "scanpy downloads it"
    assert "wheel" in found["krumsiek11"]


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_every_finder(name):
    function = getattr(datasets, name)
    assert function.__name__ == function.__qualname__ == name
    assert function.__module__ == "scdeepclust.datasets.public"
    assert not inspect.signature(function).parameters
    assert "doi:10." in function.__doc__
    assert "{" not in function.__doc__


def test_search_order_is_own_folder_then_scanpy_folder(nowhere, monkeypatch):
    written(small(["s", "t"]), nowhere / "scanpy" / "pollen14.h5ad")
    assert list(datasets.pollen14().obs["cell_type"]) == ["s", "t"]
    own = nowhere / "own"
    written(small(["h", "v"]), own / "pollen14_hvg3k.h5ad")
    monkeypatch.setenv(VARIABLE, str(own))
    assert list(datasets.pollen14().obs["cell_type"]) == ["h", "v"]
    written(small(["x", "y"]), own / "pollen14.h5ad")
    assert list(datasets.pollen14().obs["cell_type"]) == ["x", "y"]
    assert datasets.available()["pollen14"] == str(own / "pollen14.h5ad")


def test_missing_data_set_says_what_to_do(nowhere):
    with pytest.raises(FileNotFoundError, match=f"'pollen14' was not found: put pollen14.h5ad .*{VARIABLE}"):
        datasets.pollen14()


def test_wrong_folder_is_named(nowhere, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(nowhere / "typo"))
    for function in (datasets.pollen14, datasets.available):
        with pytest.raises(FileNotFoundError, match=f"{VARIABLE} names .*typo"):
            function()


def test_file_without_labels_is_refused(nowhere, monkeypatch):
    adata = small()
    del adata.obs["cell_type"]
    written(adata, nowhere / "own" / "paul15.h5ad")
    monkeypatch.setenv(VARIABLE, str(nowhere / "own"))
    with pytest.raises(ValueError, match=r"paul15.h5ad has no obs\['cell_type'\]"):
        datasets.paul15()


def test_failed_download_says_what_to_do(nowhere, monkeypatch):
    def offline():
        msg = "no network"
        raise OSError(msg)

    monkeypatch.setattr(sc.datasets, "paul15", offline)
    with pytest.raises(FileNotFoundError, match=f"could not download it .no network.*paul15.h5ad.*{VARIABLE}"):
        datasets.paul15()


def test_scanpy_sets_get_the_common_form(nowhere, monkeypatch):
    raw = ad.AnnData(
        np.arange(6, dtype=np.float32).reshape(3, 2), obs=pd.DataFrame(index=["a", "b", "c"]), uns={"iroot": 1}
    )
    processed = ad.AnnData(np.zeros((2, 1)), obs=pd.DataFrame({"louvain": ["T", "B"]}, index=["c", "a"]))
    paul = raw.copy()
    paul.obs["paul15_clusters"] = ["7MEP", "2Ery", "2Ery"]
    monkeypatch.setattr(sc.datasets, "pbmc3k", lambda: raw)
    monkeypatch.setattr(sc.datasets, "pbmc3k_processed", lambda: processed)
    monkeypatch.setattr(sc.datasets, "paul15", lambda: paul)
    blood, marrow = datasets.pbmc3k(), datasets.paul15()
    assert dict(blood.obs["cell_type"]) == {"c": "T", "a": "B"}
    np.testing.assert_array_equal(blood.X.toarray(), [[4, 5], [0, 1]])
    assert list(marrow.obs["cell_type"]) == ["7MEP", "2Ery", "2Ery"]
    assert marrow.uns["iroot"] == 1
    for adata in (blood, marrow):
        assert isinstance(adata.obs["cell_type"].dtype, pd.CategoricalDtype)
        assert adata.uns["source"]["raw_counts"]
        written(adata, nowhere / "b.h5ad")


def test_krumsiek11_from_the_wheel(nowhere):
    adata = datasets.krumsiek11()
    assert adata.shape == (640, 11)
    assert adata.obs_names.is_unique
    assert set(adata.obs["cell_type"]) == {"progenitor", "Ery", "Mk", "Mo", "Neu"}
    assert not adata.uns["source"]["raw_counts"]
    written(adata, nowhere / "k.h5ad")


@simulators
def test_simulated_counts_have_the_common_form(simulate, tmp_path):
    adata = simulate(120, 40, return_rates=True, random_state=3)
    assert adata.shape == (120, 40)
    assert isinstance(adata.X, csr_matrix)
    assert adata.X.dtype == np.float32
    assert not (adata.X.data % 1).any()
    assert adata.X.min() >= 0
    assert adata.uns["source"]["params"]["random_state"] == 3
    assert isinstance(adata.obs["cell_type"].dtype, pd.CategoricalDtype)
    again = written(adata, tmp_path / "simulated.h5ad")
    np.testing.assert_array_equal(again.X.toarray(), adata.X.toarray())
    assert list(again.obs["cell_type"]) == list(adata.obs["cell_type"])
    if "lineage_edges" in adata.uns:
        np.testing.assert_array_equal(np.asarray(again.uns["lineage_edges"], dtype=str), adata.uns["lineage_edges"])
    assert "rate" not in simulate(120, 40).layers


@simulators
def test_seed_decides_and_global_state_is_untouched(simulate):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    runs = [simulate(80, 30, random_state=seed) for seed in (5, 5, 6, np.random.default_rng(5))]
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    a, b, c, d = (run.X.toarray() for run in runs)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a, d)
    assert (a != c).any()
    assert list(runs[0].obs["cell_type"]) == list(runs[1].obs["cell_type"])


@simulators
def test_rates_are_kept_on_request_only_and_change_nothing(simulate):
    np.testing.assert_array_equal(simulate(60, 20).X.toarray(), simulate(60, 20, return_rates=True).X.toarray())


@simulators
def test_counts_follow_rate_times_size_factor(simulate):
    adata = simulate(3_000, 60, depth_sd=0.5, mean_depth=2_000, dispersion=0.1, return_rates=True)
    rate, size = adata.layers["rate"], adata.obs["size_factor"].to_numpy()
    np.testing.assert_allclose(rate.sum(axis=1), 2_000, rtol=1e-4)
    assert size.mean() == pytest.approx(1, abs=0.05)
    assert np.log(size).std() == pytest.approx(0.5, abs=0.03)
    depth = np.asarray(adata.X.sum(axis=1)).ravel()
    assert np.polyfit(size, depth, 1)[0] == pytest.approx(2_000, rel=0.05)
    mean = rate * size[:, None]
    excess = (adata.X.toarray() - mean) ** 2 - mean
    assert (excess.sum() / (mean**2).sum()) == pytest.approx(0.1, rel=0.15)


@simulators
def test_no_dispersion_gives_poisson(simulate):
    adata = simulate(2_000, 60, dispersion=0, return_rates=True)
    mean = adata.layers["rate"] * adata.obs["size_factor"].to_numpy()[:, None]
    chi = ((adata.X.toarray() - mean) ** 2 / mean).mean()
    assert chi == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("n_branches", [2, 3, 4, 7])
def test_edges_form_a_binary_tree(n_branches):
    adata = datasets.simulate_lineage(200, 30, n_branches=n_branches)
    edges = adata.uns["lineage_edges"]
    parents, children = edges[:, 0], edges[:, 1]
    segments = set(adata.obs["cell_type"].cat.categories)
    assert len(segments) == 2 * n_branches - 1
    assert len(set(children)) == len(children) == len(segments) - 1
    assert segments - set(children) == {"S0"}
    assert len(segments - set(parents)) == n_branches
    up = dict(zip(children, parents, strict=True))
    for segment in segments:
        at, steps = segment, 0
        while at != "S0":
            at, steps = up[at], steps + 1
            assert steps < len(segments)


def test_pseudotime_runs_along_the_tree():
    adata = datasets.simulate_lineage(600, 30, n_branches=4)
    time, label = adata.obs["pseudotime"], adata.obs["cell_type"]
    assert time.between(0, 1).all()
    assert time.iloc[adata.uns["iroot"]] == time.min()
    assert label.iloc[adata.uns["iroot"]] == "S0"
    for parent, child in adata.uns["lineage_edges"]:
        assert time[label == parent].max() <= time[label == child].min()


def test_expression_is_continuous_where_segments_meet():
    adata = datasets.simulate_lineage(4_000, 50, n_branches=3, return_rates=True)
    logs, label, time = np.log(adata.layers["rate"]), adata.obs["cell_type"], adata.obs["pseudotime"].to_numpy()
    for parent, child in adata.uns["lineage_edges"]:
        p, c = np.flatnonzero(label == parent), np.flatnonzero(label == child)
        meet = np.abs(logs[p[time[p].argmax()]] - logs[c[time[c].argmin()]]).mean()
        across = np.abs(logs[c[time[c].argmax()]] - logs[c[time[c].argmin()]]).mean()
        assert meet < 0.1 * across


def pca(adata, n_comps=10):
    x = adata.X.toarray()
    x = np.log1p(1_000 * x / x.sum(axis=1, keepdims=True))
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    return u[:, :n_comps] * s[:n_comps]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_neighbours_on_the_tree_are_near_in_pca(seed):
    adata = datasets.simulate_lineage(800, 300, n_branches=4, random_state=seed)
    centres = pd.DataFrame(pca(adata)).groupby(adata.obs["cell_type"].to_numpy()).mean()
    edges = adata.uns["lineage_edges"]
    up = {**{c: p for p, c in edges}, "S0": None}

    def ancestors(segment):
        found = []
        while segment is not None:
            found.append(segment)
            segment = up[segment]
        return found

    near, far = [], []
    steps, distances = [], []
    for i, a in enumerate(centres.index):
        for b in centres.index[:i]:
            step = len(set(ancestors(a)) ^ set(ancestors(b)))
            distance = np.linalg.norm(centres.loc[a] - centres.loc[b])
            steps.append(step)
            distances.append(distance)
            (near if step == 1 else far).append(distance)
    assert np.mean(near) < 0.75 * np.mean(far)
    assert spearmanr(steps, distances).statistic > 0.6


def test_imbalance_is_the_ratio_of_largest_and_smallest_segment():
    sizes = datasets.simulate_lineage(1_000, 20, n_branches=3, imbalance=10).obs["cell_type"].value_counts()
    assert sizes.max() / sizes.min() == pytest.approx(10, rel=0.1)
    even = datasets.simulate_lineage(1_000, 20, n_branches=3).obs["cell_type"].value_counts()
    assert even.max() - even.min() <= 1


def test_types_are_separate_and_separation_matters():
    values = []
    for separation in (0.0, 0.3, 1.5):
        adata = datasets.simulate_types(400, 200, n_types=4, separation=separation)
        values.append(metrics.knn_purity(pca(adata), adata.obs["cell_type"]))
    assert values[0] == pytest.approx(0.25, abs=0.08)
    assert values[0] < values[1] < values[2]
    assert values[2] > 0.99


def test_proportions_give_rare_types():
    adata = datasets.simulate_types(1_000, 20, n_types=3, proportions=[90, 9, 1])
    assert adata.obs["cell_type"].value_counts().to_dict() == {"type0": 900, "type1": 90, "type2": 10}
    assert list(adata.obs["cell_type"][:50]) != ["type0"] * 50


def test_more_than_one_block_of_cells_keeps_every_row():
    adata = datasets.simulate_types(5_000, 5, n_types=2, separation=3, return_rates=True)
    assert adata.shape == adata.layers["rate"].shape == (5_000, 5)
    profiles = [adata.layers["rate"][adata.obs["cell_type"] == t] for t in ("type0", "type1")]
    assert all(np.ptp(profile, axis=0).max() < 1e-3 for profile in profiles)


@pytest.mark.parametrize(
    ("simulate", "kwargs", "words"),
    [
        (datasets.simulate_lineage, {"n_branches": 1}, "n_branches must be a whole number of at least 2, but is 1"),
        (datasets.simulate_lineage, {"n_obs": 10.5}, "n_obs must be a whole number"),
        (datasets.simulate_lineage, {"imbalance": 0.5}, "imbalance must be a number of at least 1"),
        (datasets.simulate_lineage, {"dispersion": -1}, "dispersion must be a number of at least 0"),
        (datasets.simulate_lineage, {"n_obs": 5}, "n_obs=5 leaves no cell for .* under imbalance"),
        (datasets.simulate_types, {"depth_sd": float("nan")}, "depth_sd must be a number"),
        (datasets.simulate_types, {"mean_depth": "deep"}, "mean_depth must be a number"),
        (datasets.simulate_types, {"proportions": [1, 1]}, "proportions must be 5 positive numbers"),
        (datasets.simulate_types, {"proportions": [1, 1, 1, 1, 0]}, "proportions must be 5 positive numbers"),
        (datasets.simulate_types, {"n_obs": 10, "proportions": [1, 1, 1, 1, 1e-3]}, r"no cell for \['type4'\]"),
    ],
)
def test_bad_parameters_are_named(simulate, kwargs, words):
    with pytest.raises(ValueError, match=words):
        simulate(**kwargs)
