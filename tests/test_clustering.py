"""Clusters of a representation that is there already: against scikit-learn, scanpy and kmedoids, and for new cells."""

from __future__ import annotations

import warnings

import anndata as ad
import kmedoids
import numpy as np
import pytest
import scanpy as sc
import torch
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_rand_score, pairwise_distances
from sklearn.mixture import GaussianMixture

import scdeepclust as sdc
from scdeepclust import clustering, networks
from scdeepclust.clustering import algorithms

ALGORITHMS = ["kmeans", "gmm", "leiden", "agglomerative", "kmedoids", "hdbscan"]
NEED_NUMBER = ALGORITHMS[:-1]


@pytest.fixture(scope="module")
def blobs():
    """Three groups of 90, 60 and 40 cells in five dimensions, and who is in which."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [90, 60, 40])
    return (rng.normal(size=(190, 5)) + 6 * np.eye(5)[truth]).astype(np.float32), truth


@pytest.fixture
def scattered(blobs):
    """The same with 20 cells far from everything."""
    z, truth = blobs
    far = np.random.default_rng(1).uniform(-60, 60, size=(20, 5)).astype(np.float32)
    return np.concatenate([z, far]), np.concatenate([truth, np.full(20, -1)])


def cells(z, **obs):
    return ad.AnnData(obs=obs or None, obsm={"z": z}) if obs else ad.AnnData(obsm={"z": z})


def run(z, **arguments):
    return sdc.tl.deepclust(cells(z), "none", use_rep="z", copy=True, progress=False, **arguments)


def same_partition(a, b):
    return adjusted_rand_score(a, b) == 1


# ------------------------------------------------------------------------------------------------------ the libraries


def test_kmeans_is_scikit_learns(blobs):
    z, _ = blobs
    found = clustering.find(z, "kmeans", 4, n_init=5, random_state=1)
    expected = KMeans(4, n_init=5, random_state=1).fit(z)
    assert same_partition(found.labels, expected.labels_)
    np.testing.assert_allclose(found.means, expected.cluster_centers_)


def test_given_centres_are_where_kmeans_starts(blobs):
    z, _ = blobs
    start = z[[0, 1, 2, 3]]
    expected = KMeans(4, init=start, n_init=1).fit(z)
    found = clustering.find(z, "kmeans", 4, start=start, random_state=1)
    np.testing.assert_allclose(found.means, expected.cluster_centers_, rtol=1e-5)


def test_the_mixture_fits_at_least_as_well_as_scikit_learns(blobs):
    z, _ = blobs
    found = clustering.find(z, "gmm", 3, random_state=0)
    ours = GaussianMixture(3)
    ours.means_, ours.precisions_cholesky_, ours.weights_ = found.means, found.precisions_cholesky, found.weights
    theirs = GaussianMixture(3, reg_covar=1e-3 * z.var(0).mean(), n_init=5, random_state=0).fit(z)
    assert ours.score(z) > theirs.score(z) - 0.01
    assert same_partition(found.labels, ours.predict(z))


def test_the_mixture_finds_clusters_of_unequal_width():
    """Each component starts with the covariance of its own cluster."""
    rng = np.random.default_rng(0)
    truth, width = np.repeat(np.arange(8), 200), 10 ** rng.uniform(-0.7, 0.5, 8)
    z = (4 * rng.normal(size=(8, 5)))[truth] + width[truth, None] * rng.normal(size=(1600, 5))
    found = clustering.find(z, "gmm", 8, random_state=0)
    assert adjusted_rand_score(truth, found.labels) > 0.95


def test_kmedoids_is_fasterpam(blobs):
    z, _ = blobs
    found = clustering.find(z, "kmedoids", 3, random_state=2)
    distances = pairwise_distances(z)
    expected = kmedoids.fasterpam(distances, 3, random_state=2)
    assert same_partition(found.labels, expected.labels)
    medoids = [int(np.flatnonzero((z == m).all(1))[0]) for m in found.means]  # they are cells
    assert distances[:, medoids].min(1).sum() == pytest.approx(expected.loss, rel=1e-5)


def test_agglomeration_is_wards(blobs):
    z, _ = blobs
    expected = AgglomerativeClustering(5, linkage="ward").fit_predict(z)
    assert same_partition(clustering.find(z, "agglomerative", 5).labels, expected)


def test_hdbscan_is_scikit_learns_noise_included(scattered):
    z, _ = scattered
    found = clustering.find(z, "hdbscan", None, min_cluster_size=15)
    expected = HDBSCAN(min_cluster_size=15, copy=True).fit_predict(z)
    np.testing.assert_array_equal(found.labels, expected)
    assert (expected == -1).any()


def test_leiden_at_a_resolution_is_scanpys(blobs):
    z, _ = blobs
    bare = ad.AnnData(obsm={"z": z})
    sc.pp.neighbors(bare, n_neighbors=15, use_rep="z", transformer="sklearn", random_state=0)
    sc.tl.leiden(bare, resolution=0.7, random_state=0, flavor="igraph", n_iterations=2, directed=False)
    found = clustering.find(z, "leiden", None, resolution=0.7, n_neighbors=15)
    assert same_partition(found.labels, bare.obs["leiden"])


@pytest.mark.parametrize("n_clusters", [2, 3, 4, 7, 12])
def test_leiden_gives_as_many_clusters_as_asked(n_clusters):
    z = np.random.default_rng(0).normal(size=(250, 6)).astype(np.float32)  # no structure, where it is hardest
    labels = clustering.find(z, "leiden", n_clusters).labels
    assert sorted(set(labels)) == list(range(n_clusters))


def test_more_communities_than_leiden_finds_are_kmeans_with_a_warning(monkeypatch, blobs):
    z, _ = blobs
    monkeypatch.setattr(algorithms, "RESOLUTIONS", (0.02, 0.05))
    with pytest.warns(UserWarning, match=r"Leiden finds no more than \d+ communities.*k-means"):
        assert len(np.unique(clustering.find(z, "leiden", 9).labels)) == 9


@pytest.mark.parametrize("n_clusters", [1, 2, 4])
def test_joining_is_wards_rule(n_clusters):
    """Step by step the pair whose union adds least to the sum of squares within clusters."""
    rng = np.random.default_rng(3)
    z, labels = rng.normal(size=(60, 3)), np.arange(60) % 6

    def within(these):
        return sum(((z[these == k] - z[these == k].mean(0)) ** 2).sum() for k in np.unique(these))

    expected = labels.copy()
    while len(np.unique(expected)) > n_clusters:
        names = np.unique(expected)
        unions = [np.where(expected == b, a, expected) for i, a in enumerate(names) for b in names[i + 1 :]]
        expected = min(unions, key=within)
    found = clustering.joined(z, labels, n_clusters)
    assert same_partition(found, expected)
    assert sorted(set(found)) == list(range(n_clusters))


def test_a_singular_mixture_leaves_kmeans_with_a_warning(monkeypatch, blobs):
    def singular(*_):
        msg = "ill-defined empirical covariance"
        raise ValueError(msg)

    monkeypatch.setattr(GaussianMixture, "fit_predict", singular)
    with pytest.warns(UserWarning, match="singular.*k-means"):
        found = clustering.find(blobs[0], "gmm", 3)
    assert same_partition(found.labels, blobs[1])
    assert found.precisions_cholesky is None


@pytest.mark.parametrize("kind", ["agglomerative", "kmedoids", "hdbscan"])
def test_of_many_cells_a_sample_is_clustered(monkeypatch, blobs, kind):
    monkeypatch.setattr(algorithms, "MOST_OF_ALL_PAIRS", 100)
    found = clustering.find(blobs[0], kind, 3)
    assert len(found.cells) == len(found.labels) == 100
    assert same_partition(found.labels, blobs[1][found.cells])


# ------------------------------------------------------------------------------------------------ the network's head


def test_memberships_of_a_mixture_are_its_posterior(blobs):
    z, _ = blobs
    mixture = GaussianMixture(3, random_state=0).fit(z)
    head = networks.Head(5)
    head.set_components(mixture.means_, mixture.precisions_cholesky_, mixture.weights_)
    np.testing.assert_allclose(head(torch.from_numpy(z)).exp(), mixture.predict_proba(z), atol=1e-5)


def test_centres_take_the_nearest_cells(blobs):
    z, _ = blobs
    centres = z[[0, 100, 180]]
    head = networks.Head(5)
    head.set_components(centres, 0.7)
    nearest = pairwise_distances(z, centres).argmin(1)
    np.testing.assert_array_equal(head(torch.from_numpy(z)).argmax(1), nearest)


def test_reference_cells_keep_their_labels_and_new_ones_follow_their_neighbours():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 2)).astype(np.float32)
    labels = rng.integers(4, size=200)  # not what neighbours would say
    head = networks.Head(2)
    head.set_reference(z, labels, seed=0)
    log_q = head(torch.from_numpy(z))
    np.testing.assert_array_equal(log_q.argmax(1), labels)
    np.testing.assert_allclose(log_q.exp().sum(1), 1, atol=1e-5)
    clear = (z[:, 0] > 0).astype(int)
    head.set_reference(z, clear, seed=0)
    new = torch.tensor([[1.0, 0.3], [-1.0, 0.3]])
    assert head(new).argmax(1).tolist() == [1, 0]
    assert head(new).exp().max(1).values.min() > 0.99


def test_noise_is_the_last_column():
    z = np.arange(10, dtype=np.float32)[:, None]
    head = networks.Head(1)
    head.set_reference(z, np.array([0, 0, 0, 0, 0, -1, -1, 1, 1, 1]), seed=0)
    assert head(torch.from_numpy(z)).argmax(1).tolist() == [0] * 5 + [2, 2] + [1] * 3
    assert int(head.n_noise) == 1


def test_equal_cells_do_no_harm():
    head = networks.Head(3)
    head.set_reference(np.zeros((20, 3), dtype=np.float32), np.arange(20) % 2, seed=0)
    assert torch.isfinite(head(torch.randn(5, 3))).all()


def test_of_many_cells_those_of_a_rare_cluster_vote_too(monkeypatch):
    monkeypatch.setattr("scdeepclust.networks.head.MOST_REFERENCES", 200)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [5000, 4970, 30])
    z = (rng.normal(size=(10_000, 2)) + 20 * labels[:, None]).astype(np.float32)
    head = networks.Head(2)
    head.set_reference(z, labels, seed=0)
    assert len(head.reference) == 200
    np.testing.assert_array_equal(head(torch.from_numpy(z)).argmax(1), labels)


def test_a_single_cell_votes_alone():
    head = networks.Head(2)
    head.set_reference(np.ones((1, 2), dtype=np.float32), np.array([0]), seed=0)
    assert head(torch.zeros(3, 2)).exp().tolist() == [[1.0]] * 3


def test_a_head_takes_the_size_of_what_is_loaded(blobs):
    z, truth = blobs
    for fill in (lambda h: h.set_components(z[:4], 1.0), lambda h: h.set_reference(z, truth, seed=0)):
        one, other = networks.Head(5), networks.Head(5)
        fill(one)
        other.load_state_dict(one.state_dict())
        torch.testing.assert_close(other(torch.from_numpy(z)), one(torch.from_numpy(z)))


# ------------------------------------------------------------------------------------------------ of a representation


@pytest.mark.parametrize("cluster", ALGORITHMS)
def test_every_algorithm_finds_clear_groups_and_labels_new_cells(blobs, cluster, tmp_path):
    z, truth = blobs
    order = np.random.default_rng(0).permutation(len(z))
    known, new = order[:140], order[140:]
    number = {"n_clusters": 3} if cluster in NEED_NUMBER else {"min_cluster_size": 20}
    model = sdc.Model(cells(z[known]), "none", use_rep="z", cluster=cluster, **number)
    model.train(progress=False)
    assert adjusted_rand_score(truth[known], model.predict()) > 0.95
    model.save(tmp_path / "model")
    labels = sdc.Model.load(tmp_path / "model").predict(cells(z[new]))
    assert adjusted_rand_score(truth[new], labels) > 0.9
    # the names are the same for old and new cells
    names = [np.unique(model.predict()[truth[known] == k], return_counts=True) for k in range(3)]
    for k, (found, count) in enumerate(names):
        assert (labels[truth[new] == k] == found[count.argmax()]).mean() > 0.9


@pytest.mark.parametrize("cluster", NEED_NUMBER)
def test_the_number_is_chosen_where_none_is_given(types, cluster):
    found = sdc.tl.deepclust(types, "none", cluster=cluster, copy=True, progress=False)
    chosen = found.uns["deepclust"]["n_clusters"]
    assert chosen["chosen_by"] == "signal share"
    assert adjusted_rand_score(types.obs["cell_type"], found.obs["deepclust"]) > 0.9


def test_noise_cells_are_named_and_counted(scattered, tmp_path):
    z, truth = scattered
    found = run(z, cluster="hdbscan", min_cluster_size=20)
    labels, record = found.obs["deepclust"], found.uns["deepclust"]
    assert labels.cat.categories.to_list() == ["0", "1", "2", "noise"]
    assert (labels[truth == -1] == "noise").all()
    assert record["sizes"]["noise"] == (labels == "noise").sum()
    assert record["n_clusters"]["n_clusters"] == 3
    assert record["n_clusters"]["chosen_by"] == "HDBSCAN, clusters of at least 20 of the cells that it sees"
    assert list(found.obsm["deepclust_proba"].columns) == ["0", "1", "2", "noise"]
    np.testing.assert_allclose(found.obsm["deepclust_proba"].sum(axis=1), 1, atol=1e-5)
    found.write_h5ad(tmp_path / "a.h5ad")


def test_nothing_but_noise_is_said_so():
    z = np.random.default_rng(0).uniform(-1, 1, size=(60, 8)).astype(np.float32)
    found = run(z, cluster="hdbscan", min_cluster_size=50)
    assert set(found.obs["deepclust"]) == {"noise"}
    assert found.uns["deepclust"]["sizes"] == {"noise": 60}
    assert found.uns["deepclust"]["n_clusters"]["n_clusters"] == 0


def test_resolution_decides_the_number(blobs):
    low, high = (run(blobs[0], cluster="leiden", resolution=r) for r in (0.1, 3.0))
    assert low.uns["deepclust"]["n_clusters"]["chosen_by"] == "Leiden at resolution 0.1"
    assert low.obs["deepclust"].nunique() < high.obs["deepclust"].nunique()


@pytest.mark.parametrize("cluster", NEED_NUMBER)
def test_fewer_different_cells_than_clusters_give_labels(cluster):
    z = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn mentions equal points
        found = run(z, cluster=cluster, n_clusters=5)
    assert found.obs["deepclust"].notna().all()
    assert np.isfinite(found.obsm["deepclust_proba"]).all(axis=None)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"cluster": "kmeans", "resolution": 1.0}, "resolution=1.0 is of cluster='leiden'"),
        ({"cluster": "leiden", "resolution": 1.0, "n_clusters": 3}, "n_clusters=3 and resolution both decide"),
        ({"cluster": "hdbscan", "n_clusters": 3}, "n_clusters=3 and cluster='hdbscan' both decide"),
        ({"cluster": "dbscan"}, "cluster='dbscan' must be one of"),
        ({"cluster": "leiden", "resolution": 0.0}, "resolution=0.0 must be a number above 0"),
        ({"cluster": "hdbscan", "min_cluster_size": 1}, "min_cluster_size=1 must be an integer at least 2"),
        ({"cluster": "kmeans", "n_clusters": 500}, "n_clusters=500 is more than the 190 cells"),
    ],
)
def test_conflicting_arguments_are_refused(blobs, arguments, match, same):
    adata = cells(blobs[0])
    before = adata.copy()
    with pytest.raises(ValueError, match=match):
        sdc.tl.deepclust(adata, "none", use_rep="z", progress=False, **arguments)
    same(adata, before)


def test_contrasted_clusters_need_a_number_before_training(blobs, same):
    adata = cells(blobs[0])
    before = adata.copy()
    options = {"cluster": "hdbscan", "cluster_weight": 0.1}
    with pytest.raises(ValueError, match=r"cluster_weight=0\.1 contrasts clusters while training"):
        sdc.tl.deepclust(adata, "contrastive", use_rep="z", progress=False, **options)
    same(adata, before)
