"""The number of clusters: what is found where the truth is known, and one cluster where there is nothing to find."""

from __future__ import annotations

import importlib
import itertools
import random
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

import scdeepclust as sdc
from scdeepclust import datasets, selection
from scdeepclust.data import Inputs, read
from scdeepclust.selection import evidence

chooser = importlib.import_module("scdeepclust.selection.n_clusters")  # of the package, a function has that name


def log_normalised(adata):
    """The same cells with log-normalised values instead of counts."""
    x = adata.X.toarray().astype(np.float64)
    depth = x.sum(1, keepdims=True)
    found = adata.copy()
    found.X = sparse.csr_matrix(np.log1p(x / depth * np.median(depth)), dtype=np.float32)
    return found


def nonempty(adata):
    adata = adata[adata.X.sum(1).A1 > 0]
    return adata[:, adata.X.sum(0).A1 > 0].copy()


def choose(adata, *, seed=0, use_rep=None, **options):
    """What the front does, without the curve that decides nothing."""
    raw = read(adata, mask_var=None, use_rep=use_rep)
    rules = selection.Rules(**options)
    return selection.choose_n_clusters(raw, Inputs(raw.kind, "sqrt", 0.5, 20), rules, curve=False, seed=seed)


def is_finer(fine, coarse):
    """Whether every cluster of the one is within a cluster of the other."""
    return len(set(zip(fine, coarse, strict=True))) == len(set(fine))


@pytest.fixture(scope="module")
def five():
    """Five types, and what is found of them; not to be changed."""
    adata = datasets.simulate_types(300, 100, n_types=5, separation=2.0, random_state=1)
    sdc.tl.n_clusters(adata)
    return adata


@pytest.fixture
def found(five):
    """The same, to be changed at will."""
    return five.copy()


# --------------------------------------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("n_types", [2, 4, 7])
def test_separated_types_are_counted(n_types, seed):
    adata = datasets.simulate_types(300, 100, n_types=n_types, separation=2.0, random_state=seed)
    choice = choose(adata, seed=seed)
    assert choice.n_clusters == n_types
    assert adjusted_rand_score(adata.obs["cell_type"], choice.labels) > 0.95
    assert choice.record["chosen_by"] == "signal share"
    assert choice.record["stability"] > 0.9


@pytest.mark.parametrize("kind", ["lognorm", "rep"])
@pytest.mark.parametrize("n_types", [2, 5])
def test_types_in_other_values_are_counted(kind, n_types):
    adata = log_normalised(datasets.simulate_types(300, 100, n_types=n_types, separation=2.0, random_state=3))
    if kind == "rep":
        sc.pp.pca(adata, n_comps=15, random_state=0)
    choice = choose(adata, use_rep="X_pca" if kind == "rep" else None)
    assert choice.record["params"]["scheme"] == "gene_split"
    assert choice.n_clusters == n_types
    assert adjusted_rand_score(adata.obs["cell_type"], choice.labels) > 0.95


def test_types_of_unequal_size_are_counted():
    proportions = [0.5, 0.3, 0.14, 0.06]
    adata = datasets.simulate_types(400, 100, n_types=4, separation=2.0, proportions=proportions)
    choice = choose(adata)
    assert choice.n_clusters == 4
    assert np.bincount(choice.labels).tolist() == [200, 120, 56, 24]  # the largest first


def test_deep_and_shallow_cells_of_a_type_are_one_cluster():
    """A typical cell may have a fifth or five times the molecules of another: that is no type."""
    adata = datasets.simulate_types(500, 500, n_types=3, separation=1.0, depth_sd=0.8, dispersion=0)
    choice = choose(adata)
    assert choice.n_clusters == 3
    assert adjusted_rand_score(adata.obs["cell_type"], choice.labels) > 0.95


@pytest.mark.parametrize("resolution", [0.5, 3.0])
def test_the_start_hardly_matters(five, resolution):
    assert choose(five, resolution=resolution).n_clusters == 5


# ------------------------------------------------------------------------------------------------------- nothing to find

NOISE = {
    "poisson": {"dispersion": 0, "depth_sd": 0.6},
    "overdispersed": {"dispersion": 1.0, "depth_sd": 0.6},
    "very shallow": {"mean_depth": 40, "depth_sd": 0.5},
}


def of_noise(settings, seeds, values=lambda adata: adata, **options):
    """Choices for cells of one type that differ by chance and by depth."""
    cells = (datasets.simulate_types(150, 60, n_types=1, random_state=seed, **NOISE[settings]) for seed in seeds)
    return [choose(values(nonempty(adata)), seed=seed, **options) for seed, adata in zip(seeds, cells, strict=True)]


def all_are_one(choices):
    return all(choice.n_clusters == 1 for choice in choices)


