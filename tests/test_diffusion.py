"""Averages over neighbours, their losses and the arithmetic of clusters, against dense algebra and slow plain versions."""

from __future__ import annotations

import itertools

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse
from scipy.cluster.hierarchy import linkage
from sklearn.neighbors import NearestNeighbors

from scdeepclust import datasets, diffusion, results
from scdeepclust.diffusion import prediction, signal
from scdeepclust.diffusion.markov import diffuse, normalized

# The first call of a compiled kernel is slow; that is no failure.


FORMULA = {
    "uniform": lambda u: 1.0,
    "distance": lambda u: np.exp(-u),
    "gaussian": lambda u: np.exp(-(u**2) / 2),
}


def values(rng, n, g, density=0.5):
    """Sparse, non-negative values, as log-normalised ones are."""
    return sparse.csr_array((rng.random((n, g)) < density) * rng.exponential(size=(n, g)), dtype=np.float32)


def slow_kernel(indices, weights, n, *, self_loops=False, rows=None):
    """Rows of a dense matrix, by loops; -1 is no neighbour."""
    rows = range(n) if rows is None else rows
    found = np.zeros((len(rows), n))
    for r, i in enumerate(rows):
        for j, w in zip(indices[r], weights[r], strict=True):
            if j >= 0:
                found[r, j] += w
        found[r, i] += self_loops
        if found[r].sum() > 0:
            found[r] /= found[r].sum()
    return found


def slow_loss(matrix, source, target, rows=None):
    """Mean squared error over genes of each row."""
    wanted = target if rows is None else target[rows]
    return np.mean((matrix @ source - wanted) ** 2, axis=1)


def slow_honest_power(matrix, n_steps):
    found = matrix.copy()
    for _ in range(n_steps - 1):
        found = found @ matrix
        np.fill_diagonal(found, 0)
        found /= np.maximum(found.sum(1, keepdims=True), 1e-300)
    return found


# ----------------------------------------------------------------------------------------------------------- neighbours


@pytest.mark.parametrize("rows", [None, np.array([0, 7, 3, 59])], ids=["all", "some"])
def test_neighbours_are_scikit_learns(rows):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    fitted = NearestNeighbors(n_neighbors=8).fit(x)
    distances, indices = fitted.kneighbors(x if rows is None else x[rows])
    found = diffusion.neighbors(x, 7, rows=rows)
    np.testing.assert_array_equal(found[0], indices[:, 1:])
    np.testing.assert_allclose(found[1], distances[:, 1:], rtol=1e-3)


@pytest.mark.parametrize(("n", "k"), [(400, 15), (50, 5), (9, 15), (2, 15)])
def test_weights_of_the_graph_are_scanpys(n, k):
    x = np.random.default_rng(n).normal(size=(n, 6)).astype(np.float32)
    found = diffusion.connectivities(x, k)
    assert (found != found.T).nnz == 0
    if n == 2:  # too few for scanpy
        np.testing.assert_allclose(found.toarray(), 1 - np.eye(2))
        return
    ours, scanpys = ad.AnnData(obsm={"x": x}), ad.AnnData(obsm={"x": x})
    results.write_neighbors(ours, k, use_rep="x", random_state=0, key_added="some")
    sc.pp.neighbors(scanpys, min(k, n - 1), use_rep="x", transformer="sklearn", random_state=0, key_added="some")
    np.testing.assert_allclose(found.toarray(), scanpys.obsp["some_connectivities"].toarray(), atol=2e-6)
    for name in ("some_connectivities", "some_distances"):
        assert type(ours.obsp[name]) is type(scanpys.obsp[name])
        assert ours.obsp[name].indices.dtype == scanpys.obsp[name].indices.dtype
        np.testing.assert_allclose(ours.obsp[name].toarray(), scanpys.obsp[name].toarray(), atol=1e-3)
    assert ours.uns == scanpys.uns


def test_cells_that_are_equal_have_finite_weights():
    x = np.repeat(np.eye(3, dtype=np.float32), 20, axis=0)
    found = diffusion.connectivities(x, 15)
    assert np.isfinite(found.data).all()
    assert found.data.max() == 1
    assert sparse.csgraph.connected_components(found)[0] >= 3


