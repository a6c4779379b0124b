"""Shifts that recur between clusters: found where a batch goes across kinds of cells, and not where there is none."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
import scanpy as sc
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import scdeepclust as sdc
from scdeepclust.diffusion import shifts
from scdeepclust.diffusion.signal import Sums, squared_distances


def view_of(means, n=50, noise=0.0, seed=0):
    """Sums over clusters with these means, of two views with independent noise."""
    rng = np.random.default_rng(seed)
    x, y = (n * (means + rng.normal(0, noise, means.shape)) for _ in "xy")
    return Sums(x, np.full(len(means), n), y, np.full(len(means), n))


def crossed(n_types, n_features=30, size=0.5, seed=0):
    """Means of types, and of the same types shifted."""
    rng = np.random.default_rng(seed)
    types, shift = rng.normal(size=(n_types, n_features)), rng.normal(size=n_features) * size
    return np.concatenate([types, types + shift]), shift


def recurs(means, pairs, least_cosine):
    """The definition, by the means themselves."""
    for (i, j), (k, l) in combinations(pairs, 2):
        one, other = means[j] - means[i], means[l] - means[k]
        lengths = np.linalg.norm(one), np.linalg.norm(other)
        across = min(np.linalg.norm(means[k] - means[i]), np.linalg.norm(means[l] - means[j]))
        if len({i, j, k, l}) < 4 or one @ other < least_cosine * lengths[0] * lengths[1] or max(lengths) >= across:
            return False
    return True


def test_every_type_is_found_with_its_shifted_self():
    means, _ = crossed(5)
    found = shifts.recurring([view_of(means)])
    assert {frozenset(pair) for pair in found.pairs} == {frozenset((k, k + 5)) for k in range(5)}
    assert found.cosine == pytest.approx(1)


def test_two_shifted_types_are_too_few():
    assert shifts.recurring([view_of(crossed(2)[0])]) is None


clusters = given(st.integers(6, 8), st.integers(2, 4), st.integers(0, 10_000))


@settings(max_examples=60, deadline=None)
@clusters
def test_two_displacements_are_alike_if_they_satisfy_the_definition(n_clusters, n_features, seed):
    means = np.random.default_rng(seed).normal(size=(n_clusters, n_features))
    places, every = shifts._Places([view_of(means)]), list(permutations(range(n_clusters), 2))
    for pair in every:
        cosines = places.cosines(pair)
        assert [cosines[other] >= 0.6 for other in every] == [recurs(means, [pair, other], 0.6) for other in every]


@settings(max_examples=200, deadline=None)
@clusters
def test_what_is_found_satisfies_the_definition_in_three_pairs(n_clusters, n_features, seed):
    means = np.random.default_rng(seed).normal(size=(n_clusters, n_features))
    found = shifts.recurring([view_of(means)], {3: 0.6})
    if found is not None:
        assert recurs(means, found.pairs, 0.6 - 1e-6)
        assert len(found.pairs) >= 3


def grid(n_types, n_batches, size, seed):
    """Means of types in batches that differ by `size` times as much as types do, the batches of a type side by side."""
    rng = np.random.default_rng(seed)
    types, batches = rng.normal(size=(n_types, 1, 15)), rng.normal(size=(1, n_batches, 15)) * size
    means = types + batches + rng.normal(size=(n_types, n_batches, 15)) * 0.15
    return means.reshape(-1, 15)


@pytest.mark.parametrize("seed", range(5))
def test_types_are_not_taken_for_shifts_where_batches_differ_by_more(seed):
    """What tells two of six types apart recurs in each of three batches; what tells two batches apart, in all six types."""
    assert shifts.recurring([view_of(grid(6, 3, 2.0, seed))]) is None
    found = shifts.recurring([view_of(grid(6, 3, 0.5, seed))])
    assert {first // 3 - second // 3 for first, second in found.pairs} == {0}


def test_it_is_found_through_noise_and_in_features_of_their_own():
    """Views of halves of genes have no features in common."""
    views = [view_of(crossed(5, seed=seed)[0], noise=0.05, seed=seed) for seed in range(2)]
    assert {frozenset(pair) for pair in shifts.recurring(views).pairs} == {frozenset((k, k + 5)) for k in range(5)}


def test_the_direction_of_a_shift_is_taken_away_and_nothing_else():
    means, shift = crossed(4)
    view = view_of(means)
    changed = shifts.without([view], [view], shifts.recurring([view]))
    along = shift / np.linalg.norm(shift)
    left = means - np.outer(means @ along, along)
    expected = np.square(left[:, None] - left[None]).sum(2)
    np.testing.assert_allclose(squared_distances(changed), expected, atol=1e-9)
    np.testing.assert_allclose(np.diag(squared_distances(changed), 4), 0, atol=1e-9)


@pytest.fixture(scope="module")
def batches():
    """Six types, each in two batches in which the rates of all genes differ."""
    rng = np.random.default_rng(1)
    adata = sdc.datasets.simulate_types(1500, 500, n_types=6, return_rates=True)
    second = rng.random(adata.n_obs) < 0.5
    rate = np.asarray(adata.layers.pop("rate")) * adata.obs["size_factor"].to_numpy()[:, None]
    rate[second] *= np.exp(rng.normal(0, 0.5, adata.n_vars))
    adata.X = sparse.csr_matrix(rng.poisson(rate), dtype=np.float32)
    adata.obs["batch"] = np.where(second, "b", "a")
    return adata


def test_types_in_two_batches_are_one_cluster_each(batches, caplog):
    sdc.tl.n_clusters(batches, key_added="joined")
    assert "one and the same shift" in caplog.text
    assert sdc.metrics.ari(batches.obs["cell_type"], batches.obs["joined"]) > 0.95
    record = batches.uns["joined"]
    assert len(record["shifts"]) >= 4
    # The names are those of the clusters before joining: on one side of the shift are the cells of one batch.
    fine = batches.obs["joined_fine"].astype(str)
    of = {
        k: set(batches.obs["batch"][fine.isin(k.split("+"))]) for k in record["shifts"][["cluster", "shifted"]].stack()
    }
    for pair in record["shifts"].itertuples():
        assert {tuple(of[pair.cluster]), tuple(of[pair.shifted])} == {("a",), ("b",)}


def test_they_are_two_each_where_the_user_wants_that(batches):
    sdc.tl.n_clusters(batches, join_shifted=False, key_added="apart")
    both = batches.obs["cell_type"].astype(str) + batches.obs["batch"]
    assert sdc.metrics.ari(both, batches.obs["apart"]) > 0.9
    assert not len(batches.uns["apart"]["shifts"])


def test_the_network_starts_from_the_joined_clusters(batches):
    found = sdc.tl.deepclust(batches, copy=True, progress=False)
    assert sdc.metrics.ari(found.obs["cell_type"], found.obs["deepclust"]) > 0.95
    apart = sdc.tl.deepclust(batches, join_shifted=False, copy=True, progress=False)
    assert apart.obs["deepclust"].nunique() > 10
    assert apart.uns["deepclust"]["params"]["join_shifted"] is False


@pytest.mark.parametrize("n_types", [4, 8, 16])
def test_none_is_found_among_types(n_types):
    adata = sdc.datasets.simulate_types(1500, 300, n_types=n_types, separation=2.0)
    sdc.tl.n_clusters(adata)
    assert not len(adata.uns["n_clusters"]["shifts"])


def test_none_is_found_along_lineages():
    for seed in range(3):
        adata = sdc.datasets.simulate_lineage(1200, 300, n_branches=4, random_state=seed)
        sdc.tl.n_clusters(adata)
        assert not len(adata.uns["n_clusters"]["shifts"])


@pytest.mark.public
@pytest.mark.parametrize("kind", ["counts", "lognorm"])
def test_cell_lines_are_found_through_three_technologies(kind):
    adata = sdc.datasets.cellbench_cell_lines()
    if kind == "lognorm":  # halves of genes, whose features differ
        sc.pp.normalize_total(adata)
        sc.pp.log1p(adata)
    sdc.tl.n_clusters(adata)
    assert sdc.metrics.ari(adata.obs["cell_type"], adata.obs["n_clusters"]) > 0.99


@pytest.mark.public
def test_none_is_found_in_bone_marrow():
    adata = sdc.datasets.paul15()
    sdc.tl.n_clusters(adata)
    assert not len(adata.uns["n_clusters"]["shifts"])


def test_a_wish_that_decides_nothing_is_refused(types):
    with pytest.raises(
        ValueError, match="join_shifted=False decides nothing, because the number of clusters is that of n_clusters=3"
    ):
        sdc.tl.deepclust(types, n_clusters=3, join_shifted=False)
