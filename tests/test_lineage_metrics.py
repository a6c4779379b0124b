"""Metrics of lineages against brute force, networkx, scipy and sets drawn by hand."""

from __future__ import annotations

import re

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group, pearsonr, rankdata, spearmanr

from scdeepclust.metrics import edge_agreement, lineage_preservation, pseudotime_agreement

PARTS = ["neighbors", "trustworthiness", "geodesic", "connected"]
quick = settings(max_examples=60, deadline=None, derandomize=True)


# ------------------------------------------------------------------------------------------- what an embedding keeps


@pytest.fixture(scope="module")
def spaces():
    """A reference, and an embedding that kept some of it; with islands in the embedding."""
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(90, 4))
    embedding = reference[:, :2] + 0.3 * rng.normal(size=(90, 2))
    embedding[:30] += 50
    return embedding, reference


@pytest.fixture(scope="module")
def continuum():
    """Cells along a curve, in order."""
    rng = np.random.default_rng(1)
    t = np.linspace(0, 1, 240)
    return np.column_stack([4 * t, np.sin(4 * t), t**2]) + 0.03 * rng.normal(size=(240, 3))


def nearest(x, k):
    """The nearest neighbours of every cell, by looking at all."""
    d = cdist(x, x)
    np.fill_diagonal(d, np.inf)
    return [set(np.argsort(row)[:k]) for row in d], d


def graph(x, k):
    near, d = nearest(x, k)
    g = nx.Graph()
    g.add_nodes_from(range(len(x)))
    g.add_weighted_edges_from((i, j, d[i, j]) for i in range(len(x)) for j in near[i])
    return g


def test_the_same_space_scores_1(spaces):
    for x in spaces:
        assert lineage_preservation(x, x) == dict.fromkeys(["score", *PARTS], pytest.approx(1))


def test_rotation_scale_and_shift_do_not_matter(spaces):
    embedding, reference = spaces
    moved = 7 * embedding @ ortho_group.rvs(2, random_state=0) - 3
    expected = lineage_preservation(embedding, reference)
    assert lineage_preservation(moved, reference) == pytest.approx(expected)
    assert lineage_preservation(embedding, 0.01 * reference[:, ::-1] + 5) == pytest.approx(expected)


def test_neighbors_equal_brute_force(spaces):
    found = lineage_preservation(*spaces, n_neighbors=7)["neighbors"]
    (one, _), (other, _) = (nearest(x, 7) for x in spaces)
    assert found == pytest.approx(np.mean([len(a & b) / 7 for a, b in zip(one, other, strict=True)]))


def test_trustworthiness_equals_its_definition(spaces):
    n, k = 90, 7
    (near, _), (_, d) = (nearest(x, k) for x in spaces)
    rank = d.argsort(1).argsort(1) + 1  # of each cell in the reference, 1 the nearest
    penalty = sum(max(rank[i, j] - k, 0) for i in range(n) for j in near[i])
    trust = 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * penalty
    assert lineage_preservation(*spaces, n_neighbors=k)["trustworthiness"] == pytest.approx(2 * trust - 1)


@pytest.mark.parametrize("k", [4, 12])
def test_geodesic_equals_walks_by_networkx(spaces, k):
    # more landmarks than cells: all pairs are compared
    found = lineage_preservation(*spaces, n_neighbors=k)["geodesic"]
    pairs = np.triu_indices(90, 1)
    ranks = []
    for x in spaces:
        lengths = dict(nx.all_pairs_dijkstra_path_length(graph(x, k)))
        walks = np.array([[lengths[i].get(j, np.inf) for j in range(90)] for i in range(90)])
        ranks.append(rankdata(walks[pairs].round(9)))
    assert np.isinf(walks).sum() == 0
    assert found == pytest.approx(pearsonr(*ranks).statistic, abs=1e-6)


def test_connected_equals_the_largest_component_by_networkx(spaces):
    largest = [max(map(len, nx.connected_components(graph(x, 7)))) for x in spaces]
    assert largest[0] == 60
    assert lineage_preservation(*spaces, n_neighbors=7)["connected"] == largest[0] / largest[1]


def test_score_is_the_mean_of_the_parts(spaces):
    found = lineage_preservation(*spaces)
    assert list(found) == ["score", *PARTS]
    assert found["score"] == pytest.approx(np.mean([found[part] for part in PARTS]))