def test_neighbours_of_some_cells_are_those_among_all():
    x = np.repeat(np.random.default_rng(0).normal(size=(20, 3)), 3, axis=0)  # with duplicates
    rows = np.array([5, 50, 17])
    everyone, some = diffusion.neighbors(x, 9), diffusion.neighbors(x, 9, rows=rows)
    assert not (some[0] == rows[:, None]).any()
    np.testing.assert_allclose(some[1], everyone[1][rows], atol=1e-3)


# --------------------------------------------------------------------------------------------------------------- kernel


@pytest.mark.parametrize("weights", diffusion.WEIGHTS)
@pytest.mark.parametrize("self_loops", [False, True])
def test_a_kernel_is_its_formula(weights, self_loops):
    x = np.random.default_rng(0).normal(size=(40, 3))
    indices, distances = diffusion.neighbors(x, 9)
    slow = np.zeros((40, 40))
    for i in range(40):
        unit = np.mean(sorted(distances[i])[:5])
        for j, d in zip(indices[i], distances[i], strict=True):
            slow[i, j] = FORMULA[weights](d / unit)
        slow[i, i] = self_loops
        slow[i] /= slow[i].sum()
    found = diffusion.kernel(indices, distances, weights, self_loops=self_loops)
    np.testing.assert_allclose(found.toarray(), slow, rtol=1e-4, atol=1e-7)


@given(st.integers(0, 1000), st.integers(2, 25), st.integers(1, 12), st.sampled_from(diffusion.WEIGHTS), st.booleans())
def test_rows_of_a_kernel_sum_to_one(seed, n, k, weights, self_loops):
    rng = np.random.default_rng(seed)
    indices, distances = diffusion.neighbors(rng.normal(size=(n, 2)), k)
    indices = np.where(rng.random(indices.shape) < 0.3, -1, indices)
    found = diffusion.kernel(indices, distances, weights, self_loops=self_loops)
    alone = (indices < 0).all(1) & (not self_loops)
    np.testing.assert_allclose(found.sum(1), np.where(alone, 0, 1), rtol=1e-5)
    assert (found.data > 0).all()
    assert (found.diagonal() > 0).all() if self_loops else not found.diagonal().any()


@pytest.mark.parametrize("weights", diffusion.WEIGHTS)
def test_nearer_neighbours_never_weigh_less(weights):
    _, distances = diffusion.neighbors(np.random.default_rng(0).normal(size=(50, 3)), 20)
    assert (np.diff(diffusion.affinities(distances, weights), axis=1) <= 0).all()


@pytest.mark.parametrize("weights", diffusion.WEIGHTS)
def test_weights_depend_neither_on_the_number_of_neighbours_nor_on_the_scale(weights):
    _, distances = diffusion.neighbors(np.random.default_rng(0).normal(size=(50, 3)), 20)
    many = diffusion.affinities(distances, weights)
    np.testing.assert_allclose(diffusion.affinities(distances[:, :8], weights), many[:, :8], rtol=1e-6)
    np.testing.assert_allclose(diffusion.affinities(1000 * distances, weights), many, rtol=1e-4)


@pytest.mark.parametrize("weights", diffusion.WEIGHTS)
def test_duplicates_have_finite_weights(weights):
    found = diffusion.affinities(np.zeros((3, 4), dtype=np.float32), weights)
    assert (found == 1).all()


# ---------------------------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize("n_steps", [1, 2, 3, 5])
def test_honest_steps_are_the_dense_loop(n_steps):
    indices, distances = diffusion.neighbors(np.random.default_rng(0).normal(size=(50, 3)), 6)
    matrix = diffusion.kernel(indices, distances, "distance")
    found = diffusion.honest_power(matrix, n_steps).toarray()
    np.testing.assert_allclose(found, slow_honest_power(matrix.toarray(), n_steps), rtol=1e-4, atol=1e-6)
    assert not found.diagonal().any()
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def test_honest_steps_are_no_power_of_the_matrix():
    indices, distances = diffusion.neighbors(np.random.default_rng(0).normal(size=(50, 3)), 6)
    matrix = diffusion.kernel(indices, distances)
    power = np.linalg.matrix_power(matrix.toarray(), 2)
    assert power.diagonal().min() >= 0
    assert power.diagonal().mean() > 0.05  # the leak: neighbours of neighbours are oneself
    assert np.abs(diffusion.honest_power(matrix, 2).toarray() - power).max() > 0.05