@pytest.mark.filterwarnings("ignore:.* cells hold fewer than 10 counts")
@pytest.mark.parametrize("settings", NOISE)
def test_noise_is_one_cluster(settings):
    choices = of_noise(settings, range(8), n_splits=1)
    assert all_are_one(choices)
    assert {choice.record["chosen_by"] for choice in choices} == {"no cluster tells more than a single one does"}
    assert min(choice.fine.max() for choice in choices) > 1  # though there were clusters to begin with


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* cells hold fewer than 10 counts")
@pytest.mark.parametrize("settings", NOISE)
def test_noise_of_a_hundred_seeds_is_one_cluster(settings):
    assert all_are_one(of_noise(settings, range(100, 200), n_splits=1))


def of_types(*names, seed=0):
    """The choice for some of the types of the bone marrow alone."""
    adata = datasets.paul15()
    adata = nonempty(adata[adata.obs["cell_type"].isin(names)])
    raw = read(adata, drop_empty=True)
    choice = selection.choose_n_clusters(raw, Inputs(raw.kind, "sqrt", 0.5, 20), curve=False, seed=seed)
    return choice, adata.obs["cell_type"].iloc[raw.kept]


@pytest.mark.public
@pytest.mark.parametrize("names", [("7MEP", "8Mk"), ("7MEP", "8Mk", "6Ery")])
def test_a_few_hundred_shallow_cells_of_some_types_are_more_than_one_cluster(names):
    """To cluster a cluster once more is what users do."""
    choice, types = of_types(*names)
    assert choice.record["gain"] > 5 * choice.record["gain_se"]
    assert 2 <= choice.n_clusters <= 4
    assert adjusted_rand_score(types, choice.labels) > 0.25


@pytest.mark.public
def test_a_few_hundred_shallow_cells_of_one_type_are_one_cluster():
    assert of_types("7MEP")[0].n_clusters == 1


@pytest.mark.public
@pytest.mark.parametrize("seed", range(3))
def test_clusters_of_weak_signal_are_joined_until_halves_of_a_cell_agree(seed):
    """The erythroid continuum alone: shares of what little signal there is would cut it into a dozen."""
    choice, _ = of_types("1Ery", "2Ery", "3Ery", "4Ery", seed=seed)
    record = choice.record
    assert record["chosen_by"] == "agreement of halves"
    assert record["stability"] >= 0.55 > record["stability_fine"]
    assert (record["joins"]["signal"][record["joins"]["done"]] > record["params"]["min_signal"]).any()
    assert 2 <= choice.n_clusters <= 7


@pytest.mark.filterwarnings("ignore:.* hold fewer than 10 counts")
@pytest.mark.parametrize("settings", ["poisson", "overdispersed"])
def test_noise_in_log_normalised_values_is_one_cluster(settings):
    """Their size depends on depth, which here varies twofold."""
    assert all_are_one(of_noise(settings, range(5), log_normalised, n_splits=1))


def test_a_cloud_in_a_representation_is_one_cluster():
    for seed in range(5):
        cloud = np.random.default_rng(seed).normal(size=(150, 10))
        adata = ad.AnnData(obs=pd.DataFrame(index=pd.RangeIndex(150).astype(str)), obsm={"rep": cloud})
        assert choose(adata, use_rep="rep", seed=seed).n_clusters == 1


@pytest.fixture
def without_a_split(monkeypatch):
    """Both halves are the same: clusters are judged by what they were found in."""
    original = evidence.halve

    def leaky(*arguments, **options):
        halves = original(*arguments, **options)
        return replace(halves, b=halves.a, y=halves.x)

    monkeypatch.setattr(evidence, "halve", leaky)


@pytest.mark.usefixtures("without_a_split")
def test_without_a_split_noise_falls_into_clusters():
    choices = of_noise("overdispersed", range(6), n_splits=1)
    assert not all_are_one(choices)
    assert np.mean([choice.n_clusters for choice in choices]) > 3
    assert {choice.record["chosen_by"] for choice in choices} == {"signal share"}  # the guard is fooled each time


@pytest.mark.usefixtures("without_a_split")
def test_without_a_split_clusters_of_noise_gain_by_the_genes_they_were_found_in():
    choices = of_noise("poisson", range(5), n_splits=1)
    assert all(choice.record["gain"] > 3 * choice.record["gain_se"] for choice in choices)


def test_splits_of_genes_are_drawn_until_there_is_no_doubt(five, monkeypatch):
    """Five types are plain from one split; noise is asked of all."""
    schemes, original = [], evidence.halve
    monkeypatch.setattr(
        evidence,
        "halve",
        lambda raw, scheme, *rest, **options: (schemes.append(scheme), original(raw, scheme, *rest, **options))[1],
    )
    structured = choose(five, n_splits=3)
    assert structured.record["gain"] > 10 * structured.record["gain_se"]
    assert (schemes.count("count_split"), schemes.count("gene_split")) == (3, 1)
    schemes.clear()
    assert all_are_one(of_noise("poisson", range(1), n_splits=3))
    assert (schemes.count("count_split"), schemes.count("gene_split")) == (3, 3)


