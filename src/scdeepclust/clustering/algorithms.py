"""Find clusters among embedded cells by one of the usual algorithms, each from a library that is kept."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..diffusion import communities_of, connectivities
from ..diffusion.partition import MOST_CELLS
from ..diffusion.signal import after, joins, sums

# K-medoids holds all distances at once; agglomeration and density, too, take too long for more cells than these.
MOST_OF_ALL_PAIRS = 10_000
RESOLUTIONS = (0.02, 20.0)
MOST_HALVINGS = 14


@dataclass(frozen=True)
class Found:
    """Clusters of cells, and, where the algorithm has one, the rule that gives more cells theirs.

    Parameters
    ----------
    labels
        Cluster of each cell from 0; -1 for cells that belong to none.
    cells
        Which cells these are: all, or a sample of many.
    means
        Centre of each cluster, clusters x features, where cells belong to the nearest or most probable one.
    precisions_cholesky
        Of each Gaussian component, clusters x features x features, as scikit-learn has them.
    weights
        Of each component.
    """

    labels: np.ndarray
    cells: np.ndarray
    means: np.ndarray | None = None
    precisions_cholesky: np.ndarray | None = None
    weights: np.ndarray | None = None


def find(
    z: np.ndarray,
    kind: str,
    n_clusters: int | None,
    *,
    start: np.ndarray | None = None,
    resolution: float | None = None,
    min_cluster_size: int = 10,
    n_neighbors: int = 15,
    n_init: int = 10,
    random_state: int = 0,
) -> Found:
    """Cluster embedded cells.

    Parameters
    ----------
    z
        Embedding, cells x latent.
    kind
        `"kmeans"`, `"gmm"` (full covariances), `"kmedoids"` (FasterPAM), `"agglomerative"` (Ward), `"hdbscan"` or
        `"leiden"`. K-medoids, agglomeration and HDBSCAN see at most 10,000 cells, drawn at random, k-means and the mixture
        20,000.
    n_clusters
        How many. Leiden is run at the resolution that gives as many, the surplus joined by Ward's rule. HDBSCAN finds
        its own number.
    start
        Centres from which k-means and the Gaussian mixture start, instead of `n_init` random starts.
    resolution
        Of Leiden, where `n_clusters` is None.
    min_cluster_size
        Of HDBSCAN, in cells that it sees.
    n_neighbors
        Of the graph of Leiden.
    n_init
        Starts of k-means; the best is taken.
    random_state
        Seed.
    """
    z = np.ascontiguousarray(z, dtype=np.float32)
    everyone = np.arange(len(z))
    if kind in {"kmeans", "gmm"}:
        # Starts matter more than cells.
        some = _sample(everyone, MOST_CELLS, random_state)
        found = _kmeans(z[some], n_clusters, start, n_init, random_state)
        if kind == "gmm":
            return _gmm(z[some], some, found, random_state)
        return Found(found.labels_.astype(np.int64), some, found.cluster_centers_)
    if kind == "leiden":
        labels = _leiden(z, n_clusters, resolution, n_neighbors, random_state)
        return Found(labels, everyone)
    some = _sample(everyone, MOST_OF_ALL_PAIRS, random_state)
    if kind == "kmedoids":
        import kmedoids
        from sklearn.metrics import pairwise_distances

        fitted = kmedoids.fasterpam(pairwise_distances(z[some]), n_clusters, random_state=random_state)
        return Found(fitted.labels.astype(np.int64), some, z[some][fitted.medoids.astype(np.int64)])
    if kind == "agglomerative":
        from sklearn.cluster import AgglomerativeClustering

        return Found(AgglomerativeClustering(n_clusters).fit_predict(z[some]).astype(np.int64), some)
    from sklearn.cluster import HDBSCAN

    labels = HDBSCAN(min_cluster_size=min(min_cluster_size, len(some)), copy=True).fit_predict(z[some])
    return Found(labels.astype(np.int64), some)


def _sample(cells: np.ndarray, most: int, seed: int) -> np.ndarray:
    if len(cells) <= most:
        return cells
    return np.sort(np.random.default_rng(seed).choice(cells, most, replace=False))


def _kmeans(z: np.ndarray, n_clusters: int | None, start: np.ndarray | None, n_init: int, seed: int) -> Any:
    from sklearn.cluster import KMeans

    if start is None:
        return KMeans(n_clusters, n_init=n_init, random_state=seed).fit(z)
    return KMeans(len(start), init=start, n_init=1, random_state=seed).fit(z)


def _gmm(z: np.ndarray, cells: np.ndarray, start: Any, seed: int) -> Found:
    """A Gaussian mixture from the clusters of k-means; where a component collapses, k-means' clusters stay."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    n_clusters, smallest = len(start.cluster_centers_), 1e-3 * float(z.var(0).mean()) + 1e-6
    # Left to itself, scikit-learn takes covariances from a k-means of its own, whose clusters have another order.
    mixture = GaussianMixture(
        n_clusters,
        means_init=start.cluster_centers_,
        weights_init=np.bincount(start.labels_, minlength=n_clusters) / len(z),
        precisions_init=np.linalg.inv(
            _covariances(z - start.cluster_centers_[start.labels_], start.labels_, n_clusters, smallest)
        ),
        reg_covar=smallest,
        max_iter=200,
        random_state=seed,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            labels = mixture.fit_predict(z)
    except ValueError as error:
        msg = f"The Gaussian mixture is singular ({error}); the clusters of k-means, where it started, are kept."
        warnings.warn(msg, UserWarning, stacklevel=2)
        return Found(start.labels_.astype(np.int64), cells, start.cluster_centers_)
    return Found(labels.astype(np.int64), cells, mixture.means_, mixture.precisions_cholesky_, mixture.weights_)


def _covariances(apart: np.ndarray, labels: np.ndarray, n_clusters: int, smallest: float) -> np.ndarray:
    """Covariance of each cluster, of cells less their centres; that within all of them where it has too few cells for its own."""
    n_features = apart.shape[1]
    parts = [apart[labels == k] for k in range(n_clusters)]
    parts = [part if len(part) > n_features else apart for part in parts]
    return np.stack([part.T @ part / len(part) for part in parts], dtype=np.float64) + smallest * np.eye(n_features)


def _leiden(z: np.ndarray, n_clusters: int | None, resolution: float | None, n_neighbors: int, seed: int) -> np.ndarray:
    """Communities at a resolution, or at the lowest one found that gives enough of them, the surplus joined."""
    graph = connectivities(z, n_neighbors, random_state=seed)

    def at(value: float) -> np.ndarray:
        return communities_of(graph, value, random_state=seed)

    if n_clusters is None:
        return at(1.0 if resolution is None else resolution)
    low, high = np.log(RESOLUTIONS)
    best = None
    for _ in range(MOST_HALVINGS):
        labels = at(float(np.exp((low + high) / 2)))
        n = labels.max() + 1
        if n >= n_clusters and (best is None or n <= best.max() + 1):
            best = labels
        if n == n_clusters:
            break
        low, high = (low, (low + high) / 2) if n > n_clusters else ((low + high) / 2, high)
    if best is None:
        from sklearn.cluster import KMeans

        msg = (
            f"Leiden finds no more than {n} communities, even at resolution {RESOLUTIONS[1]:g}; the {n_clusters} clusters are "
            "those of k-means. Ask for fewer."
        )
        warnings.warn(msg, UserWarning, stacklevel=2)
        return KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(z).astype(np.int64)
    return joined(z, best, n_clusters)


def joined(z: np.ndarray, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    """Clusters joined by Ward's rule until `n_clusters` are left.

    Parameters
    ----------
    z
        Embedding, cells x latent.
    labels
        Cluster of each cell, all numbers from 0 to the largest in use.
    n_clusters
        How many; no more than there are.
    """
    centred = z - z.mean(0)
    path = joins([sums(centred, centred, labels)], np.bincount(labels), 1.0, power=1.0)
    return after(labels, path[: labels.max() + 1 - n_clusters])