def test_normalized_is_zero_diagonal_and_rows_of_one():
    dense = np.random.default_rng(0).random((8, 8))
    wanted = dense * (1 - np.eye(8))
    wanted /= wanted.sum(1, keepdims=True)
    np.testing.assert_allclose(normalized(sparse.csr_array(dense)).toarray(), wanted, rtol=1e-6)


def test_the_input_of_honest_steps_is_not_changed():
    indices, distances = diffusion.neighbors(np.random.default_rng(0).normal(size=(20, 3)), 4)
    matrix = diffusion.kernel(indices, distances, self_loops=True)
    before = matrix.toarray()
    diffusion.honest_power(matrix, 3)
    np.testing.assert_array_equal(matrix.toarray(), before)


@pytest.mark.parametrize("n_genes", [1, 255, 256, 257, 600])
@pytest.mark.parametrize("n_steps", [1, 3])
def test_columns_at_a_time_are_all_columns(n_genes, n_steps):
    rng = np.random.default_rng(0)
    x = values(rng, 30, n_genes)
    indices, distances = diffusion.neighbors(rng.normal(size=(30, 3)), 5)
    matrix = diffusion.kernel(indices, distances)
    found = np.full((30, n_genes), np.nan)
    for part, block in diffusion.diffused_columns(matrix, x, n_steps):
        found[:, part] = block
    power = np.linalg.matrix_power(matrix.toarray().astype(float), n_steps)
    np.testing.assert_allclose(found, power @ x.toarray(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(diffuse(matrix, x.toarray(), n_steps), found, rtol=1e-5, atol=1e-6)


# --------------------------------------------------------------------------------------------------------------- losses


def assert_losses_of_each(indices, weights, source, target, *, rows=None, self_loops=False):
    found = diffusion.loss_of_each(indices, weights, source, target, rows=rows, self_loops=self_loops)
    a, b = source.toarray().astype(float), target.toarray().astype(float)
    assert found.shape == indices.shape
    for k in range(1, indices.shape[1] + 1):
        matrix = slow_kernel(indices[:, :k], weights[:, :k].astype(float), len(a), self_loops=self_loops, rows=rows)
        np.testing.assert_allclose(found[:, k - 1], slow_loss(matrix, a, b, rows), rtol=1e-5, atol=1e-6)


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(3, 30),
    g=st.integers(1, 20),
    k=st.integers(1, 12),
    weights=st.sampled_from(diffusion.WEIGHTS),
    self_loops=st.booleans(),
    some=st.booleans(),
    missing=st.sampled_from([0.0, 0.3, 1.0]),
    density=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_the_loss_of_every_number_of_neighbours_is_dense_algebra(
    seed, n, g, k, weights, self_loops, some, missing, density
):
    rng = np.random.default_rng(seed)
    rows = rng.permutation(n)[: max(1, n // 3)] if some else None
    indices, distances = diffusion.neighbors(rng.normal(size=(n, 3)), k, rows=rows)
    indices = np.where(rng.random(indices.shape) < missing, -1, indices)
    source, target = values(rng, n, g, density), values(rng, n, g, 0.5)
    assert_losses_of_each(
        indices, diffusion.affinities(distances, weights), source, target, rows=rows, self_loops=self_loops
    )


@given(st.integers(0, 1000), st.integers(2, 20), st.integers(1, 8))
def test_weights_need_not_fall(seed, n, k):
    rng = np.random.default_rng(seed)
    indices = rng.integers(n, size=(n, k))  # neighbours may even come twice
    assert_losses_of_each(indices, rng.exponential(size=(n, k)) + 0.1, values(rng, n, 9), values(rng, n, 9))


@pytest.mark.parametrize("self_loops", [False, True])
@pytest.mark.parametrize("weights", diffusion.WEIGHTS)
def test_losses_of_real_values_are_dense_algebra(weights, self_loops):
    adata = datasets.pbmc68k()[:150]
    x = sparse.csr_array(adata.X).astype(np.float32)
    first = np.random.default_rng(0).random(adata.n_vars) < 0.5
    indices, distances = diffusion.neighbors(x[:, first].toarray(), 20)
    affinities = diffusion.affinities(distances, weights)
    assert_losses_of_each(indices, affinities, x[:, ~first], x[:, ~first], self_loops=self_loops)


@pytest.mark.public
def test_losses_of_real_halves_of_counts_are_dense_algebra():
    adata = datasets.paul15_mini()[:200]
    counts = sparse.csr_array(adata.X).astype(np.float32)
    first, _, second, _ = diffusion.thin(counts, np.zeros(200), np.random.default_rng(0))
    indices, distances = diffusion.neighbors(np.sqrt(first.toarray()), 15)
    rows = np.arange(0, 200, 7)
    affinities = diffusion.affinities(distances, "distance")
    assert_losses_of_each(indices[rows], affinities[rows], first.log1p(), second.log1p(), rows=rows)
    matrix = diffusion.kernel(indices, distances, "distance")
    found = diffusion.loss_of_kernel(matrix, first.log1p(), second.log1p(), n_steps=2)
    dense = matrix.toarray().astype(float)
    for step in (1, 2):
        slow = slow_loss(np.linalg.matrix_power(dense, step), first.log1p().toarray(), second.log1p().toarray())
        np.testing.assert_allclose(found[:, step - 1], slow, rtol=1e-5)


def test_the_loss_of_no_neighbour_is_that_of_zero():
    rng = np.random.default_rng(0)
    target = values(rng, 5, 7)
    found = diffusion.loss_of_each(np.full((5, 2), -1), np.ones((5, 2)), values(rng, 5, 7), target)
    np.testing.assert_allclose(found, np.mean(target.toarray() ** 2, axis=1)[:, None].repeat(2, 1), rtol=1e-5)


@pytest.mark.parametrize("honest", [False, True])
@pytest.mark.parametrize("n_genes", [20, 300])
@pytest.mark.parametrize("weights", diffusion.WEIGHTS)
def test_the_loss_of_every_step_is_dense_algebra(honest, n_genes, weights):
    rng = np.random.default_rng(0)
    indices, distances = diffusion.neighbors(rng.normal(size=(40, 3)), 5)
    matrix = diffusion.kernel(indices, distances, weights, self_loops=not honest)
    source, target = values(rng, 40, n_genes), values(rng, 40, n_genes)
    found = diffusion.loss_of_kernel(matrix, source, target, n_steps=4, honest=honest)
    assert found.shape == (40, 4)
    dense = matrix.toarray().astype(float)
    for step in range(1, 5):
        power = slow_honest_power(dense, step) if honest else np.linalg.matrix_power(dense, step)
        slow = slow_loss(power, source.toarray().astype(float), target.toarray().astype(float))
        np.testing.assert_allclose(found[:, step - 1], slow, rtol=1e-5)


def test_plain_powers_leak_where_the_target_is_the_source_and_honest_steps_do_not():
    """Of pure noise, an average over others can only be worse than the mean of all."""
    rng = np.random.default_rng(0)
    noise = sparse.csr_array(rng.normal(size=(300, 50)).astype(np.float32))
    indices, distances = diffusion.neighbors(rng.normal(size=(300, 3)), 5)  # found without the noise
    matrix = diffusion.kernel(indices, distances)
    plain, honest = (diffusion.loss_of_kernel(matrix, noise, noise, n_steps=2, honest=h)[:, 1].mean() for h in (0, 1))
    assert plain < 0.95
    assert honest > 1


def test_the_loss_of_the_mean_is_dense_algebra():
    rng = np.random.default_rng(0)
    source, target = values(rng, 30, 12), values(rng, 30, 12)
    slow = np.mean((target.toarray() - source.toarray().mean(0)) ** 2, axis=1)
    np.testing.assert_allclose(diffusion.loss_of_mean(source, target), slow, rtol=1e-5)


# --------------------------------------------------------------------------------------------------------------- halves


@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 15), st.floats(0, 20))
def test_halves_of_counts_sum_to_the_counts(seed, n, g, mean):
    rng = np.random.default_rng(seed)
    dense, rest = rng.poisson(mean, size=(n, g)), rng.poisson(30, size=n).astype(np.float32)
    counts = sparse.csr_array(dense, dtype=np.float32)
    a, a_total, b, b_total = diffusion.thin(counts, rest, np.random.default_rng(seed))
    np.testing.assert_array_equal(a.toarray() + b.toarray(), dense)
    np.testing.assert_array_equal(a_total + b_total, dense.sum(1) + rest)
    for half, total in ((a, a_total), (b, b_total)):
        assert half.shape == counts.shape
        assert (half.data > 0).all()
        assert (total >= half.sum(1)).all()
        assert half.has_canonical_format


def test_the_split_of_counts_is_by_the_toss_of_a_coin():
    counts = sparse.csr_array(np.full((400, 30), 9.0, dtype=np.float32))
    a, total, *_ = diffusion.thin(counts, np.full(400, 100.0), np.random.default_rng(0))
    drawn = a.toarray()
    assert drawn.mean() == pytest.approx(4.5, abs=0.05)
    assert drawn.var() == pytest.approx(9 / 4, rel=0.05)
    assert np.var(total) == pytest.approx((30 * 9 + 100) / 4, rel=0.3)


def test_halves_of_poisson_counts_are_independent():
    counts = sparse.csr_array(np.random.default_rng(0).poisson(4, size=(2000, 20)).astype(np.float32))
    a, _, b, _ = diffusion.thin(counts, np.zeros(2000), np.random.default_rng(1))
    correlation = np.corrcoef(a.toarray().ravel(), b.toarray().ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(40_000)


def test_the_same_generator_splits_the_same():
    counts = sparse.csr_array(np.random.default_rng(0).poisson(4, size=(50, 20)).astype(np.float32))
    before = counts.copy()
    first, second, other = (diffusion.thin(counts, np.ones(50), np.random.default_rng(s)) for s in (1, 1, 2))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(*(x.toarray() if sparse.issparse(x) else x for x in (one, two)))
    assert (first[0] != other[0]).nnz
    assert not (counts != before).nnz


@given(st.integers(0, 1000), st.lists(st.floats(0, 1e6), min_size=2, max_size=40))
def test_halves_of_genes_weigh_the_same(seed, weight):
    weight = np.array(weight)
    first = diffusion.split_columns(weight, np.random.default_rng(seed))
    assert first.dtype == bool
    assert first.sum() == len(weight) // 2
    # Of two neighbours in rank one goes to each half, so that they differ by no more than the heaviest gene.
    assert abs(weight[first].sum() - weight[~first].sum()) <= weight.max() * (1 + 1e-9)


def test_every_gene_comes_into_either_half():
    weight = np.random.default_rng(0).exponential(size=30)
    drawn = [diffusion.split_columns(weight, np.random.default_rng(seed)) for seed in range(200)]
    np.testing.assert_allclose(np.mean(drawn, axis=0), 0.5, atol=0.2)


@given(st.integers(0, 1000), st.integers(1, 40))
def test_a_rotation_is_orthogonal(seed, n):
    q = diffusion.rotation(n, np.random.default_rng(seed))
    np.testing.assert_allclose(q @ q.T, np.eye(n), atol=1e-5)


# ---------------------------------------------------------------------------------------------- distances of clusters


def test_distances_of_clusters_are_free_of_noise():
    """Two clusters of one cloud: their distance in noise alone is zero on average, and the naive one is not."""
    labels = np.repeat([0, 1], 25)
    honest, naive = np.empty((2, 300))
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(2, 50, 10))
        honest[seed] = signal.squared_distances([signal.sums(x, y, labels)])[0, 1]
        naive[seed] = signal.squared_distances([signal.sums(x, x, labels)])[0, 1]
    error = honest.std() / np.sqrt(300)
    assert abs(honest.mean()) < 4 * error
    assert (honest < 0).any()
    assert naive.mean() == pytest.approx(10 * 2 / 25, rel=0.1)  # features times the variances of two means
    assert naive.mean() > 20 * error


def test_distances_of_halves_of_poisson_counts_are_free_of_noise():
    labels, honest, naive = np.arange(60) % 2, [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        counts = sparse.csr_array(rng.poisson(2, size=(60, 15)).astype(np.float32))
        a, _, b, _ = diffusion.thin(counts, np.zeros(60), rng)
        a, b = a.toarray(), b.toarray()
        honest.append(signal.squared_distances([signal.sums(a, b, labels)])[0, 1])
        naive.append(signal.squared_distances([signal.sums(a + b, a + b, labels)])[0, 1])
    assert abs(np.mean(honest)) < 4 * np.std(honest) / np.sqrt(150)
    assert np.mean(naive) > 1


def test_true_distances_are_recovered():
    means = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.5]])
    labels = np.repeat([0, 1, 2], [10, 20, 40])
    found = []
    for seed in range(300):
        noise = np.random.default_rng(seed).normal(size=(2, 70, 3))
        views = signal.sums(*(means[labels] + noise), labels)
        found.append(signal.squared_distances([views]))
    wanted = ((means[:, None] - means[None]) ** 2).sum(2)
    error = np.std(found, axis=0) / np.sqrt(300)
    assert (np.abs(np.mean(found, axis=0) - wanted) <= 4 * error + 1e-9).all()


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 3))
def test_distances_are_those_of_means(seed, n_clusters, n_views):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(20) % n_clusters)
    slow, views = 0, []
    for _ in range(n_views):
        x, y = rng.normal(size=(2, 20, 4))
        views.append(signal.sums(x, y, labels))
        one, two = (np.stack([z[labels == k].mean(0) for k in range(n_clusters)]) for z in (x, y))
        slow = slow + np.einsum("ijk,ijk->ij", one[:, None] - one[None], two[:, None] - two[None]) / n_views
    np.testing.assert_allclose(signal.squared_distances(views), slow, atol=1e-5)