# --------------------------------------------------------------------------------------------------------- what is stored


def test_a_partition_and_the_way_to_it_are_stored(five):
    labels, fine, record = five.obs["n_clusters"], five.obs["n_clusters_fine"], five.uns["n_clusters"]
    assert record["n_clusters"] == labels.nunique() == 5
    assert labels.cat.categories.to_list() == ["0", "1", "2", "3", "4"]
    assert (np.diff(labels.value_counts().reindex(labels.cat.categories)) <= 0).all()
    assert len(record["joins"]) == fine.nunique() - 1
    assert record["joins"]["done"].sum() == fine.nunique() - 5
    assert record["joins"]["n_clusters"].tolist() == list(range(fine.nunique() - 1, 0, -1))
    assert (record["joins"].query("done")["signal"] < record["params"]["min_signal"]).all()
    assert not record["joins"]["done"].iloc[-4:].any()
    assert record["gain"] > 3 * record["gain_se"]
    assert record["knee"] == 5
    curve = record["curve"].set_index("n_clusters")
    assert curve["stability"].between(-0.5, 1).all()
    assert curve["stability"][5] > 0.9
    assert curve["loss"][5] < 0.6 * curve["loss"][1]


def test_joins_name_clusters_and_count_their_cells(five):
    sizes = five.obs["n_clusters_fine"].value_counts()
    for row in five.uns["n_clusters"]["joins"].itertuples():
        assert row.n_cluster == sum(sizes[name] for name in row.cluster.split("+"))
        assert row.n_joined == sum(sizes[name] for name in row.joined.split("+"))
    assert row.n_cluster + row.n_joined == five.n_obs


def test_every_cluster_is_whole_clusters_of_the_start(five):
    assert is_finer(five.obs["n_clusters_fine"], five.obs["n_clusters"])


def test_results_go_under_the_key_and_nothing_else_changes(counts, same):
    before = counts.copy()
    assert sdc.tl.n_clusters(counts, key_added="mine") is None
    assert set(counts.obs) - set(before.obs) == {"mine", "mine_fine"}
    assert set(counts.uns) - set(before.uns) == {"mine"}
    copied = sdc.tl.n_clusters(before, key_added="mine", copy=True)
    same(copied, counts)
    del counts.obs["mine"], counts.obs["mine_fine"], counts.uns["mine"]
    same(counts, before)


def test_the_same_seed_gives_the_same_result_and_touches_no_global_state(counts, same):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    one, two = (sdc.tl.n_clusters(counts, random_state=4, copy=True) for _ in range(2))
    same(one, two)
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002


def test_labels_have_no_influence(five, same):
    bare = ad.AnnData(five.X.copy())
    bare.obs_names, bare.var_names = five.obs_names, five.var_names
    bare.obs["cell_type"] = pd.Categorical(np.arange(300) % 2)
    sdc.tl.n_clusters(bare)
    same(bare.uns["n_clusters"], five.uns["n_clusters"])
    assert bare.obs["n_clusters"].to_list() == five.obs["n_clusters"].to_list()


def test_the_order_of_cells_does_not_matter(five):
    order = np.random.default_rng(0).permutation(five.n_obs)
    choice = choose(five[order].copy())
    assert choice.n_clusters == 5
    assert adjusted_rand_score(five.obs["n_clusters"].iloc[order], choice.labels) > 0.99


def test_a_result_survives_a_file(found, tmp_path):
    found.obs["coarse"] = found.obs["n_clusters"].astype(int) // 2
    sdc.tl.n_clusters(found, partitions=["cell_type", "coarse"], key_added="given")
    found.write_h5ad(tmp_path / "cells.h5ad")
    back = ad.read_h5ad(tmp_path / "cells.h5ad")
    for key in ("n_clusters", "given"):
        before, after = found.uns[key], back.uns[key]
        assert set(before) == set(after)
        for name, value in before.items():
            if isinstance(value, pd.DataFrame):
                pd.testing.assert_frame_equal(after[name], value, check_dtype=False, check_categorical=False)
            else:
                assert after[name] == value
    for adata in (found, back):
        sdc.tl.recut(adata, n_clusters=3, key_added="three")
    assert (back.obs["three"].astype(str) == found.obs["three"].astype(str)).all()


def test_the_result_of_one_cluster_survives_a_file(tmp_path):
    adata = datasets.simulate_types(60, 40, n_types=1, dispersion=0)
    adata.obs["all"] = "cells"
    sdc.tl.n_clusters(adata)
    sdc.tl.n_clusters(adata, partitions=["all"], key_added="given")  # here there is no join at all
    assert adata.uns["given"]["n_clusters"] == adata.uns["n_clusters"]["n_clusters"] == 1
    adata.write_h5ad(tmp_path / "cells.h5ad")
    back = ad.read_h5ad(tmp_path / "cells.h5ad")
    sdc.tl.recut(back, n_clusters=1, key="given", key_added="one")
    assert set(back.obs["one"]) == {"0"}


