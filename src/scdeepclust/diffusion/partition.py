"""Clusters of embedded cells, from which centres start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .graph import EXACT_BELOW, average, into_scanpy

if TYPE_CHECKING:
    from collections.abc import Sequence


def centers(
    z: np.ndarray,
    n_clusters: int,
    *,
    smooth: np.ndarray | None,
    n_neighbors: int,
    n_diffusion: int,
    n_init: int,
    random_state: int,
) -> np.ndarray:
    """Cluster centres of embedded cells: by k-means with many starts.

    Of more than 20,000 cells a random 20,000 serve: starts matter more than cells.

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

    Returns
    -------
    Mean embedding of each cluster, clusters x latent.
    """
    if len(z) > EXACT_BELOW:
        some = np.random.default_rng(random_state).choice(len(z), EXACT_BELOW - 1, replace=False)
        z, smooth = z[some], None if smooth is None else smooth[some]
    from sklearn.cluster import KMeans

    if smooth is None:
        smooth = average(z, n_neighbors=n_neighbors, n_steps=n_diffusion)
    return means(z, KMeans(n_clusters, n_init=n_init, random_state=random_state).fit_predict(smooth))


def means(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of each cluster, clusters x features; labels below zero are none."""
    return np.stack([z[labels == k].mean(0) for k in np.unique(labels[labels >= 0])]).astype(np.float32)


def communities(z: np.ndarray, *, n_neighbors: int = 15, resolution: float = 1.0, random_state: int = 0) -> np.ndarray:
    """Leiden communities of the nearest-neighbour graph (Traag 2019, doi 10.1038/s41598-019-41695-z)."""
    return communities_at(z, [resolution], n_neighbors=n_neighbors, random_state=random_state)[0]


def communities_at(
    z: np.ndarray, resolutions: Sequence[float], *, n_neighbors: int = 15, random_state: int = 0
) -> list[np.ndarray]:
    """Leiden communities at several resolutions of one graph."""
    import scanpy as sc
    from anndata import AnnData

    bare = AnnData(obs=pd.DataFrame(index=pd.RangeIndex(len(z)).astype(str)), obsm={"z": np.ascontiguousarray(z)})
    into_scanpy(bare, n_neighbors, use_rep="z", random_state=random_state)
    found = []
    for resolution in resolutions:
        sc.tl.leiden(
            bare, resolution=resolution, random_state=random_state, flavor="igraph", n_iterations=2, directed=False
        )
        found.append(bare.obs["leiden"].cat.codes.to_numpy(dtype=np.int64))
    return found