def test_half_of_the_cells_may_be_one_view_and_half_the_other():
    rng = np.random.default_rng(0)
    x, labels, of_x = rng.normal(size=(30, 4)), np.arange(30) % 3, rng.random(30) < 0.5
    found = signal.sums(x, x, labels, of_x=of_x, n_clusters=4)
    for k in range(4):
        np.testing.assert_allclose(found.x[k], x[(labels == k) & of_x].sum(0), atol=1e-5)
        np.testing.assert_allclose(found.y[k], x[(labels == k) & ~of_x].sum(0), atol=1e-5)
    assert found.n_x.sum() + found.n_y.sum() == 30
    assert not signal.squared_distances([found])[3].any()  # a cluster without cells differs from none


# ---------------------------------------------------------------------------------------------------- joins of clusters


def slow_joins(pairs, labels, total_signal, power):
    """The two that differ least, again and again, from the cells each time; clusters are sets of cells."""
    clusters = [set(np.flatnonzero(labels == k)) for k in range(labels.max() + 1)]
    path = []
    while len(clusters) > 1:
        best = None
        for one, two in itertools.combinations(range(len(clusters)), 2):
            a, b = sorted(clusters[one]), sorted(clusters[two])
            d = np.mean([(x[a].mean(0) - x[b].mean(0)) @ (y[a].mean(0) - y[b].mean(0)) for x, y in pairs])
            q = len(a) * len(b) / ((len(a) + len(b)) * len(labels))
            share = q**power * d / total_signal
            if best is None or share < best[0]:
                best = share, one, two
        share, one, two = best
        path.append((share, frozenset(clusters[one]), frozenset(clusters[two])))
        clusters[one] |= clusters.pop(two)
    return path