def test_shallow_cells_have_no_say_and_no_label():
    shape = {"mean_depth": 30, "depth_sd": 0.5, "dispersion": 0}
    adata = nonempty(datasets.simulate_types(250, 80, n_types=2, separation=2.0, random_state=1, **shape))
    shallow = adata.X.sum(1).A1 < 10
    assert shallow.sum() > 5
    with pytest.warns(UserWarning, match=f"{shallow.sum()} of {adata.n_obs} cells hold fewer than 10 counts") as caught:
        sdc.tl.n_clusters(adata)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(adata.obs["n_clusters"].isna(), shallow)
    assert adata.uns["n_clusters"]["n_clusters"] == 2
    assert adata.uns["n_clusters"]["n_cells"] == (~shallow).sum()
    sdc.tl.recut(adata, n_clusters=1)
    np.testing.assert_array_equal(adata.obs["n_clusters"].isna(), shallow)


def test_empty_cells_are_left_without_a_label_if_asked(counts):
    x = counts.X.toarray()
    x[7] = 0
    counts.X = sparse.csr_matrix(x)
    with pytest.raises(ValueError, match=r"1 cells have no counts .*drop_empty=True"):
        sdc.tl.n_clusters(counts)
    sdc.tl.n_clusters(counts, drop_empty=True)
    assert np.flatnonzero(counts.obs["n_clusters"].isna()).tolist() == [7]
    assert counts.uns["n_clusters"]["n_clusters"] == 3


@pytest.mark.parametrize("n_obs", [10, 14, 30])
def test_few_cells(n_obs):
    adata = nonempty(datasets.simulate_types(n_obs, 40, n_types=2, separation=2.0))
    sdc.tl.n_clusters(adata)
    assert 1 <= adata.uns["n_clusters"]["n_clusters"] <= 3


def test_of_many_cells_a_sample_decides(five, monkeypatch):
    monkeypatch.setattr(chooser, "MOST_CELLS", 200)
    choice = choose(five)
    assert (choice.record["n_cells"], choice.n_clusters) == (200, 5)
    # the others are in the nearest cluster
    assert sdc.metrics.ari(five.obs["cell_type"], choice.labels) > 0.95
    np.testing.assert_array_equal(np.unique(choice.labels), range(5))


def test_of_many_cells_given_partitions_keep_their_labels(five, monkeypatch):
    monkeypatch.setattr(chooser, "MOST_CELLS", 200)
    adata = five.copy()
    sdc.tl.n_clusters(adata, partitions=["cell_type"])
    assert sdc.metrics.ari(adata.obs["cell_type"], adata.obs["n_clusters"]) == 1


@pytest.mark.parametrize("times", [5, 50, 1000])
def test_a_single_deep_cell_does_not_decide(times):
    adata = datasets.simulate_types(400, 200, n_types=4, separation=0.5)
    deep = np.random.default_rng(1).poisson(np.full((1, 200), adata.X.sum() / adata.n_obs / 200 * times))
    both = ad.AnnData(sparse.vstack([adata.X, sparse.csr_matrix(deep, dtype=np.float32)], format="csr"))
    sdc.tl.n_clusters(both)
    assert both.uns["n_clusters"]["n_clusters"] == 4


@pytest.mark.parametrize("kind", ["X_pca", "log-normalised"])
def test_a_single_outlier_does_not_decide_where_there_are_no_counts(kind):
    adata = datasets.simulate_types(400, 200, n_types=4)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    if kind == "X_pca":
        sc.pp.pca(adata, n_comps=20)
        adata.obsm["X_pca"][0] *= 100
    else:
        adata.X[0] = adata.X[0] * 3
    sdc.tl.n_clusters(adata, use_rep="X_pca" if kind == "X_pca" else None)
    assert adata.uns["n_clusters"]["n_clusters"] in {4, 5}  # it may be a cluster of its own


def test_recut_on_demand_of_a_copy(found, same):
    before = found.copy()
    copy = sdc.tl.recut(found, n_clusters=2, copy=True)
    same(found, before)
    assert copy.obs["n_clusters"].nunique() == copy.uns["n_clusters"]["n_clusters"] == 2


def test_recut_goes_by_names_where_cells_were_left_out(five):
    whole = five.copy()
    sdc.tl.n_clusters(whole, resolution=3.0)
    few = whole[whole.obs["n_clusters_fine"] != "0"].copy()
    for adata in (whole, few):
        sdc.tl.recut(adata, n_clusters=4, key_added="k")
    assert sdc.metrics.ari(whole.obs["k"][few.obs_names], few.obs["k"]) == 1
    few.obs["n_clusters_fine"] = few.obs["n_clusters_fine"].astype(str)
    sdc.tl.recut(few, n_clusters=4, key_added="again")
    assert sdc.metrics.ari(few.obs["again"], few.obs["k"]) == 1


