"""Clusters of embedded cells, from which centres start."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from .centres import means, nearest_to
from .graph import average
from .kmeans import fewer_allowed
from .tensors import connectivities_of

MOST_CELLS = 20_000  # from which clusters start: starts matter more than cells
FEWEST_EACH = 10  # cells for each cluster, to choose among starts
MOST_TURNS, ENOUGH = 50, 1e-4  # of partitions that take turns, until a turn gains less than this share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy import sparse


def starting_centres(
    z: np.ndarray,
    n_clusters: int,
    *,
    smooth: np.ndarray | None,
    n_neighbors: int,
    n_diffusion: int,
    n_init: int,
    random_state: int,
    n_choosing: int | None = None,
) -> np.ndarray:
    """Cluster centres of embedded cells: by k-means with many starts.

    Parameters
    ----------
    z
        Embedding, cells x latent.
    n_clusters
        Number of clusters.
    smooth
        Denoised features in which k-means works, cells x features. None averages the embedding over neighbours.
    n_neighbors, n_diffusion
        Neighbours and steps of that average.
    n_init
        Starts of k-means.
    random_state
        Seed.
    n_choosing
        So many cells choose among the starts, unless that is fewer than ten for each cluster; None for all.

    Returns
    -------
    Mean embedding of each cluster, clusters x latent.
    """
    from sklearn.cluster import KMeans

    if smooth is None:
        smooth = average(z, n_neighbors=n_neighbors, n_steps=n_diffusion, random_state=random_state)
    few = smooth
    if n_choosing is not None and FEWEST_EACH * n_clusters <= n_choosing < len(z):
        few = smooth[np.random.default_rng(random_state).choice(len(z), n_choosing, replace=False)]
    kmeans = KMeans(n_clusters, n_init=n_init, random_state=random_state).fit(few)
    if few is not smooth:
        kmeans = KMeans(n_clusters, init=kmeans.cluster_centers_, n_init=1).fit(smooth)
    return means(z, kmeans.labels_)


def additive(
    x: np.ndarray,
    n_clusters: int,
    n_partitions: int,
    *,
    first: np.ndarray | None = None,
    independence: float = 0.0,
    n_init: int = 30,
    random_state: int = 0,
) -> list[np.ndarray]:
    """Several partitions of the same cells, each cell explained by the sum of its clusters' means.

    K-means with one partition is the case of one. With more, each in turn is fitted to what the others leave, from several
    starts in which features have random weights; the one that leaves least is taken. Where two independent
    annotations add up, they are what leaves least, while k-means cuts across both.

    Parameters
    ----------
    x
        Cells x features.
    n_clusters
        Of each partition.
    n_partitions
        How many.
    first
        Labels of the first partition where it is known, and stays; -1 for none.
    independence
        Weight, in the choice among starts, of the mutual information (nats, mean over pairs) of partitions, beside the
        squared error, mean over cells and features.
    n_init
        Starts.
    random_state
        Seed.

    Returns
    -------
    Labels of each partition.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import mutual_info_score

    x = x - x.mean(0)
    rng = np.random.default_rng(random_state)
    fixed = [] if first is None else [first]
    best, least = [], np.inf
    for _ in range(n_init):
        parts, left = [], x
        for a in range(n_partitions):
            if a < len(fixed):
                centres = means(left, fixed[a])
            else:
                weight = rng.exponential(size=x.shape[1]) if n_partitions > 1 else 1.0
                kmeans = KMeans(n_clusters, n_init=1, random_state=int(rng.integers(2**31)))
                with fewer_allowed():
                    labels = kmeans.fit_predict(left * weight)
                centres = means(left, labels)
            parts.append(centres[nearest_to(left, centres)])
            left = left - parts[-1]
        loss = np.inf
        for _ in range(MOST_TURNS if n_partitions > len(fixed) else 0):
            for a in range(len(fixed), n_partitions):
                left = left + parts[a]
                centres = np.unique(parts[a], axis=0)
                centres = means(left, nearest_to(left, centres))
                parts[a] = centres[nearest_to(left, centres)]
                left = left - parts[a]
            before, loss = loss, float((left**2).mean())
            if loss > before * (1 - ENOUGH):
                break
        labels = [np.unique(part, axis=0, return_inverse=True)[1].ravel() for part in parts]
        shared = [mutual_info_score(*pair) for pair in combinations(labels, 2)] if independence else [0.0]
        loss += independence * float(np.mean(shared or [0.0]))
        if loss < least or not best:
            best, least = labels, loss
    return [*fixed, *best[len(fixed) :]]


def communities(
    z: np.ndarray,
    *,
    n_neighbors: int = 15,
    resolution: float = 1.0,
    random_state: int = 0,
    device: torch.device | None = None,
) -> np.ndarray:
    """Leiden communities of the nearest-neighbour graph (Traag 2019, doi 10.1038/s41598-019-41695-z)."""
    return communities_at(z, [resolution], n_neighbors=n_neighbors, random_state=random_state, device=device)[0]


def communities_at(
    z: np.ndarray,
    resolutions: Sequence[float],
    *,
    n_neighbors: int = 15,
    random_state: int = 0,
    device: torch.device | None = None,
) -> list[np.ndarray]:
    """Leiden communities at several resolutions of one graph, whose neighbours a device finds."""
    if not len(resolutions):
        return []
    x = torch.as_tensor(z, dtype=torch.float32, device=device)
    graph = connectivities_of(x, n_neighbors, random_state=random_state)
    return [communities_of(graph, resolution, random_state=random_state) for resolution in resolutions]


def communities_of(graph: sparse.csr_array, resolution: float, *, random_state: int = 0) -> np.ndarray:
    """Leiden communities of a graph, cells x cells."""
    import scanpy as sc
    from anndata import AnnData

    bare = AnnData(obs=pd.DataFrame(index=pd.RangeIndex(graph.shape[0]).astype(str)))
    sc.tl.leiden(
        bare,
        resolution=resolution,
        random_state=random_state,
        adjacency=graph,
        flavor="igraph",
        n_iterations=2,
        directed=False,
    )
    return bare.obs["leiden"].cat.codes.to_numpy(dtype=np.int64)