def cells_of(labels, k):
    return frozenset(np.flatnonzero(labels == k))


@given(st.integers(0, 1000), st.integers(1, 7), st.integers(1, 3), st.sampled_from([0.0, 0.5, 1.0]))
def test_joins_are_the_slow_search(seed, n_clusters, n_views, power):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.concatenate([np.arange(n_clusters), rng.integers(n_clusters, size=20)]))
    pairs = [tuple(rng.normal(size=(2, len(labels), 3))) for _ in range(n_views)]
    path = signal.joins([signal.sums(x, y, labels) for x, y in pairs], np.bincount(labels), 3.0, power=power)
    slow = slow_joins(pairs, labels, 3.0, power)
    assert len(path) == len(slow) == n_clusters - 1
    for step, (join, (share, one, two)) in enumerate(zip(path, slow, strict=True)):
        before = signal.after(labels, path[:step])
        assert before.max() + 1 == n_clusters - step
        assert {cells_of(before, join.i), cells_of(before, join.j)} == {one, two}
        assert join.share == pytest.approx(share, rel=1e-4, abs=1e-6)
        assert cells_of(signal.after(labels, path[: step + 1]), join.i) == one | two


@given(st.integers(0, 1000), st.integers(2, 25))
def test_joins_of_single_cells_without_noise_are_wards(seed, n):
    x = np.random.default_rng(seed).normal(size=(n, 3))
    path = signal.joins([signal.sums(x, x, np.arange(n))], np.ones(n), 1.0, power=1.0)
    ward = linkage(x, "ward")
    assume((np.diff(ward[:, 2]) > 1e-4).all())  # else the order hangs on the last digit
    clusters = [frozenset([i]) for i in range(n)]
    for step, join in enumerate(path):
        one, two = (clusters[int(k)] for k in ward[step, :2])
        before = signal.after(np.arange(n), path[:step])
        assert {cells_of(before, join.i), cells_of(before, join.j)} == {one, two}
        assert np.sqrt(2 * n * max(join.share, 0)) == pytest.approx(ward[step, 2], rel=1e-3, abs=1e-3)
        clusters.append(one | two)