# ------------------------------------------------------------------------------------------------- the deep methods' choice


def test_deep_clustering_takes_the_same_number_for_the_same_reason(five, few):
    adata = sdc.tl.deepclust(five, few("idec", n_clusters=None), copy=True, progress=False)
    record, alone = adata.uns["deepclust"]["n_clusters"], five.uns["n_clusters"]
    assert record["n_clusters"] == 5
    assert record["chosen_by"] == "signal share"
    pd.testing.assert_frame_equal(record["joins"], alone["joins"])
    assert {k: record[k] for k in ("params", "gain", "stability")} == {
        k: alone[k] for k in ("params", "gain", "stability")
    }


def test_deep_clustering_of_noise_is_one_cluster_and_says_why(few):
    adata = datasets.simulate_types(150, 60, n_types=1, dispersion=0)
    sdc.tl.deepclust(adata, few("idec", n_clusters=None), progress=False)
    record = adata.uns["deepclust"]["n_clusters"]
    assert record["n_clusters"] == 1
    assert record["chosen_by"] == "no cluster tells more than a single one does"


@pytest.mark.parametrize("name", ["idec", "dec"])
def test_one_cluster_is_not_sharpened(name):
    """Nothing is left of the loss but reconstruction, which pretraining took as far as cells held out gain by."""
    adata = datasets.simulate_types(150, 60, n_types=1, dispersion=0)
    sdc.tl.deepclust(adata, name, progress=False)
    assert set(adata.uns["deepclust"]["history"]["phase"]) == {"pretrain"}
    assert list(adata.uns["deepclust"]["preservation"]) == ["after"]
    assert "X_deepclust_before" not in adata.obsm
    assert (adata.obs["deepclust"] == "0").all()


def test_a_share_that_joins_all_is_named(five, caplog):
    adata = five.copy()
    sdc.tl.n_clusters(adata, min_signal=0.99)
    assert adata.uns["n_clusters"]["n_clusters"] == 1
    assert "At min_signal=0.99 all" in caplog.text
    assert "a lower min_signal keeps more" in caplog.text


# ------------------------------------------------------------------------------------------------------- more, or fewer


def test_a_lower_share_never_gives_fewer_clusters(counts):
    counts = counts[:150].copy()
    numbers = [choose(counts, min_signal=share).n_clusters for share in (0, 0.01, 0.05, 0.1, 0.5, 0.99)]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > numbers[-1]


def test_recut_goes_up_and_down_the_same_tree(found):
    n_fine = found.obs["n_clusters_fine"].nunique()
    partitions = []
    for n in range(1, n_fine + 1):
        sdc.tl.recut(found, n_clusters=n, key_added=f"cut{n}")
        partitions.append(found.obs[f"cut{n}"])
        assert partitions[-1].nunique() == n
        assert (np.diff(partitions[-1].value_counts().reindex([str(k) for k in range(n)])) <= 0).all()
    for coarse, fine in itertools.pairwise(partitions):
        assert is_finer(fine, coarse)
    assert adjusted_rand_score(partitions[4], found.obs["n_clusters"]) == 1
    assert adjusted_rand_score(partitions[-1], found.obs["n_clusters_fine"]) == 1


def test_recut_of_its_own_key_says_so(found):
    n_fine = found.obs["n_clusters_fine"].nunique()
    sdc.tl.recut(found, n_clusters=2)
    record = found.uns["n_clusters"]
    assert (record["n_clusters"], record["chosen_by"]) == (2, "user")
    assert record["joins"]["done"].sum() == n_fine - 2
    assert found.obs["n_clusters"].nunique() == 2
    sdc.tl.recut(found, n_clusters=5)  # nothing is lost
    assert found.obs["n_clusters"].nunique() == 5
    other = found.copy()
    sdc.tl.recut(found, n_clusters=4, key_added="other")
    assert found.uns["n_clusters"]["n_clusters"] == 5
    assert (found.obs["n_clusters"] == other.obs["n_clusters"]).all()


def test_recut_by_share_is_the_choice_at_that_share(found):
    for share in (0.0, 0.075, 0.6, 0.99):
        choice = choose(found, min_signal=share)
        sdc.tl.recut(found, min_signal=share, key_added="cut")
        assert found.obs["cut"].nunique() == choice.n_clusters
        assert adjusted_rand_score(found.obs["cut"], choice.labels) == 1
    sdc.tl.recut(found, min_signal=0.075)
    assert adjusted_rand_score(found.obs["n_clusters"], found.obs["cell_type"]) == 1


