"""Lineages on simulated trees whose segments, order and first cell are known."""

from __future__ import annotations

import functools
import importlib
import random
import sys
import types
import warnings
from itertools import pairwise

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy
import torch
from scipy import sparse
from scipy.stats import spearmanr

import scdeepclust as sdc
from scdeepclust.tl import _fates
from scdeepclust.tl._tree import EDGE, directed_tree, warn_of_far_root

KEYS = {
    "obs": ["lineage_pseudotime", "lineage_segment"],
    "obsm": ["lineage_branches", "X_lineage", "X_lineage_diffmap"],
    "uns": ["lineage"],
}


def simulated(n_obs=150, n_vars=60, *, n_branches=2, seed=0):
    """Counts of a tree, with principal components; columns of labels beside its segments."""
    adata = sdc.datasets.simulate_lineage(
        n_obs, n_vars, n_branches=n_branches, separation=2, mean_depth=5000, random_state=seed
    )
    x = adata.X.toarray()
    x = np.log1p(x / x.sum(1, keepdims=True) * 5000)
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    adata.obsm["X_pca"] = (u * s)[:, :10]
    day = (adata.obs["pseudotime"] * 4).astype(int)
    adata.obs["day"] = pd.Categorical(day)
    adata.obs["stage"] = pd.Categorical(day.map(lambda d: "early" if d == 0 else "late"))
    return adata


def order(adata, key="cell_type", **arguments):
    return sdc.tl.lineage(adata, key, **{"use_rep": "X_pca", "fates": None, "copy": True} | arguments)


def edges(adata):
    return adata.uns["lineage"]["tree"][["parent", "child"]].to_numpy()


def rho(adata):
    """Spearman correlation with the truth, over the cells that were reached."""
    time = adata.obs["lineage_pseudotime"]
    return spearmanr(time[time.notna()], adata.obs["pseudotime"][time.notna()]).statistic