def test_ward_costs_add_up_to_the_variance():
    x = np.random.default_rng(0).normal(size=(40, 3))
    path = signal.joins([signal.sums(x, x, np.arange(40))], np.ones(40), float(x.var(0).sum()), power=1.0)
    assert sum(join.share for join in path) == pytest.approx(1)


def test_joins_stop_before_the_first_that_costs_too_much():
    path = [signal.Join(0, 1, share) for share in (-0.1, 0.02, 0.2, 0.05, 0.4)]
    for min_signal, n in ((-1, 0), (0.0, 1), (0.02, 1), (0.03, 2), (0.2, 2), (0.3, 4), (1.0, 5)):
        assert signal.n_joins([join.share for join in path], min_signal) == n
    assert signal.n_joins([], 0.1) == 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_numbers_by_size_keep_the_partition(labels):
    labels = np.unique(labels, return_inverse=True)[1]
    found = signal.by_size(labels)
    assert len(set(zip(labels, found, strict=True))) == labels.max() + 1 == found.max() + 1
    assert (np.diff(np.bincount(found)) <= 0).all()


def test_the_nearest_mean():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(40, 3)), np.arange(40) % 4
    means = np.stack([x[labels == k].mean(0) for k in range(4)])
    wanted = ((x[:, None] - means[None]) ** 2).sum(2).argmin(1)
    np.testing.assert_array_equal(diffusion.nearest_mean(x, labels), wanted)