def test_recut_offers_clusters_where_the_guard_saw_none():
    adata = datasets.simulate_types(150, 60, n_types=1, dispersion=0)
    sdc.tl.n_clusters(adata)
    assert adata.uns["n_clusters"]["joins"]["done"].all()
    sdc.tl.recut(adata, n_clusters=3)
    assert adata.obs["n_clusters"].nunique() == 3


# ------------------------------------------------------------------------------------------------- partitions of the user's


@pytest.fixture
def with_partitions(found):
    """The truth, two coarser ones and two finer ones."""
    rng, truth = np.random.default_rng(0), found.obs["cell_type"].cat.codes
    found.obs["truth"] = truth.map(lambda k: f"t{k}")
    found.obs["coarse"] = truth // 2
    found.obs["two"] = truth > 0
    found.obs["halved"] = 2 * truth + rng.integers(2, size=found.n_obs)
    found.obs["one halved"] = np.where((truth == 1) & (rng.random(found.n_obs) < 0.5), 9, truth)
    return found


@pytest.mark.parametrize(("kind", "order"), [("counts", 1), ("counts", -1), ("lognorm", 1)])
def test_the_true_partition_is_taken_before_coarser_and_finer_ones(with_partitions, kind, order):
    adata = with_partitions if kind == "counts" else log_normalised(with_partitions)
    names = ["coarse", "truth", "halved", "one halved", "two"][::order]
    sdc.tl.n_clusters(adata, partitions=names, key_added="best")
    record = adata.uns["best"]
    assert record["chosen"] == "truth"
    assert record["n_clusters"] == adata.obs["best"].nunique() == 5
    assert adjusted_rand_score(adata.obs["best"], adata.obs["truth"]) == 1
    table = record["partitions"].set_index("partition")
    assert table.index.to_list() == names
    assert table["n_clusters"].to_dict() == {"coarse": 3, "truth": 5, "halved": 10, "one halved": 6, "two": 2}
    assert table.loc[["truth", "coarse", "two"], "unchanged"].tolist() == [1, 1, 1]
    assert (table.loc[["halved", "one halved"], "n_joined"] == 5).all()
    assert (table.loc[["halved", "one halved"], "least_signal"] < 0.075).all()
    assert not record["joins"]["done"].any()


def test_where_joining_changes_all_the_one_it_changes_least_is_taken(with_partitions):
    sdc.tl.n_clusters(with_partitions, partitions=["halved", "one halved"], key_added="best")
    assert with_partitions.uns["best"]["chosen"] == "one halved"
    assert with_partitions.uns["best"]["n_clusters"] == 6


def test_stability_is_of_the_partition_that_was_taken(with_partitions):
    """Where joining changes all of them, too."""
    halves = np.arange(300) % 2
    with_partitions.obs["cut"] = with_partitions.obs["cell_type"].astype(str) + pd.Series(halves).astype(str).to_numpy()
    sdc.tl.n_clusters(with_partitions, partitions=["cut"], key_added="best")
    record = with_partitions.uns["best"]
    assert record["n_clusters"] == with_partitions.obs["cut"].nunique()
    assert record["stability"] == record["partitions"]["stability"].item() == record["stability_fine"] < 0.7


def test_cells_without_a_label_have_none_afterwards(with_partitions):
    with_partitions.obs["some"] = with_partitions.obs["cell_type"].where(np.arange(300) > 20)
    sdc.tl.n_clusters(with_partitions, partitions=["some"], key_added="best")
    np.testing.assert_array_equal(with_partitions.obs["best"].isna(), np.arange(300) <= 20)


def test_resolutions_of_leiden_are_judged(found):
    sc.pp.pca(found, n_comps=10, random_state=0)
    sc.pp.neighbors(found, transformer="sklearn", random_state=0)
    for resolution in (0.05, 0.5, 4.0):
        leiden = {"flavor": "igraph", "n_iterations": 2, "directed": False, "random_state": 0}
        sc.tl.leiden(found, resolution=resolution, key_added=f"leiden{resolution}", **leiden)
    names = [f"leiden{resolution}" for resolution in (0.05, 0.5, 4.0)]
    assert found.obs[names[2]].nunique() > 5
    sdc.tl.n_clusters(found, partitions=names, key_added="best")
    assert found.uns["best"]["n_clusters"] == 5
    assert adjusted_rand_score(found.obs["best"], found.obs["cell_type"]) > 0.98