@pytest.fixture(scope="module", autouse=True)
def hasty_umap():
    """A UMAP of few rounds: what it looks like is no matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanpy.tl, "umap", functools.partial(scanpy.tl.umap, maxiter=5))
        yield


@pytest.fixture(scope="module")
def plain():
    """A tree of three segments; not to be changed."""
    return simulated()


@pytest.fixture
def tree(plain):
    """The same, to be changed at will."""
    return plain.copy()


@pytest.fixture(scope="module")
def forked():
    """A lineage with several forks, from its first cell; not to be changed."""
    return order(simulated(300, n_branches=4))


@pytest.fixture
def islands(tree):
    """Segment S2 moved far away from the others."""
    tree.obsm["X_pca"][(tree.obs["cell_type"] == "S2").to_numpy(), 0] += 1e3
    return tree


# ---------------------------------------------------------------------------------------------------- what is found


@pytest.fixture(scope="module")
def known():
    """Trees of five segments, ordered from a root."""

    @functools.cache
    def found(seed, root=None):
        return order(simulated(400, 300, n_branches=3, seed=seed), root=root)

    return found


@pytest.mark.parametrize("seed", range(3))
def test_cells_are_in_their_true_order_from_the_first_cell(known, seed):
    assert rho(known(seed)) > 0.8


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_branches", [2, 3])
def test_cells_are_in_their_true_order_from_the_first_cluster(seed, n_branches):
    assert rho(order(simulated(300, 100, n_branches=n_branches, seed=seed), root={"cluster": "S0"})) > 0.8


def test_most_edges_are_those_of_the_true_tree(known):
    recall = [
        sdc.metrics.edge_agreement(edges(found), found.uns["lineage_edges"])["recall"] for found in map(known, range(3))
    ]
    assert np.mean(recall) >= 0.8


def test_edges_lead_away_from_the_root(known):
    found = known(0).uns["lineage"]
    time = known(0).obs.groupby("cell_type", observed=True)["lineage_pseudotime"].median()
    assert found["root"]["cluster"] == "S0"
    assert found["clusters"].loc["S0", "parent"] == ""
    for parent, child in edges(known(0)):
        assert found["clusters"].loc[child, "parent"] == parent
        assert time[parent] < time[child]
    np.testing.assert_array_equal(found["clusters"]["pseudotime"], time[found["clusters"].index])
    assert found["clusters"]["n_cells"].to_dict() == known(0).obs["cell_type"].value_counts().to_dict()


@pytest.mark.public
def test_monocytes_and_neutrophils_do_not_come_of_basophils():
    """Of few cells, basophils touch all that is near them, of which PAGA is surer than of large clusters."""
    adata = sdc.datasets.paul15()
    sdc.tl.deepclust(adata, progress=False)
    sdc.tl.lineage(adata, root={"cell_type": "7MEP"}, fates=None)
    kinds = adata.obs["cell_type"].astype(str).str.lstrip("0123456789")
    kind = kinds.groupby(adata.obs["deepclust"], observed=True).agg(lambda of: of.value_counts().idxmax())
    parent = adata.uns["lineage"]["clusters"]["parent"]
    assert {"MEP", "GMP", "Mo", "Baso", "Ery"} <= set(kind)
    for name in kind.index[kind.isin(["Mo", "Neu"])]:
        above = parent[name]
        while above:
            assert kind[above] in {"MEP", "GMP", "Mo", "Neu"}
            above = parent[above]


def test_an_island_of_fewer_cells_than_neighbours_is_linked_to_nothing(tree, caplog):
    """Each of its cells has to have neighbours outside of it, which is no link."""
    far = np.flatnonzero(tree.obs["cell_type"] == "S2")[:8]
    tree.obsm["X_pca"][far, 0] += 1e3
    tree.obs["cell_type"] = tree.obs["cell_type"].cat.add_categories("island")
    tree.obs.loc[tree.obs_names[far], "cell_type"] = "island"
    found = order(tree, root={"cluster": "S0"}).uns["lineage"]
    assert found["connectivities"].max(0)[list(found["clusters"].index).index("island")] > 0.5  # PAGA is sure of it
    assert found["clusters"]["reachable"].to_dict() == {"S0": True, "S1": True, "S2": True, "island": False}
    assert found["n_unreachable"] == 8
    assert "They have next to no neighbours among the others" in caplog.text
    anyway = order(tree, root={"cluster": "S0"}, min_confidence=0).uns["lineage"]
    pd.testing.assert_frame_equal(anyway["tree"], found["tree"])


def test_a_cluster_in_the_middle_can_be_the_root(known):
    found = known(0, "S1")
    parents = [parent for parent, _ in edges(found)]
    assert len(edges(found)) == 4
    assert parents[0] == "S1"
    assert parents.count("S1") > 1


# -------------------------------------------------------------------------------------------------------------- roots


@pytest.mark.parametrize("root", ["cell7", {"cell": "cell7"}, 7, np.int64(7)], ids=repr)
def test_a_root_that_is_a_cell(plain, root):
    found = order(plain, root=root)
    assert found.uns["lineage"]["root"]["cell"] == "cell7"
    assert found.uns["lineage"]["root"]["cluster"] == plain.obs["cell_type"].iloc[7]
    assert found.obs["lineage_pseudotime"].iloc[7] == 0
    assert (found.obs["lineage_pseudotime"].drop("cell7") > 0).all()


@pytest.mark.parametrize(
    ("root", "column", "label"),
    [
        ("S1", "cell_type", "S1"),
        ({"cluster": "S1"}, "cell_type", "S1"),
        ({"cell_type": "S1"}, "cell_type", "S1"),
        ("early", "stage", "early"),
        ({"stage": "early"}, "stage", "early"),
        ("0", "day", 0),
        ({"day": 0}, "day", 0),
    ],
    ids=str,
)
def test_a_root_that_is_a_group_of_cells(plain, root, column, label):
    found = order(plain, root=root)
    cell = found.uns["lineage"]["root"]["cell"]
    assert plain.obs.loc[cell, column] == label
    assert found.obs.loc[cell, "lineage_pseudotime"] == 0
    assert str(label) in found.uns["lineage"]["root"]["found_by"]


@pytest.mark.parametrize("layer", [None, "scaled"])
def test_a_root_that_is_a_gene_lies_where_the_gene_is_highest(tree, layer):
    x = tree.X.toarray()
    tree.layers["scaled"] = x.copy()
    x[:, 3] = np.where(tree.obs["cell_type"] == "S2", 9, 1)
    tree.layers["scaled"][:, 3] = np.where(tree.obs["cell_type"] == "S1", 9, 1)
    tree.X = x
    for root in ("gene3", {"gene": "gene3"}):
        assert order(tree, root=root, layer=layer).uns["lineage"]["root"]["cluster"] == ("S1" if layer else "S2")


@pytest.mark.parametrize(
    "genes",
    ["gene0, gene1,gene2,", ["gene0", "gene1", "gene2"], pd.Index(["gene0", "gene1", "gene2"])],
    ids=["words", "list", "index"],
)
def test_several_genes_point_to_a_root_together(tree, genes):
    """One of them is far more expressed than the others, and highest elsewhere."""
    rng, first = np.random.default_rng(0), (tree.obs["cell_type"] == "S0").to_numpy()
    x = tree.X.toarray()
    x[:, :2] = rng.poisson(np.where(first, 2, 0.3)[:, None], (len(x), 2))
    x[:, 2] = rng.poisson(np.where(first, 180, 200))
    tree.X = x
    assert order(tree, root="gene2").uns["lineage"]["root"]["cluster"] != "S0"
    x[:, 3] = 5  # the same in all cells
    tree.layers["constant"] = x
    assert order(tree, root={"gene": "gene0,gene1,gene3"}, layer="constant").uns["lineage"]["root"]["cluster"] == "S0"
    found = order(tree, root={"gene": genes}).uns["lineage"]["root"]
    assert found["cluster"] == "S0"
    assert found["found_by"] == "genes gene0, gene1, gene2"


@pytest.mark.parametrize(
    "root", ["nothing", {"gene": "nothing"}, {"cluster": "9"}, {"gene": "gene0,nothing"}, 10_000], ids=str
)
def test_a_root_that_does_not_exist_is_refused_before_any_work(tree, root, monkeypatch):
    monkeypatch.setattr(importlib.import_module("scdeepclust.tl._lineage"), "_graph", None)
    with pytest.raises(KeyError):
        order(tree, root=root)


def test_several_genes_of_which_one_is_unknown_or_silent(tree):
    with pytest.raises(KeyError, match=r"Several genes are \{'gene': 'gene0,gene1'\}"):
        order(tree, root="gene0,gene1")
    with pytest.raises(KeyError, match=r"there is no gene '\[\]'"):
        order(tree, root={"gene": []})
    with pytest.raises(KeyError, match=r"root='gene2000' is not in adata.var_names; the nearest are"):
        order(tree, root={"gene": "gene0,gene2000"})
    x = tree.X.toarray()
    x[:, 1] = 0
    tree.X = x
    with pytest.raises(ValueError, match=r"root='gene1': this gene is zero in every cell"):
        order(tree, root={"gene": "gene0,gene1"})


def test_a_label_given_to_a_few_wrong_cells_starts_where_most_of_its_cells_are(tree, caplog):
    """The wrong ones lie at a tip, which is the farthest of all from the others."""
    young, late = tree.obs["cell_type"] == "S0", tree.obs["pseudotime"].rank(ascending=False) <= 3
    tree.obs["stage"] = np.where(young | late, "young", "old")
    with caplog.at_level("INFO"):
        found = order(tree, root={"stage": "young"})
    assert found.uns["lineage"]["root"]["cluster"] == "S0"
    assert f"{young.sum()} of {young.sum() + 3} cells of stage young are in cluster S0" in caplog.text
    assert rho(found) > 0.8


def test_time_starts_in_a_cell_from_which_its_group_comes_first(tree):
    """A cell of the group that is far from all, its own group included, is the farthest, and no start."""
    far = np.flatnonzero(tree.obs["cell_type"] == "S0")[:4]
    tree.obsm["X_pca"][far, -1] += 20 + np.arange(4)
    found = order(tree, root={"cluster": "S0"}, n_neighbors=10)
    assert found.uns["lineage"]["root"]["cell"] not in tree.obs_names[far]
    median = found.uns["lineage"]["clusters"]["pseudotime"]
    assert median["S0"] == median.min()
    assert rho(found[~found.obs_names.isin(tree.obs_names[far])]) > 0.8


@pytest.mark.parametrize("day", [0.0, 0, "0", "0.0"], ids=repr)
def test_a_day_that_some_cells_lack_is_a_root(plain, day):
    """Numbers of which some are missing are floats."""
    plain = plain.copy()
    plain.obs["age"] = np.where(plain.obs["day"] == 0, 0.0, 3.0)
    plain.obs.loc[plain.obs_names[-3:], "age"] = np.nan
    cell = order(plain, root={"age": day}).uns["lineage"]["root"]["cell"]
    assert plain.obs.loc[cell, "age"] == 0
    with pytest.raises(KeyError, match="there is no age 'young'"):
        order(plain, root={"age": "young"})


@pytest.mark.parametrize("value", ["abc", 1.5, np.zeros(3, dtype=int)], ids=str)
def test_a_root_in_uns_that_is_no_number_of_a_cell(plain, value):
    plain = plain.copy()
    plain.uns["iroot"] = value
    with pytest.raises(ValueError, match=r"adata.uns\['iroot'\] is .* not the number of a cell"):
        order(plain)


def test_cells_without_a_label_are_no_root(tree):
    tree.obs["stage"] = pd.Categorical(np.where(tree.obs["cell_type"] == "S0", None, "old"))
    with pytest.raises(KeyError, match="no stage 'nan'"):
        order(tree, root={"stage": "nan"})


def test_a_root_apart_from_all_others_is_told(tree, caplog):
    """Every other cell is then equally late, as in a bone marrow whose mast cells have the most of a gene of stem cells."""
    order(tree, root={"cluster": "S0"})
    assert not caplog.text
    time, in_root = (
        np.concatenate([np.linspace(0, 0.1, 20), np.linspace(0.38, 0.42, 500), [np.nan, 1.0]]),
        np.arange(522) < 20,
    )
    warn_of_far_root(time, in_root, "6")
    assert "its cluster 6 (20 cells) are equally late (pseudotime 0.38 to 0.42)" in caplog.text


def in_time(monkeypatch, names, time, links, confidence):
    """Cells of clusters with links between them, whose pseudotime will be found to be this."""
    monkeypatch.setattr(scanpy.tl, "dpt", lambda bare, n_dcs: bare.obs.__setitem__("dpt_pseudotime", time))
    return ad.AnnData(
        obs=pd.DataFrame({"cluster": pd.Categorical(names)}, index=pd.RangeIndex(len(names)).astype(str)),
        obsm={"X_diffmap": np.zeros((len(names), 3))},
        obsp={"connectivities": sparse.csr_matrix(links)},
        uns={"paga": {"connectivities": sparse.csr_matrix(confidence)}, "iroot": 0},
    )


@pytest.mark.parametrize("second", [0.1, 0.5], ids=["far behind", "near"])
def test_a_second_origin_is_told_with_what_it_hands_on(monkeypatch, caplog, second):
    """The last of four clusters touches all others: the first hardly, the next two as often as said."""
    caplog.set_level("INFO", logger="scdeepclust")
    rng, n = np.random.default_rng(0), 12
    names = np.repeat(list("abcd"), n)
    time = np.repeat([0.0, 0.2, 0.4, 0.8], n) + np.tile(np.linspace(0, 0.1, n), 4)
    often = np.array([[0, 1, 1, 0.02], [0, 0, 0, second], [0, 0, 0, 0.9], [0, 0, 0, 0]])
    links = rng.random((4 * n, 4 * n)) < np.kron(often, np.ones((n, n)))
    links = (links | links.T).astype(float)
    rank = np.tile(np.arange(1, n + 1) / n, 4)
    late_to_early = [(names[i], (rank[i] * (1 - rank[j])) ** 4) for i, j in np.argwhere(links) if names[j] == "d"]
    given = pd.DataFrame(late_to_early, columns=["of", "weight"]).groupby("of")["weight"].sum()
    tree, _ = directed_tree(in_time(monkeypatch, names, time, links, (often > 0).astype(float)), 3, 0.1)
    tree = tree.set_index("child")
    assert tree["parent"].to_dict() == {"b": "a", "c": "a", "d": "c"}
    assert tree.loc[["b", "c"], ["share", "other", "other_share"]].to_numpy().tolist() == [[1.0, "", 0.0]] * 2
    assert tree.loc["d", "other"] == "b"
    np.testing.assert_allclose(tree.loc["d", ["share", "other_share"]].astype(float), given[["c", "b"]] / given.sum())
    assert ("cluster d follows c" in caplog.text) == (second == 0.5)
    if second == 0.5:
        assert f"may come of b ({100 * given['b'] / given.sum():.0f} %)" in caplog.text


def test_a_cluster_whose_only_neighbour_is_later_is_reached_all_the_same(monkeypatch):
    """Chain a - c - b in links, and b a hair earlier than c in time."""
    times = {"a": 0.0, "b": 0.5, "c": 0.51, "d": 0.9}
    names = np.repeat(list(times), 5)
    links = np.zeros((4, 4))
    for i, j in ((0, 2), (1, 2)):
        links[i, j] = links[j, i] = 0.6
    time = pd.Series(names).map(times).to_numpy()
    bare = in_time(monkeypatch, names, time, np.kron(links, np.ones((5, 5))), links)
    tree, clusters = directed_tree(bare, 3, 0.1)
    assert tree[["parent", "child"]].to_numpy().tolist() == [["a", "c"], ["c", "b"]]
    assert clusters["reachable"].to_dict() == {"a": True, "b": True, "c": True, "d": False}
    np.testing.assert_array_equal(bare.obs["dpt_pseudotime"], np.where(names == "d", np.nan, time))


def test_a_root_in_uns_serves_where_none_is_given(plain, tree):
    assert order(plain).uns["lineage"]["root"]["cell"] == plain.obs["pseudotime"].idxmin()
    del tree.uns["iroot"]
    with pytest.raises(ValueError, match=r"iroot.*'S0', 'S1', 'S2'"):
        order(tree)


def test_a_name_of_several_things_is_refused_and_what_it_may_be_is_listed(tree):
    tree.obs_names = [str(i) for i in range(tree.n_obs)]
    tree.obs["k"] = tree.obs["cell_type"].cat.rename_categories(["0", "1", "2"])
    tree.var_names = ["1", *tree.var_names[1:]]
    with pytest.raises(ValueError, match=r"ambiguous.*\{'cell': '0'\}.*\{'cluster': '0'\}.*\{'day': '0'\}"):
        order(tree, "k", root="0")
    with pytest.raises(ValueError, match=r"ambiguous.*\{'cell': '1'\}.*\{'cluster': '1'\}.*\{'gene': '1'\}"):
        order(tree, "k", root="1")
    assert order(tree, "k", root={"cell": "1"}).uns["lineage"]["root"]["cell"] == "1"
    assert order(tree, "k", root={"cluster": "1"}).uns["lineage"]["root"]["cluster"] == "1"


def test_a_second_name_of_the_same_cells_is_not_ambiguous(tree):
    tree.obs["other"] = tree.obs["cell_type"].copy()
    tree.obs["shifted"] = pd.Categorical(np.roll(tree.obs["cell_type"], 1))
    with pytest.raises(ValueError, match=r"ambiguous.*\{'cluster': 'S0'\}, \{'shifted': 'S0'\}\."):
        order(tree, root="S0")
    del tree.obs["shifted"]
    assert order(tree, root="S0").uns["lineage"]["root"]["cluster"] == "S0"


def test_a_column_called_cluster_does_not_hide_the_clusters(tree):
    tree.obs["k"] = tree.obs["cell_type"].cat.rename_categories(["0", "1", "2"])
    tree.obs["cluster"] = tree.obs["cell_type"].cat.rename_categories(["2", "1", "0"])
    assert order(tree, "k", root={"cluster": "0"}).uns["lineage"]["root"]["cluster"] == "0"
    tree.obs = tree.obs.drop(columns="day")
    assert order(tree, "k", root="0").uns["lineage"]["root"]["cluster"] == "0"


@pytest.mark.parametrize(
    ("root", "error", "words"),
    [
        ("nobody", KeyError, "nobody.*'S0', 'S1', 'S2'"),
        ({"cluster": "nobody"}, KeyError, "no cluster 'nobody'.*'S0', 'S1', 'S2'"),
        ({"stage": "late-ish"}, KeyError, "no stage 'late-ish'. Labels there are: "),
        ({"gene": "S0"}, KeyError, "no gene 'S0'.*known as 'cluster'.*'gene0'"),
        ({"cell": "S0"}, KeyError, "no cell 'S0'.*'cell0'"),
        ({"colour": "S0"}, KeyError, "no colour 'S0'"),
        (150, KeyError, "root=150.*0 to 149"),
        (-1, KeyError, "root=-1.*0 to 149"),
        (True, KeyError, "True"),
        ({}, ValueError, "root"),
        ({"cell": "cell1", "cluster": "S0"}, ValueError, "root"),
    ],
    ids=str,
)
def test_unknown_roots_are_named_and_what_there_is_listed(plain, root, error, words):
    with pytest.raises(error, match=words):
        order(plain, root=root)


def test_a_root_needs_a_cluster(tree):
    tree.obs["cell_type"] = tree.obs["cell_type"].where(tree.obs["stage"] != "early")
    early = tree.obs_names[tree.obs["stage"] == "early"]
    with pytest.raises(ValueError, match=f"{early[0]}.*no cluster"):
        order(tree, root=str(early[0]))
    with pytest.raises(ValueError, match="no cluster"):
        order(tree)  # the first cell in time is one of these
    with pytest.raises(ValueError, match="none of its cells has a cluster"):
        order(tree, root="early")


def test_a_gene_that_points_nowhere_is_refused(tree):
    x = np.log1p(tree.X.toarray())
    x[:, 0], x[:, 1] = 0, 2.5
    tree.X = x
    with pytest.raises(ValueError, match=r"gene0.*zero in every cell"):
        order(tree, root="gene0")
    with pytest.raises(ValueError, match=r"gene1.*equally high in clusters 'S0', 'S1', 'S2'"):
        order(tree, root="gene1")
    with pytest.raises(KeyError, match="missing"):
        order(tree, root="gene2", layer="missing")


def test_a_gene_is_looked_for_at_equal_depth_and_a_near_tie_is_told(tree, caplog):
    codes = tree.obs["cell_type"].astype("category").cat.codes.to_numpy()
    x = np.full(tree.shape, 2.0)
    x[:, 0] = np.where(codes == 1, 3, 2)
    x[codes == 2] *= 10  # deep cells have more of every gene
    tree.X = x
    with caplog.at_level("INFO"):
        found = order(tree, root="gene0")
    assert found.obs["cell_type"].iloc[found.obs["lineage_pseudotime"].argmin()] == "S1"
    assert "gene0 is highest in cluster S1: S1 " in caplog.text
    assert "check the root" not in caplog.text
    x[:, 0] = np.random.default_rng(0).poisson(3, len(x))
    tree.X = x
    with caplog.at_level("WARNING"):
        order(tree, root="gene0")
    assert "hardly differs between clusters" in caplog.text


@pytest.mark.filterwarnings("ignore:(Observation|Variable) names are not unique")
def test_cells_and_genes_of_equal_names(tree):
    expected = order(tree, root=0).obs["lineage_pseudotime"].to_numpy()
    names = list(tree.obs_names)
    tree.obs_names = [*names[:5], names[6], *names[6:]]
    with pytest.raises(ValueError, match="'cell6' names 2 cells; give the number of one of them"):
        order(tree, root="cell6")
    np.testing.assert_array_equal(order(tree, root=0).obs["lineage_pseudotime"], expected)
    tree.obs_names, tree.var_names = names, ["gene1", *tree.var_names[1:]]
    with pytest.raises(ValueError, match="gene1"):
        order(tree, root="gene1")


# ------------------------------------------------------------------------------------------- what cannot be reached


def test_an_island_has_no_time(islands, caplog):
    found = order(islands)
    away = (islands.obs["cell_type"] == "S2").to_numpy()
    np.testing.assert_array_equal(found.obs["lineage_pseudotime"].isna(), away)
    np.testing.assert_array_equal(found.obs["lineage_segment"].isna(), away)
    np.testing.assert_array_equal(found.obsm["lineage_branches"].isna().all(axis=1), away)
    assert np.isfinite(found.obsm["X_lineage"]).all()
    record = found.uns["lineage"]
    assert record["n_unreachable"] == away.sum()
    assert record["clusters"]["reachable"].to_dict() == {"S0": True, "S1": True, "S2": False}
    assert edges(found).tolist() == [["S0", "S1"]]
    assert list(record["branches"]) == ["S1"]
    assert rho(found) > 0.8
    [said] = [r for r in caplog.records if r.name.startswith("scdeepclust")]
    assert said.levelname == "WARNING"
    assert f"{away.sum()} of 150 cells cannot be reached from the root (clusters S2)" in said.getMessage()


def test_nothing_is_said_where_all_are_reached(plain, caplog):
    assert order(plain).uns["lineage"]["n_unreachable"] == 0
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_a_part_of_a_cluster_that_is_an_island_has_no_time(tree, caplog):
    away = (tree.obs["cell_type"] == "S2").to_numpy() & (np.arange(150) % 2 == 0)
    tree.obsm["X_pca"][away, 0] += 1e3
    found = order(tree)
    np.testing.assert_array_equal(found.obs["lineage_pseudotime"].isna(), away)
    np.testing.assert_array_equal(found.obsm["lineage_branches"].isna().all(axis=1), away)
    assert found.uns["lineage"]["n_unreachable"] == away.sum()
    assert found.uns["lineage"]["clusters"]["reachable"].all()
    assert f"{away.sum()} of 150 cells" in caplog.text


def test_weak_edges_are_cut(known, caplog):
    record = known(0).uns["lineage"]
    strongest = pd.Series(record["connectivities"].max(0), index=record["clusters"].index).drop("S0")
    lost, threshold = strongest.idxmin(), strongest.min() + 1e-6
    found = order(known(0), min_confidence=threshold).uns["lineage"]
    assert (found["tree"]["confidence"] >= threshold).all()
    assert not found["clusters"].loc[lost, "reachable"]
    assert found["n_unreachable"] >= found["clusters"].loc[lost, "n_cells"]
    np.testing.assert_array_equal(found["connectivities"], record["connectivities"])
    assert lost in caplog.text
    assert "A lower min_confidence, or more neighbours, links more" in caplog.text


def test_no_edge_at_all_leaves_the_cluster_of_the_root(plain, tmp_path):
    found = order(plain, min_confidence=1.1)
    assert len(edges(found)) == 0
    assert {k: list(v) for k, v in found.uns["lineage"]["branches"].items()} == {"S0": ["S0"]}
    np.testing.assert_array_equal(found.obs["lineage_pseudotime"].notna(), plain.obs["cell_type"] == "S0")
    found.write_h5ad(tmp_path / "a.h5ad")
    assert list(ad.read_h5ad(tmp_path / "a.h5ad").uns["lineage"]["tree"].columns) == EDGE


# -------------------------------------------------------------------------------------------------- what goes along


def test_branches_lead_from_the_root_to_every_tip(forked):
    record = forked.uns["lineage"]
    parents, children = (set(edges(forked)[:, i]) for i in range(2))
    assert len(record["branches"]) > 1
    assert set(record["branches"]) == children - parents
    assert set().union(*record["branches"].values()) == {*parents, *children}
    for tip, members in record["branches"].items():
        assert (members[0], members[-1]) == (record["root"]["cluster"], tip)
        assert set(pairwise(members)) <= set(map(tuple, edges(forked)))


def test_time_along_each_branch_runs_from_0_to_1(forked):
    branches = forked.obsm["lineage_branches"]
    assert list(branches.columns) == list(forked.uns["lineage"]["branches"])
    for tip, members in forked.uns["lineage"]["branches"].items():
        on = forked.obs["cell_type"].isin(members)
        np.testing.assert_array_equal(branches[tip].notna(), on)
        assert branches[tip].min() == 0
        assert branches[tip].max() == 1
        along, time = branches[tip][on], forked.obs["lineage_pseudotime"][on]
        assert np.corrcoef(along, time)[0, 1] == pytest.approx(1)
        assert along.idxmin() == forked.uns["lineage"]["root"]["cell"]


def test_cells_share_a_segment_where_they_share_all_branches(forked):
    on = forked.obsm["lineage_branches"].notna()
    table = pd.DataFrame({"on": on.apply(tuple, axis=1), "segment": forked.obs["lineage_segment"].astype(str)})
    assert table["segment"].nunique() == table["on"].nunique() == len(table.drop_duplicates())
    for segment in table["segment"].unique():
        members = set(forked.obs["cell_type"][table["segment"] == segment])
        last = [m for m in members if not any(p == m and c in members for p, c in edges(forked))]
        assert last == [segment]


def test_branches_serve_to_measure_agreement_with_the_truth(forked):
    branches, time = forked.obsm["lineage_branches"], forked.obs["lineage_pseudotime"]
    found = sdc.metrics.pseudotime_agreement(time, forked.obs["pseudotime"], branches)
    assert found == sdc.metrics.pseudotime_agreement(time, forked.obs["pseudotime"], branches.notna())
    assert list(found["spearman"]) == list(branches.columns)
    assert found["score"] > 0.8


def test_pseudotime_is_between_0_and_1(forked):
    time = forked.obs["lineage_pseudotime"]
    assert time.min() == 0
    assert time.max() == 1
    assert forked.uns["lineage"]["connectivities"].shape == (7, 7)


# --------------------------------------------------------------------------------------------------------- the input


def test_a_single_cluster_is_no_lineage(tree):
    tree.obs["k"], tree.obs["none"] = "a", pd.Categorical([None] * 150)
    with pytest.raises(ValueError, match="key='k' has 1 cluster"):
        order(tree, "k")
    with pytest.raises(ValueError, match="key='none' has no label for any cell; name another"):
        order(tree, "none")


@pytest.mark.parametrize("root", ["lone", "rest"])
def test_a_cluster_of_one_cell(tree, root):
    tree.obs["k"] = ["lone", *["rest"] * 80, *["others"] * 69]
    found = order(tree, "k", root=root)
    assert found.uns["lineage"]["clusters"].loc["lone", "n_cells"] == 1
    assert found.obs["lineage_pseudotime"].notna().all()
    assert len(edges(found)) == 2


def test_every_kind_of_cluster_labels(tree, plain):
    expected = order(plain).obs["lineage_pseudotime"]
    codes = tree.obs["cell_type"].cat.codes
    for labels in (codes, codes.astype(float), codes == 0):
        tree.obs["k"] = labels
        found = order(tree, "k")
        np.testing.assert_array_equal(found.obs["lineage_pseudotime"], expected)
        assert set(found.uns["lineage"]["clusters"].index) == {str(label) for label in labels}


def test_cells_without_a_cluster_get_nothing_and_change_nothing(tree, same):
    without = np.arange(150) % 5 == 0
    tree.uns["iroot"] = 1
    tree.obs["cell_type"] = tree.obs["cell_type"].where(~without)
    tree.obsm["X_pca"][without] = np.nan
    found = order(tree)
    for values in (found.obs["lineage_pseudotime"], found.obs["lineage_segment"]):
        np.testing.assert_array_equal(values.isna(), without)
    for key in KEYS["obsm"]:
        np.testing.assert_array_equal(np.isnan(np.asarray(found.obsm[key])).all(1), without)
    assert found.uns["lineage"]["n_unreachable"] == 0
    some = order(tree[~without].copy(), root="cell1")
    np.testing.assert_array_equal(found.obs["lineage_pseudotime"][~without], some.obs["lineage_pseudotime"])
    same(some.uns["lineage"]["branches"], found.uns["lineage"]["branches"])


def test_noise_is_no_cluster_of_a_lineage(tree):
    labels = tree.obs["cell_type"].astype(str).where(np.arange(150) % 5 > 0, "noise")
    tree.obs["cell_type"] = labels.astype("category")
    assert "noise" in order(tree).obs["lineage_segment"].cat.categories  # a cluster that a user calls so is one
    tree.uns["cell_type"] = {"params": {"method": "none", "cluster": "hdbscan"}}
    found = order(tree, key_added="other")
    np.testing.assert_array_equal(found.obs["other_segment"].isna(), labels == "noise")
    assert "noise" not in found.obs["other_segment"].cat.categories


def test_a_lineage_can_be_given_another_root_by_name(forked):
    tips = forked.obs["lineage_segment"].cat.categories
    assert set(tips) & set(forked.obs["cell_type"].cat.categories)
    for name in forked.obs["cell_type"].cat.categories:
        order(forked.copy(), root=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_is_refused(tree, bad):
    tree.obsm["X_pca"][[3, 9], 1] = bad
    with pytest.raises(ValueError, match=r"use_rep='X_pca'.*not finite, in 2 cells"):
        order(tree)


def test_a_data_frame_serves_as_embedding(tree, plain, same):
    tree.obsm["X_pca"] = pd.DataFrame(tree.obsm["X_pca"], index=tree.obs_names)
    same(order(tree).obs, order(plain).obs)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"key": "leiden"}, KeyError, "key='leiden' is not in adata.obs; there are: 'cell_type'"),
        ({"use_rep": "X_scvi"}, KeyError, "use_rep='X_scvi' is not in adata.obsm; there are: 'X_pca', 'X_l_diffmap'"),
        (
            {"use_rep": None},
            KeyError,
            r"no embedding of key='cell_type' in adata.obsm; name one with use_rep= \('X_pca', 'X_l_diffmap'\)",
        ),
        (
            {"key": "pseudotime", "use_rep": "X_pca"},
            ValueError,
            "key='pseudotime' holds .* different values .* is no partition",
        ),
        ({"key_added": "a/b"}, ValueError, "key_added='a/b'"),
        ({"key_added": "pca"}, ValueError, "key_added='pca' would overwrite 'X_pca'"),
        ({"use_rep": "X_l_diffmap", "key_added": "l"}, ValueError, "key_added='l' would overwrite 'X_l_diffmap'"),
        ({"key": "l_segment", "key_added": "l"}, ValueError, "key_added='l' would overwrite 'l_segment'"),
        ({"key_added": ""}, ValueError, "key_added=''"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors"),
        ({"n_neighbors": 1}, ValueError, "n_neighbors"),
        ({"n_dcs": 0}, ValueError, "n_dcs"),
        ({"n_dcs": 1}, ValueError, "n_dcs"),
        ({"min_confidence": "a"}, ValueError, "min_confidence='a' must be a number"),
        ({"min_confidence": -1}, ValueError, "min_confidence=-1 must be a number of at least 0"),
        ({"fates": "palentir"}, ValueError, "fates"),
    ],
    ids=str,
)
def test_wrong_arguments_are_named(tree, arguments, error, words):
    tree.obsm["X_l_diffmap"], tree.obs["l_segment"] = tree.obsm["X_pca"], tree.obs["cell_type"]
    with pytest.raises(error, match=words):
        order(tree, **arguments)


def test_what_is_no_anndata_is_refused(plain):
    with pytest.raises(TypeError, match="must be an AnnData"):
        sdc.tl.lineage(plain.obsm["X_pca"])


def test_the_embedding_before_clustering_is_taken_where_it_was_kept(tree):
    tree.obsm["X_cell_type"] = tree.obsm["X_pca"] * np.linspace(0, 2, 10)
    taken = order(tree, use_rep=None)
    assert taken.uns["lineage"]["params"]["use_rep"] == "X_cell_type"
    tree.obsm["X_cell_type_before"] = tree.obsm["X_pca"]
    expected = order(tree)
    for use_rep, there in ((None, "X_cell_type_before"), ("X_cell_type_before",) * 2, ("X_cell_type",) * 2):
        found = order(tree, use_rep=use_rep)
        assert found.uns["lineage"]["params"]["use_rep"] == there
        other = taken if there == "X_cell_type" else expected
        np.testing.assert_array_equal(found.obs["lineage_pseudotime"], other.obs["lineage_pseudotime"])
    with pytest.raises(KeyError, match=r"use_rep='X_scvi' is not in adata.obsm"):
        order(tree, use_rep="X_scvi")


def test_a_lineage_of_deep_clusters(tree, few):
    sdc.tl.deepclust(tree, few("idec"), progress=False)
    assert sdc.tl.lineage(tree, root={"cell_type": "S0"}, fates=None) is None
    assert tree.uns["lineage"]["params"]["use_rep"] == "X_deepclust_before"
    assert set(tree.uns["lineage"]["clusters"].index) == set(tree.obs["deepclust"].cat.categories)


# -------------------------------------------------------------------------------------------------------- the result


def test_only_the_documented_keys_are_written(tree, same):
    tree.uns["paga"], tree.obsm["X_umap"] = {"mine": 1}, np.ones((150, 2))
    tree.obs["dpt_pseudotime"], tree.obsp["connectivities"] = 1.0, tree.X @ tree.X.T
    before = tree.copy()
    assert sdc.tl.lineage(tree, "cell_type", use_rep="X_pca", fates=None) is None
    assert tree.obs["lineage_pseudotime"].dtype.kind == "f"
    assert isinstance(tree.obs["lineage_segment"].dtype, pd.CategoricalDtype)
    assert tree.obsm["X_lineage"].shape == (150, 2)
    assert tree.obsm["X_lineage_diffmap"].shape[1] == 11
    assert set(tree.uns["lineage"]) == {
        *("root", "tree", "clusters", "branches", "connectivities", "n_unreachable", "params")
    }
    for part, keys in KEYS.items():
        for key in keys:
            del getattr(tree, part)[key]
    same(tree, before)


def test_key_added_names_the_keys_and_nothing_else(plain, same):
    usual, mine = order(plain), order(plain, key_added="mine")
    for part, keys in KEYS.items():
        for key in keys:
            assert key not in getattr(mine, part)
            moved = getattr(mine, part)[key.replace("lineage", "mine")]
            same(*(v.to_frame("v") if part == "obs" else v for v in (moved, getattr(usual, part)[key])))


def test_copy_leaves_the_original(tree, plain, same):
    assert isinstance(order(tree), ad.AnnData)
    same(tree, plain)


def test_same_seed_same_bits(plain, same):
    same(order(plain, random_state=3), order(plain, random_state=3))
    one, other = (order(plain, random_state=np.random.default_rng(5)) for _ in range(2))
    same(one, other)


def test_global_random_states_and_threads_are_untouched(plain):
    def states():
        numpy = [str(s) for s in np.random.get_state()]  # noqa: NPY002
        return random.getstate(), numpy, torch.get_rng_state().tolist(), torch.get_num_threads()

    before = states()
    order(plain)
    assert states() == before


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_results_survive_writing(islands, form, tmp_path):
    adata, path = order(islands), tmp_path / f"a.{form}"
    getattr(adata, f"write_{form}")(path)
    back = getattr(ad, f"read_{form}")(path)
    for key in KEYS["obs"]:
        np.testing.assert_array_equal(back.obs[key].isna(), adata.obs[key].isna())
        assert (back.obs[key].dropna() == adata.obs[key].dropna()).all()
    for key in KEYS["obsm"]:
        np.testing.assert_array_equal(np.asarray(back.obsm[key]), np.asarray(adata.obsm[key]))
    old, new = adata.uns["lineage"], back.uns["lineage"]
    assert set(new) == set(old)
    assert new["root"] == old["root"]
    assert new["params"] == old["params"]
    assert new["n_unreachable"] == old["n_unreachable"]
    np.testing.assert_array_equal(new["connectivities"], old["connectivities"])
    for table in ("tree", "clusters"):
        pd.testing.assert_frame_equal(
            new[table].reset_index(drop=True),
            old[table].reset_index(drop=True),
            check_exact=True,
            check_dtype=False,
        )
    assert {k: list(v) for k, v in new["branches"].items()} == {k: list(v) for k, v in old["branches"].items()}


def test_clusters_with_a_slash_in_their_name_survive_writing(tree, tmp_path):
    # as published of PBMC: "CD4+/CD25 T Reg"
    tree.obs["k"] = tree.obs["cell_type"].cat.rename_categories({"S1": "CD4+/CD25", "S2": "CD8+/CD45RA+"})
    found = order(tree, "k")
    found.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    written, read = (a.uns["lineage"]["branches"] for a in (found, back))
    assert {k: list(v) for k, v in read.items()} == {k: list(v) for k, v in written.items()}
    np.testing.assert_array_equal(back.obsm["lineage_branches"], found.obsm["lineage_branches"])


# ------------------------------------------------------------------------------------------------------------- fates


FATES = ("palantir", "cellrank")


def test_the_record_names_the_package_that_told_of_fates(forked, monkeypatch):
    def equal_chances(cells, last, root, seed):
        return pd.DataFrame(1 / len(last), index=cells.obs_names, columns=list(last))

    monkeypatch.setitem(sys.modules, "palantir", None)
    monkeypatch.setitem(sys.modules, "cellrank", types.ModuleType("cellrank"))
    monkeypatch.setitem(_fates.PACKAGES, "cellrank", equal_chances)
    found = order(forked, fates="auto")
    assert found.uns["lineage"]["params"]["fates"] == "cellrank"
    np.testing.assert_allclose(found.obsm["lineage_fates"].sum(axis=1), 1)


@pytest.mark.parametrize("package", FATES)
def test_fates_need_a_package(plain, monkeypatch, package):
    for name in FATES:
        monkeypatch.setitem(sys.modules, name, None)
    with monkeypatch.context() as patch:
        patch.setattr("scdeepclust.tl._lineage._graph", lambda *_: pytest.fail("worked first"))
        with pytest.raises(ImportError, match=rf"fates='{package}' needs {package}.*fates=None"):
            order(plain, fates=package)
    without = order(plain, fates="auto")
    assert "lineage_fates" not in without.obsm
    assert without.uns["lineage"]["params"]["fates"] is None


@pytest.fixture(params=FATES)
def package(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(request.param, exc_type=ImportError)
    return request.param


@pytest.mark.filterwarnings("ignore")
def test_fates_are_probabilities_of_the_tips(package, forked):
    found = order(forked, fates=package)
    fates = found.obsm["lineage_fates"]
    assert list(fates.index) == list(forked.obs_names)
    assert found.uns["lineage"]["params"]["fates"] == package
    assert set(fates.columns) == set(forked.uns["lineage"]["branches"])
    np.testing.assert_allclose(fates.sum(axis=1), 1, atol=0.05)  # palantir drops probabilities below 0.01
    assert (fates >= 0).all(axis=None)
    for tip in fates:
        cells = forked.obs["cell_type"] == tip
        assert fates[cells].mean().idxmax() == tip
        assert fates[tip][cells].mean() > fates[tip][~cells].mean()
    assert "lineage_fates" in order(forked, fates="auto").obsm
    assert "lineage_fates" not in order(forked, fates=None).obsm


@pytest.mark.filterwarnings("ignore")
def test_cells_that_cannot_be_reached_have_no_fates(package, islands):
    found = order(islands, fates=package)
    away = (islands.obs["cell_type"] == "S2").to_numpy()
    np.testing.assert_array_equal(found.obsm["lineage_fates"].isna().all(axis=1), away)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("n_obs", "n_dcs"), [(25, 10), (150, 2)], ids=["few cells", "few components"])
def test_an_installed_package_does_no_harm(package, plain, n_obs, n_dcs):
    assert order(plain[:n_obs].copy(), root=0, n_dcs=n_dcs, fates="auto").obs["lineage_pseudotime"].notna().all()


def test_clusters_without_any_edge_between_them():
    adata = sdc.datasets.simulate_types(n_obs=120, n_vars=40, n_types=3, separation=2.0)
    adata.obsm["X_apart"] = np.repeat(np.eye(3) * 100, 40, axis=0) + np.random.default_rng(0).normal(size=(120, 3))
    adata.obs["island"] = pd.Categorical(np.repeat(["a", "b", "c"], 40))
    sdc.tl.lineage(adata, "island", root={"cluster": "b"}, use_rep="X_apart", fates=None)
    record = adata.uns["lineage"]
    assert record["tree"].empty
    assert record["n_unreachable"] == 80
    assert adata.obs["lineage_pseudotime"].notna().to_numpy().nonzero()[0].tolist() == list(range(40, 80))