def test_a_random_embedding_keeps_nothing_but_connection(continuum):
    found = lineage_preservation(np.random.default_rng(2).normal(size=(240, 3)), continuum)
    assert found["neighbors"] < 0.12
    assert found["trustworthiness"] < 0.1
    assert found["geodesic"] < 0.1
    assert found["connected"] == 1


def test_a_gap_in_a_continuum_lowers_what_walks_across_it(continuum):
    torn = continuum.copy()
    torn[120:] += 100
    whole, found = lineage_preservation(continuum, continuum), lineage_preservation(torn, continuum)
    assert found["connected"] == 0.5
    assert found["geodesic"] < whole["geodesic"] - 0.03
    assert found["score"] < whole["score"] - 0.1
    # the other way round, joining islands is no fault of the connection
    assert lineage_preservation(continuum, torn)["connected"] == 1


def test_more_islands_are_worse(continuum):
    scores = []
    for n in (1, 2, 4, 8):
        torn = continuum + 100 * (np.arange(240) * n // 240)[:, None] * np.random.default_rng(0).normal(size=3)
        scores.append(lineage_preservation(torn, continuum)["score"])
    assert scores == sorted(scores, reverse=True)


def test_a_collapsed_embedding_scores_low_and_is_no_error(continuum):
    found = lineage_preservation(np.zeros((240, 2)), continuum)
    assert found["score"] < 0.5
    assert all(0 <= value <= 1 for value in found.values())


def test_the_seed_draws_landmarks_and_the_global_state_stays(continuum):
    noisy = continuum + np.random.default_rng(3).normal(size=continuum.shape)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, again, other = (lineage_preservation(noisy, continuum, n_landmarks=20, random_state=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert one == again
    assert one["geodesic"] != other["geodesic"]
    assert one["neighbors"] == other["neighbors"]


def test_many_cells_are_sampled_by_the_seed():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3_200, 2))
    noisy = x + 0.1 * rng.normal(size=x.shape)
    one, again = (lineage_preservation(noisy, x, n_neighbors=5, n_landmarks=30, random_state=0) for _ in range(2))
    assert one == again
    # a sample of 3,000 has other neighbours than all cells
    (all_noisy, _), (all_x, _) = nearest(noisy, 5), nearest(x, 5)
    of_all = np.mean([len(a & b) / 5 for a, b in zip(all_noisy, all_x, strict=True)])
    assert one["neighbors"] != pytest.approx(of_all, abs=1e-9)
    assert one["neighbors"] == pytest.approx(of_all, abs=0.03)


@pytest.mark.parametrize(
    ("embedding", "reference", "words"),
    [
        (np.zeros((50, 2)), np.zeros((51, 2)), "embedding has 50 cells, reference 51"),
        (np.zeros(50), np.zeros((50, 2)), "embedding must be a matrix of finite numbers"),
        (np.zeros((50, 2)), np.full((50, 2), np.nan), "reference must be a matrix of finite numbers"),
        (np.full((50, 2), np.inf), np.zeros((50, 2)), "embedding must be a matrix of finite numbers"),
        (np.zeros((31, 2)), np.zeros((31, 2)), "31 cells are too few for n_neighbors=15; at least 32"),
    ],
    ids=["cells", "1d", "nan", "inf", "few"],
)
def test_spaces_that_cannot_be_compared(embedding, reference, words):
    with pytest.raises(ValueError, match=words):
        lineage_preservation(embedding, reference)


def test_data_frames_and_lists_serve(spaces):
    expected = lineage_preservation(*spaces)
    assert lineage_preservation(pd.DataFrame(spaces[0]), spaces[1].tolist()) == expected


# -------------------------------------------------------------------------------------------------- the order in time


@pytest.fixture
def times():
    """A pseudotime with cells that were not reached, the truth, and the branch of every cell."""
    rng = np.random.default_rng(0)
    known = rng.random(120)
    time = known + 0.3 * rng.normal(size=120)
    time[rng.choice(120, 20, replace=False)] = np.nan
    return time, known, rng.choice(["left", "right"], 120)


def test_agreement_equals_scipy_branch_by_branch(times):
    time, known, branches = times
    found = pseudotime_agreement(time, known, branches)
    expected = []
    for name in ("left", "right"):
        on, reached = branches == name, (branches == name) & ~np.isnan(time)
        rho = spearmanr(time[reached], known[reached]).statistic
        assert found["spearman"][name] == pytest.approx(rho)
        assert found["coverage"][name] == reached.sum() / on.sum()
        expected.append(rho * reached.sum() / on.sum())
    assert found["score"] == pytest.approx(np.mean(expected))


def test_without_branches_there_is_one(times):
    time, known, _ = times
    found = pseudotime_agreement(time, known)
    assert found["coverage"] == {"all": 100 / 120}
    assert found["spearman"] == {"all": pytest.approx(spearmanr(time, known, nan_policy="omit").statistic)}


def test_scib_is_its_trajectory_conservation(times):
    # scib.metrics.trajectory_conservation: unreached cells get 0, then (Spearman's correlation over all cells + 1) / 2
    time, known, branches = times
    scib = (pd.Series(known).corr(pd.Series(time).fillna(0), "spearman") + 1) / 2
    assert pseudotime_agreement(time, known, branches)["scib"] == pytest.approx(scib)
    assert pseudotime_agreement(time, known)["scib"] == pytest.approx(scib)


def test_scib_leaves_out_cells_without_a_reference(times):
    time, known, _ = times
    known[::3] = np.nan
    there = ~np.isnan(known)
    assert pseudotime_agreement(time, known) == pseudotime_agreement(time[there], known[there])


def test_perfect_reversed_and_constant_times():
    known = np.arange(10)
    assert pseudotime_agreement(known**3, known) == {
        "score": pytest.approx(1),
        "spearman": {"all": pytest.approx(1)},
        "coverage": {"all": 1.0},
        "scib": pytest.approx(1),
    }
    back = pseudotime_agreement(-known, known)
    assert (back["score"], back["spearman"]["all"], back["scib"]) == (0, pytest.approx(-1), pytest.approx(0))
    still = pseudotime_agreement(np.ones(10), known)
    assert (still["score"], still["spearman"]["all"], still["scib"]) == (0, 0, 0.5)


def test_lost_cells_cost_score_by_their_share():
    known = np.arange(100.0)
    for lost in (10, 50, 90):
        assert pseudotime_agreement(np.where(known < lost, np.nan, known), known)["score"] == pytest.approx(
            1 - lost / 100
        )
    nothing = pseudotime_agreement(np.full(100, np.nan), known)
    assert (nothing["score"], nothing["coverage"]["all"], nothing["scib"]) == (0, 0, 0.5)
    infinite = pseudotime_agreement(np.where(known < 10, np.inf, known), known)
    assert infinite == pseudotime_agreement(np.where(known < 10, np.nan, known), known)


@pytest.mark.parametrize("make", [np.array, list, pd.Categorical, pd.Series], ids=lambda f: f.__name__)
def test_every_kind_of_branches(times, make):
    time, known, branches = times
    expected = pseudotime_agreement(time, known, branches)
    assert pseudotime_agreement(time, known, make(branches)) == expected
    assert pseudotime_agreement(pd.Series(time), pd.Series(known, index=range(5, 125)), make(branches)) == expected


def test_cells_without_a_branch_count_on_none(times):
    time, known, branches = times
    with_gaps = pd.Series(branches).where(np.arange(120) % 4 > 0)
    there = with_gaps.notna().to_numpy()
    found, expected = (
        pseudotime_agreement(time, known, with_gaps),
        pseudotime_agreement(time[there], known[there], branches[there]),
    )
    assert found["spearman"] == expected["spearman"]
    assert found["coverage"] == expected["coverage"]


def test_cells_of_a_trunk_count_on_every_branch(times):
    time, known, branches = times
    trunk = known < 0.3
    table = pd.DataFrame({name: trunk | (branches == name) for name in ("left", "right")})
    found = pseudotime_agreement(time, known, table)
    for name in table:
        on = table[name].to_numpy() & ~np.isnan(time)
        assert found["spearman"][name] == pytest.approx(spearmanr(time[on], known[on]).statistic)
        assert found["coverage"][name] == on.sum() / table[name].sum()


def test_times_along_branches_stand_for_their_cells(times):
    time, known, branches = times
    on = pd.DataFrame({name: branches == name for name in ("left", "right")})
    along = on.apply(lambda b: pd.Series(known).where(b))
    along -= along.min()  # the first cell of a branch is at 0, and on it
    assert pseudotime_agreement(time, known, along) == pseudotime_agreement(time, known, on)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros(3), np.zeros(4)), r"pseudotime has shape \(3,\), reference \(4,\)"),
        ((np.zeros((3, 1)), np.zeros((3, 1))), r"shape \(3, 1\)"),
        ((np.arange(3), np.arange(3), ["a", "b"]), "branches has 2 cells, pseudotime 3"),
        ((np.arange(3), np.full(3, np.nan)), "reference holds no finite value"),
    ],
    ids=["lengths", "2d", "branches", "nothing known"],
)
def test_times_that_cannot_be_compared(arguments, words):
    with pytest.raises(ValueError, match=words):
        pseudotime_agreement(*arguments)