# -------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param({"n_splits": None}, ValueError, "n_splits=None must be an integer", id="no splits"),
        pytest.param({"n_pcs": 2.5}, ValueError, "n_pcs=2.5 must be an integer", id="half a component"),
        pytest.param({"min_signal": -0.1}, ValueError, "min_signal=-0.1 must be at least 0 and below 1", id="low"),
        pytest.param({"min_signal": 1}, ValueError, "min_signal=1 must be", id="high"),
        pytest.param({"min_signal": np.nan}, ValueError, "min_signal=nan must be", id="nan"),
        pytest.param({"partitions": ["leiden"]}, KeyError, "partitions='leiden' is not in .*'cell_type'", id="column"),
        pytest.param({"partitions": []}, ValueError, "partitions", id="no partitions"),
        pytest.param({"scheme": "self"}, ValueError, "scheme='self' must be one of 'auto'", id="scheme"),
        pytest.param({"n_splits": 0}, ValueError, "n_splits=0", id="splits"),
        pytest.param({"resolution": -1}, ValueError, "resolution=-1", id="resolution"),
        pytest.param({"resolution": "a"}, ValueError, "resolution='a' must be a number", id="a word for it"),
        pytest.param(
            {"partitions": ["size_factor"]}, ValueError, "partitions='size_factor' holds 300", id="no partition"
        ),
        pytest.param({"join_shifted": "no"}, ValueError, "join_shifted='no' must be True or False", id="no switch"),
        pytest.param(
            {"partitions": ["cell_type"], "key_added": "cell_type"}, ValueError, "overwrite 'cell_type'", id="own"
        ),
        pytest.param({"n_pcs": 0}, ValueError, "n_pcs=0", id="components"),
        pytest.param({"transform": "sqr"}, ValueError, "transform='sqr'", id="transform"),
        pytest.param({"gene_scaling": -1}, ValueError, "gene_scaling=-1", id="scaling"),
        pytest.param({"layer": "raw"}, KeyError, "layer='raw' is not in", id="layer"),
        pytest.param({"use_rep": "X_scvi"}, KeyError, "use_rep='X_scvi' is not in", id="representation"),
        pytest.param({"mask_var": "hvg"}, KeyError, "mask_var='hvg' is not in", id="genes"),
        pytest.param({"key_added": "a/b"}, ValueError, "key_added='a/b'", id="key"),
        pytest.param({"random_state": 1.5}, ValueError, "random_state=1.5", id="seed"),
    ],
)
def test_one_clear_error_and_cells_as_they_were(counts, same, arguments, error, message):
    before = counts.copy()
    with pytest.raises(error, match=message):
        sdc.tl.n_clusters(counts, **arguments)
    same(counts, before)


def test_ten_cells_are_needed_of_a_representation_too(counts):
    few = counts[:9].copy()
    few.obsm["X_pca"] = np.random.default_rng(0).normal(size=(9, 4))
    with pytest.raises(ValueError, match="9 cells are too few to choose anything by"):
        sdc.tl.n_clusters(few, use_rep="X_pca")


def test_values_that_are_no_counts_cannot_be_split_by_molecules(lognorm):
    with pytest.raises(ValueError, match=r"scheme='count_split' needs counts.*scheme='gene_split'"):
        sdc.tl.n_clusters(lognorm, scheme="count_split")


def test_a_partition_without_any_label(counts):
    counts.obs["nothing"] = pd.Categorical([None] * counts.n_obs, categories=["a"])
    with pytest.raises(ValueError, match="nothing"):
        sdc.tl.n_clusters(counts, partitions=["nothing"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param({}, ValueError, "Give either n_clusters .* or min_signal", id="neither"),
        pytest.param({"n_clusters": 3, "min_signal": 0.1}, ValueError, r"Give either .*here 3.*here 0\.1", id="both"),
        pytest.param({"n_clusters": 0}, ValueError, "n_clusters=0 must be from 1 to", id="none"),
        pytest.param({"n_clusters": 400}, ValueError, "n_clusters=400 must be from 1 to", id="too many"),
        pytest.param({"n_clusters": 2.5}, ValueError, "n_clusters=2.5", id="half a cluster"),
        pytest.param({"n_clusters": "x"}, ValueError, "n_clusters='x' must be an integer", id="a word"),
        pytest.param({"min_signal": np.nan}, ValueError, "min_signal=nan must be", id="nan"),
        pytest.param({"min_signal": -1}, ValueError, "min_signal=-1 must be", id="negative"),
        pytest.param({"n_clusters": 3, "key": "leiden"}, KeyError, "key='leiden' is not in adata.uns", id="key"),
        pytest.param(
            {"n_clusters": 3, "key": "source"}, KeyError, "key='source' is no result of tl.n_clusters", id="other"
        ),
        pytest.param({"n_clusters": 3, "key_added": ""}, ValueError, "key_added=''", id="empty key"),
        pytest.param(
            {"n_clusters": 3, "key_added": "n_clusters_fine"},
            ValueError,
            "would overwrite 'n_clusters_fine'",
            id="read",
        ),
        pytest.param({"n_clusters": 3, "key_added": "source"}, ValueError, "names another result", id="another's"),
    ],
)
def test_recut_refuses_with_one_clear_error(found, same, arguments, error, message):
    before = found.copy()
    with pytest.raises(error, match=message):
        sdc.tl.recut(found, **arguments)
    same(found, before)


