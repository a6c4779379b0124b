"""Metrics against scikit-learn, brute force and plain loops."""

from __future__ import annotations

import warnings
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, csr_matrix
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    confusion_matrix,
    f1_score,
    silhouette_samples,
    v_measure_score,
)

from scdeepclust import metrics

AGREEMENT = [metrics.accuracy, metrics.nmi, metrics.ami, metrics.ari, metrics.macro_f1]
ALL = [*AGREEMENT, metrics.scores, metrics.confusion, metrics.match_labels]
pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30)
quick = settings(max_examples=60, deadline=None, derandomize=True)


def by_name(function) -> str:
    return function.__name__


def matches(true, pred):
    """Every one-to-one map of clusters to types, as the predicted type of each cell (-1: none)."""
    types, clusters = sorted(set(true)), sorted(set(pred))
    targets = types + [-1] * max(0, len(clusters) - len(types))
    for chosen in permutations(targets, len(clusters)):
        mapping = dict(zip(clusters, chosen, strict=True))
        yield np.array([mapping[c] for c in pred])


@quick
@given(pairs)
def test_accuracy_and_macro_f1_equal_brute_force(cells):
    true, pred = (np.array(column) for column in zip(*cells, strict=True))
    tried = [
        ((true == named).mean(), f1_score(true, named, labels=np.unique(true), average="macro", zero_division=0))
        for named in matches(true.tolist(), pred.tolist())
    ]
    best = max(right for right, _ in tried)
    assert metrics.accuracy(true, pred) == pytest.approx(best)
    assert metrics.macro_f1(true, pred) == pytest.approx(max(f1 for right, f1 in tried if right > best - 1e-9))


@quick
@given(pairs)
def test_match_labels_reaches_the_accuracy(cells):
    true, pred = (list(column) for column in zip(*cells, strict=True))
    found = metrics.match_labels(true, pred)
    assert len(set(found.values())) == len(found) <= min(len(set(true)), len(set(pred)))
    right = np.mean([found.get(c) == y for y, c in zip(true, pred, strict=True)])
    assert right == pytest.approx(metrics.accuracy(true, pred))