def test_no_cell_is_nearest_to_a_cluster_without_cells():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(40, 3)), np.array([0, 2]).repeat(20)
    assert set(diffusion.nearest_mean(x, labels)) == {0, 2}


# ---------------------------------------------------------------------------------------------------------- what is gained


@given(st.integers(0, 1000), st.integers(2, 25), st.integers(1, 6))
def test_the_held_out_loss_leaves_each_cell_out(seed, n, n_clusters):
    rng = np.random.default_rng(seed)
    y, labels = rng.normal(size=(n, 3)), rng.integers(n_clusters, size=n)
    slow = np.empty(n)
    for i in range(n):
        others = [j for j in range(n) if labels[j] == labels[i] and j != i]
        slow[i] = ((y[i] - (y[others].mean(0) if others else np.delete(y, i, axis=0).mean(0))) ** 2).sum()
    np.testing.assert_allclose(prediction.held_out_loss(y, labels), slow, rtol=1e-4)


def slow_gain(counts, labels, prior=10_000.0):
    """Log-likelihood ratio of each cell, gene by gene, by rates of the others in its cluster and by those of all others; none
    counts for more than the median cell."""
    depth = counts.sum(1, keepdims=True)
    counts = counts * np.minimum(np.median(depth) / np.maximum(depth, 1), 1)
    found = np.zeros(len(counts))
    for i, cell in enumerate(counts):
        overall = np.delete(counts, i, axis=0).sum(0) + 0.01
        overall = overall / overall.sum()
        others = [j for j in range(len(counts)) if labels[j] == labels[i] and j != i]
        seen = counts[others].sum(0) + prior * overall
        rate = seen / seen.sum()
        found[i] = sum(x * np.log(rate[g] / overall[g]) for g, x in enumerate(cell))
    return found