# ---------------------------------------------------------------------------------------------------------- the edges

edges = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda e: e[0] != e[1]), max_size=12)


def undirected(pairs):
    return {(str(min(pair)), str(max(pair))) for pair in pairs}


@quick
@given(edges, edges)
def test_edges_equal_plain_sets(found, known):
    scores = edge_agreement(found, known)
    one, other = undirected(found), undirected(known)
    assert scores["precision"] == (len(one & other) / len(one) if one else 0)
    assert scores["recall"] == (len(one & other) / len(other) if other else 0)


@quick
@given(edges, edges)
def test_neither_the_direction_nor_the_order_nor_the_names_of_edges_matter(found, known):
    scores = edge_agreement(found, known)
    assert edge_agreement([e[::-1] for e in found[::-1]] + found, known) == scores
    renamed = [[("abcdef"[a], "abcdef"[b]) for a, b in pairs] for pairs in (found, known)]
    assert edge_agreement(*renamed) == scores


@quick
@given(edges, edges)
def test_f1_is_the_harmonic_mean_and_swapping_swaps(found, known):
    scores, swapped = edge_agreement(found, known), edge_agreement(known, found)
    both = scores["precision"] + scores["recall"]
    assert scores["f1"] == pytest.approx(2 * scores["precision"] * scores["recall"] / both if both else 0)
    assert swapped == {"precision": scores["recall"], "recall": scores["precision"], "f1": scores["f1"]}