def test_recut_of_a_name_that_was_used_again_for_something_else(found):
    found.uns["n_clusters"] = {"tree": 0}
    with pytest.raises(KeyError, match="key='n_clusters' is no result"):
        sdc.tl.recut(found, n_clusters=3)


def test_nothing_of_other_clusters_stays_beside_new_ones_of_their_name(five, few):
    adata = five.copy()
    sdc.tl.n_clusters(adata, key_added="c")
    sdc.tl.deepclust(adata, few("deepwak", n_heads=2), key_added="c", progress=False)
    assert "c_fine" not in adata.obs
    sdc.tl.n_clusters(adata, key_added="c")
    assert "c_fine" in adata.obs
    assert not [name for name in adata.obsm if "c" in name.split("_")]
    adata.obsm["X_own"], adata.uns["own"] = adata.X.toarray()[:, :2], {"params": {}}
    sdc.tl.n_clusters(adata, key_added="own")  # what is nobody's clusters stays
    assert "X_own" in adata.obsm


def test_recut_keeps_no_word_of_what_was_chosen_before(found):
    sdc.tl.recut(found, min_signal=0.5)
    assert found.uns["n_clusters"]["params"]["min_signal"] == 0.5
    assert "stability" not in found.uns["n_clusters"]


def test_whole_numbers_may_be_floats(counts):
    one, two = (sdc.tl.n_clusters(counts, n_splits=n, copy=True).uns["n_clusters"] for n in (2, 2.0))
    assert one["n_clusters"] == two["n_clusters"]


def test_a_partition_of_hardly_any_cells_is_refused(counts, same):
    counts.obs["few"] = pd.Categorical([*["a"] * 3, *["b"] * 4, *[None] * (counts.n_obs - 7)])
    before = counts.copy()
    for call in (
        lambda: sdc.tl.n_clusters(counts, partitions=["few"]),
        lambda: sdc.tl.partition_loss(counts, "few"),
    ):
        with pytest.raises(ValueError, match="'few' has labels for 7 of the cells that can be split; at least 10"):
            call()
    same(counts, before)


# ------------------------------------------------------------------------------------------- and what deepclust makes of it


@pytest.fixture(scope="module")
def rare():
    """Two types, of which the second has a rare relative."""
    return datasets.simulate_types(600, 200, n_types=3, separation=0.8, proportions=[0.55, 0.42, 0.03], random_state=2)


def test_a_method_starts_from_the_clusters_that_a_threshold_keeps(rare, few):
    fine = sdc.tl.n_clusters(rare, min_signal=0.0, copy=True)
    for min_signal in (0.0, 0.5):
        found = sdc.tl.deepclust(rare, few("idec", n_clusters=None), min_signal=min_signal, copy=True, progress=False)
        record = found.uns["deepclust"]
        assert record["params"]["min_signal"] == record["n_clusters"]["params"]["min_signal"] == min_signal
        expected = sdc.tl.n_clusters(rare, min_signal=min_signal, copy=True)
        assert found.obs["deepclust"].nunique() == expected.obs["n_clusters"].nunique()
    assert fine.obs["n_clusters"].nunique() > expected.obs["n_clusters"].nunique()


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("idec", {"n_clusters": 3}, "min_signal=0.05 decides nothing, because .* n_clusters=3; leave it out"),
        ("none", {"cluster": "hdbscan"}, "min_signal=0.05 decides nothing, because .* HDBSCAN"),
    ],
)
def test_a_threshold_that_would_decide_nothing_is_refused(rare, same, name, given, message):
    before = rare.copy()
    with pytest.raises(ValueError, match=message):
        sdc.tl.deepclust(rare, name, min_signal=0.05, **given)
    same(rare, before)


def test_a_run_with_another_threshold_does_not_go_on_from_a_checkpoint(rare, few, tmp_path):
    options = {"checkpoint": tmp_path / "run.pt", "copy": True, "progress": False}
    sdc.tl.deepclust(rare, few("idec", n_clusters=None), min_signal=0.3, **options)
    with pytest.raises(ValueError, match="checkpoint"):
        sdc.tl.deepclust(rare, few("idec", n_clusters=None), min_signal=0.2, **options)


def test_cells_of_equal_depth_may_come_in_any_order():
    rng = np.random.default_rng(0)
    x, depth = rng.normal(size=(300, 4)), np.full(300, 1000.0)
    labels = np.repeat([0, 1, 2], 100)
    np.testing.assert_allclose(evidence._without_depth(x, depth, labels), x, atol=1e-12)


def test_a_refusal_of_log_normalised_values_speaks_of_genes(lognorm):
    keep = np.arange(lognorm.n_vars) < 9
    with pytest.raises(ValueError, match="at least 10 of the genes used"):
        sdc.tl.n_clusters(lognorm[:, keep].copy(), drop_empty=True)