@given(st.integers(0, 1000), st.integers(2, 20), st.integers(1, 4), st.floats(0.05, 10))
def test_the_gain_is_the_likelihood_ratio_without_the_cell(seed, n, n_clusters, mean):
    rng = np.random.default_rng(seed)
    counts, labels = rng.poisson(mean, size=(n, 8)), rng.permutation(np.arange(n) % n_clusters)
    found = prediction.poisson_gain(sparse.csr_array(counts, dtype=np.float32), labels)
    np.testing.assert_allclose(found, slow_gain(counts.astype(float), labels), rtol=1e-4, atol=1e-4)


def test_clusters_by_depth_alone_gain_nothing():
    """Cells of one profile, some of them a hundred times as deep, and clusters that know how deep."""
    rng = np.random.default_rng(0)
    profile, depth = rng.dirichlet(np.ones(40)), np.repeat([20.0, 2000.0], 150)
    counts = sparse.csr_array(rng.poisson(depth[:, None] * profile), dtype=np.float32)
    gain = prediction.poisson_gain(counts, (depth > 100).astype(int))
    assert abs(gain.mean()) < gain.std() / np.sqrt(300)
    profiles = rng.dirichlet(np.ones(40), size=2)[np.arange(300) % 2]
    counts = sparse.csr_array(rng.poisson(depth[:, None] * profiles), dtype=np.float32)
    gain = prediction.poisson_gain(counts, np.arange(300) % 2)
    assert gain.mean() > 10 * gain.std() / np.sqrt(300)


def test_of_cells_that_differ_by_depth_only_the_gain_is_zero():
    counts = np.outer([1, 2, 5, 10, 20, 50], [4, 3, 2, 1, 8])
    gain = prediction.poisson_gain(sparse.csr_array(counts, dtype=np.float32), np.array([0, 0, 0, 1, 1, 1]))
    np.testing.assert_allclose(gain, 0, atol=0.02)


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        pytest.param([10, 7, 4, 1, 0.9, 0.8, 0.7, 0.6], 4, id="a bend"),
        pytest.param([10, 1, 0.9, 0.8, 0.7, 0.6], 2, id="an early bend"),
        pytest.param([10, 7, 4, 1, 0.9, 0.8, 5, 50], 4, id="it rises again"),
        pytest.param([10, 9, 8, 7, 6, 1], 1, id="no bend"),
        pytest.param([1, 2, 3, 4], 1, id="only worse"),
        pytest.param([2, 1, 3, 4], 2, id="two before the minimum"),
        pytest.param([3], 1, id="one"),
    ],
)
def test_the_knee_of_a_known_curve(loss, wanted):
    k = np.arange(1, len(loss) + 1)
    assert prediction.knee(k, np.array(loss, dtype=float)) == wanted
    shuffled = np.random.default_rng(0).permutation(len(loss))
    assert prediction.knee(k[shuffled], np.array(loss, dtype=float)[shuffled]) == wanted


@given(st.integers(0, 1000), st.floats(0.1, 100), st.floats(-50, 50))
def test_the_knee_depends_neither_on_scale_nor_on_shift(seed, scale, shift):
    loss = -np.cumsum(np.sort(np.random.default_rng(seed).random(12))[::-1])  # falls slower and slower
    assert prediction.knee(np.arange(1, 13), scale * loss + shift) == prediction.knee(np.arange(1, 13), loss)


@pytest.mark.parametrize("scale", [1.0, 3.25, 0.1])
@pytest.mark.parametrize("seed", range(5))
def test_a_loss_that_falls_faster_and_faster_has_no_knee(seed, scale):
    loss = 1 - scale * np.cumsum(np.sort(np.random.default_rng(seed).random(12)))
    assert prediction.knee(np.arange(1, 13), loss) == 1