def test_edges_by_hand():
    known = [("S0", "S1"), ("S0", "S2"), ("S1", "S3")]
    assert edge_agreement(known, known) == {"precision": 1, "recall": 1, "f1": 1}
    assert edge_agreement([("S1", "S0"), ("S1", "S2")], known) == {
        "precision": 1 / 2,
        "recall": 1 / 3,
        "f1": pytest.approx(2 / 5),
    }
    assert edge_agreement([], known) == {"precision": 0, "recall": 0, "f1": 0}


def test_edges_may_be_arrays_of_any_names():
    known = np.array([[0, 1], [1, 2]])
    assert edge_agreement([("0", "1"), (2, 1)], known)["f1"] == 1
    tree = pd.DataFrame({"parent": ["0"], "child": ["1"]})
    assert edge_agreement(tree.to_numpy(), known)["precision"] == 1


def test_edges_are_pairs():
    with pytest.raises(ValueError, match="found must hold pairs"):
        edge_agreement([("a", "b", "c")], [])
    with pytest.raises(ValueError, match="known must hold pairs"):
        edge_agreement([], [("a",)])


def test_tables_of_edges_as_a_lineage_has_them():
    tree = pd.DataFrame({"parent": ["a", "b"], "child": ["b", "c"], "confidence": [1.0, 0.5]})
    assert edge_agreement(tree, [("b", "a")]) == edge_agreement([("a", "b"), ("b", "c")], tree[:1])
    assert edge_agreement(tree[:0], tree)["recall"] == 0
    with pytest.raises(ValueError, match=r"known must hold pairs .*this one has columns \['x1', 'x2'\]"):
        edge_agreement(tree, pd.DataFrame({"x1": ["a"], "x2": ["b"]}))


def test_what_is_no_edge_is_named():
    for wrong in (("a", "b", "c"), "ab", 3):
        with pytest.raises(ValueError, match=re.escape(f"'parent' and 'child'; it holds {wrong!r}.")):
            edge_agreement([("a", "b"), wrong], [])


def test_branches_of_zeros_and_ones_are_masks(times):
    time, known, branches = times
    table = pd.DataFrame({name: (branches == name) | (known < 0.3) for name in ("left", "right")})
    expected = pseudotime_agreement(time, known, table)
    for kind in (int, float, object, "boolean"):
        assert pseudotime_agreement(time, known, table.astype(kind)) == expected


def test_a_branch_of_which_nothing_is_known_does_not_count():
    known = np.r_[np.arange(10.0), np.full(5, np.nan)]
    found = pseudotime_agreement(np.arange(15.0), known, np.repeat(["a", "b"], [10, 5]))
    assert found["score"] == pytest.approx(1)
    assert list(found["spearman"]) == list(found["coverage"]) == ["a"]