@quick
@given(pairs)
def test_information_scores_equal_scikit_learn(cells):
    true, pred = (np.array(column) for column in zip(*cells, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn takes many clusters for a regression target
        expected = [f(true, pred) for f in (v_measure_score, adjusted_mutual_info_score, adjusted_rand_score)]
    assert [f(true, pred) for f in (metrics.nmi, metrics.ami, metrics.ari)] == pytest.approx(expected)


@quick
@given(pairs, st.permutations(range(5)), st.permutations(["a", "b", "c", "d", "e"]))
def test_names_do_not_matter_and_values_stay_in_bounds(cells, order, letters):
    true, pred = (list(column) for column in zip(*cells, strict=True))
    renamed = [letters[y] for y in true], [order[c] for c in pred]
    scores = metrics.scores(true, pred)
    assert metrics.scores(*renamed) == pytest.approx(scores)
    assert list(scores) == ["ACC", "NMI", "AMI", "ARI", "macro_F1"]
    assert all(-1e-9 <= scores[key] <= 1 + 1e-9 for key in ("ACC", "NMI", "macro_F1"))
    assert -0.5 - 1e-9 <= scores["ARI"] <= 1 + 1e-9
    assert scores["AMI"] <= 1 + 1e-9


@quick
@given(pairs)
def test_symmetric_scores_are_symmetric_and_itself_scores_one(cells):
    true, pred = (list(column) for column in zip(*cells, strict=True))
    for function in (metrics.accuracy, metrics.nmi, metrics.ami, metrics.ari):
        assert function(true, pred) == pytest.approx(function(pred, true))
    assert list(metrics.scores(true, true).values()) == pytest.approx([1.0] * 5)


def test_scores_are_the_single_functions():
    rng = np.random.default_rng(0)
    true, pred = rng.integers(0, 4, 200), rng.integers(0, 6, 200)
    assert list(metrics.scores(true, pred).values()) == [f(true, pred) for f in AGREEMENT]


def test_unmatched_clusters_are_errors_and_unmatched_types_count_zero():
    assert metrics.accuracy(["a"] * 4, [0, 1, 2, 3]) == 0.25
    assert metrics.macro_f1(["a", "a", "b", "c"], [0, 0, 0, 0]) == pytest.approx((2 * 2 / 6) / 3)
    assert metrics.match_labels(["a", "a", "b"], [0, 0, 0]) == {0: "a"}


def test_pairs_without_a_common_cell_are_not_matched():
    # the assignment pairs cluster 1 with the type left over, "b", which it shares no cell with
    assert metrics.match_labels(["a", "a", "a", "a", "b"], [0, 0, 0, 1, 0]) == {0: "a"}


@pytest.mark.parametrize("names", list(permutations("xyz")), ids="".join)
def test_ties_in_accuracy_go_to_the_higher_f1_whatever_the_names(names):
    # "a" is split evenly: clusters 0 and 1 give equal accuracy, but cluster 1 also holds a cell of "b"
    true, pred = list("aaaabbbbbb"), [names[c] for c in (0, 0, 1, 1, 1, 2, 2, 2, 2, 2)]
    assert metrics.match_labels(true, pred) == {names[0]: "a", names[2]: "b"}
    assert metrics.macro_f1(true, pred) == pytest.approx((4 / 6 + 10 / 11) / 2)


@pytest.mark.parametrize(
    "make",
    [list, tuple, np.array, pd.Series, pd.Categorical, pd.Index, lambda v: pd.Series(v, dtype="category")],
    ids=["list", "tuple", "array", "series", "categorical", "index", "series-categorical"],
)
@pytest.mark.parametrize("values", [["b", "b", "a", "c"], [1, 1, 0, 10], [True, True, False, False]], ids=str)
def test_every_kind_of_labels(make, values):
    assert metrics.accuracy(make(values), make(values)) == 1
    assert list(metrics.confusion(make(values), values).index) == sorted(set(values))


def test_confusion_equals_scikit_learn_and_keeps_category_order():
    true = pd.Categorical(["t", "b", "t", "nk"], categories=["t", "unused", "nk", "b"])
    pred = np.array([10, 2, 2, 10])
    table = metrics.confusion(true, pred)
    assert list(table.index) == ["t", "nk", "b"]
    assert list(table.columns) == [2, 10]
    expected = confusion_matrix([0, 2, 0, 1], [1, 0, 0, 1], labels=[0, 1, 2])[:, :2]
    np.testing.assert_array_equal(table, expected)
    assert metrics.confusion(["a", 1], [0, 0]).shape == (2, 1)


@pytest.mark.parametrize("function", ALL, ids=by_name)
@pytest.mark.parametrize(
    ("true", "pred", "words"),
    [
        ([0, 1, 1], [0, 1], "labels_true has 3 entries but labels_pred has 2"),
        ([], [], "labels_true is empty"),
        (["a", None, "b"], [0, 1, 1], "labels_true has 1 missing"),
        ([0, 1, 1], ["a", np.nan, np.nan], "labels_pred has 2 missing"),
        ([0, 1, 1], pd.Series([0.0, np.nan, 1.0]), "labels_pred has 1 missing"),
        (pd.Categorical(["a", None, "b"]), [0, 1, 1], "labels_true has 1 missing"),
        (pd.array([1, None, 2], dtype="Int64"), [0, 1, 1], "labels_true has 1 missing"),
        (np.zeros((3, 1)), [0, 1, 1], r"labels_true must be 1-D.*shape \(3, 1\)"),
        ([0, 1, 1], [[0], [1], [1]], "labels_pred must be 1-D"),
        ([0, 1, 1], [[0], [1, 2], [1]], "labels_pred must be 1-D|labels_pred must hold one"),
        ([0, 1, 1], pd.DataFrame({"a": [0, 1, 1]}), "labels_pred must be 1-D"),
        ("abc", [0, 1, 1], "labels_true must be 1-D"),
        (
            pd.Series([0, 1], index=["x", "y"]),
            pd.Series([1, 0], index=["y", "x"]),
            "labels_true and labels_pred have the same cells.*another order",
        ),
    ],
    ids=[
        "lengths",
        "empty",
        "none",
        "nan-list",
        "nan-series",
        "nan-categorical",
        "nan-nullable",
        "column",
        "nested",
        "ragged",
        "dataframe",
        "string",
        "order",
    ],
)
def test_bad_labels_are_named(function, true, pred, words):
    with pytest.raises(ValueError, match=words):
        function(true, pred)


def test_series_of_other_cells_or_equal_order_are_taken_by_position():
    true = pd.Series(["a", "b"], index=["x", "y"])
    assert metrics.accuracy(true, pd.Series([0, 1])) == 1
    assert metrics.accuracy(true, pd.Series([0, 1], index=["x", "y"])) == 1


@pytest.fixture
def space():
    rng = np.random.default_rng(1)
    labels = np.repeat(["a", "b", "c"], [40, 30, 10])
    centres = {"a": 0.0, "b": 1.5, "c": 3.0}
    return rng.normal(size=(80, 3)) + np.array([centres[y] for y in labels])[:, None], labels


@pytest.mark.parametrize("make", [np.array, csr_matrix, csr_array, pd.DataFrame, np.ndarray.tolist])
def test_silhouette_equals_scikit_learn(space, make):
    x, labels = space
    assert metrics.silhouette(make(x), labels) == pytest.approx(silhouette_samples(x, labels).mean())


def test_silhouette_sample_is_seeded_and_leaves_global_state(space):
    x, labels = space
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    values = [metrics.silhouette(x, labels, sample_size=50, random_state=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert values[0] == values[1] != values[2]
    assert values[0] == pytest.approx(metrics.silhouette(x, labels), abs=0.1)
    assert metrics.silhouette(x, labels, sample_size=None) == metrics.silhouette(x, labels)


def test_knn_purity_equals_plain_loop(space):
    x, labels = space
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    shares = []
    for i in range(len(x)):
        others = sorted((j for j in range(len(x)) if j != i), key=lambda j, i=i: distances[i, j])
        shares.append(np.mean([labels[j] == labels[i] for j in others[:7]]))
    assert metrics.knn_purity(x, labels, n_neighbors=7) == pytest.approx(np.mean(shares))
    assert metrics.knn_purity(csr_matrix(x), labels, n_neighbors=7) == pytest.approx(np.mean(shares))
    expected = pd.Series(shares).groupby(labels).mean()
    found = metrics.knn_purity(x, pd.Categorical(labels, categories=["c", "b", "a"]), n_neighbors=7, per_label=True)
    assert list(found.index) == ["c", "b", "a"]
    np.testing.assert_allclose(found[["a", "b", "c"]], expected)


def test_knn_purity_never_counts_the_cell_itself_among_duplicates():
    # all labels differ: any share above 0 is a cell that met itself
    assert metrics.knn_purity(np.zeros((12, 2)), np.arange(12), n_neighbors=3) == 0
    assert metrics.knn_purity(np.zeros((12, 30)), np.arange(12), n_neighbors=11) == 0


def test_knn_purity_of_all_neighbours_is_the_share_of_the_label():
    found = metrics.knn_purity(np.arange(10.0)[:, None], [0] * 4 + [1] * 6, n_neighbors=9, per_label=True)
    np.testing.assert_allclose(found, [3 / 9, 5 / 9])


@pytest.mark.parametrize("function", [metrics.silhouette, metrics.knn_purity], ids=by_name)
@pytest.mark.parametrize(
    ("x", "labels", "words"),
    [
        (np.zeros((3, 2)), [0, 1], "x has 3 rows but labels has 2"),
        (np.array([[0.0], [np.nan], [np.inf]]), [0, 1, 1], "x has 2 NaN or infinite"),
        (csr_matrix(np.array([[0.0], [np.nan], [1.0]])), [0, 1, 1], "x has 1 NaN"),
        (np.zeros(3), [0, 1, 1], "x must be a 2-D"),
        (np.array([["a"], ["b"], ["c"]]), [0, 1, 1], "x must be a 2-D array of numbers"),
        (np.zeros((3, 2)), [0, None, 1], "labels has 1 missing"),
        (np.zeros((0, 2)), [], "labels is empty"),
    ],
    ids=["rows", "infinite", "sparse-nan", "1d", "strings", "missing", "empty"],
)
def test_bad_space_is_named(function, x, labels, words):
    with pytest.raises(ValueError, match=words):
        function(x, labels)


@pytest.mark.parametrize(
    ("labels", "kwargs", "words"),
    [
        ([0] * 6, {}, "labels must have at least 2 different values.*has 1"),
        (range(6), {}, "fewer than cells, but has 6"),
        ([0, 0, 0, 0, 0, 1], {"sample_size": 2}, "sample_size must be at least 3"),
    ],
    ids=["one", "all-different", "sample"],
)
def test_silhouette_needs_two_labels(labels, kwargs, words):
    with pytest.raises(ValueError, match=words):
        metrics.silhouette(np.arange(6.0)[:, None], list(labels), **kwargs)


@pytest.mark.parametrize("k", [0, -1, 6, 100])
def test_knn_purity_refuses_impossible_neighbours(k):
    with pytest.raises(ValueError, match=f"n_neighbors must be between 1 and n_obs - 1 = 5, but is {k}"):
        metrics.knn_purity(np.arange(6.0)[:, None], [0, 1] * 3, n_neighbors=k)
