"""Graphs of nearest neighbours and averages over them."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from .search import neighbors

CHUNK = 4096  # cells whose neighbours' features are held at once


def connectivities(x: np.ndarray, n_neighbors: int, *, random_state: int = 0) -> sparse.csr_array:
    r"""Weights of the nearest-neighbour graph as UMAP and scanpy have them, cells x cells, symmetric.

    A neighbour at distance d weighs :math:`\exp(-\max(d - \rho_i, 0) / \sigma_i)`, :math:`\rho_i` being the distance of the
    nearest that is no duplicate, and :math:`\sigma_i` such that a cell's weights add up to the binary logarithm of
    `n_neighbors`; the two directions are joined by :math:`a + b - ab` (McInnes, Healy, Melville, arXiv 1802.03426). As
    scanpy's (tested), without umap-learn having to be compiled in every new process.

    Parameters
    ----------
    x
        Cells x features.
    n_neighbors
        Neighbours of a cell, itself counted, as scanpy does.
    random_state
        Seed of the approximate search.
    """
    return umap_weights(*neighbors(x, n_others(n_neighbors, len(x)), random_state=random_state))


def n_others(n_neighbors: int, n_obs: int) -> int:
    """Neighbours of a cell besides itself, of so many with itself; at least one."""
    return max(2, min(n_neighbors, n_obs - 1)) - 1


def umap_weights(indices: np.ndarray, distances: np.ndarray) -> sparse.csr_array:
    """The same of neighbours that are known, the cell itself left out: indices and distances, cells x neighbours."""
    n, k = len(indices), indices.shape[1] + 1
    distances = distances.astype(np.float64)
    nearest = np.where(distances > 0, distances, np.inf).min(1)
    beyond = np.maximum(distances - np.where(np.isfinite(nearest), nearest, 0)[:, None], 0)
    low, high, sigma = np.zeros(n), np.full(n, np.inf), np.ones(n)
    for _ in range(64):
        more = np.exp(-beyond / sigma[:, None]).sum(1) - np.log2(k)
        found = np.abs(more) < 1e-5
        if found.all():
            break
        high, low = np.where(more > 0, sigma, high), np.where(more > 0, low, sigma)
        sigma = np.where(found, sigma, np.where(np.isfinite(high), (low + high) / 2, 2 * sigma))
    # Equal cells would have a width of zero; the mean counts the cell itself, at distance zero.
    typical = np.where(np.isfinite(nearest), distances.sum(1) / k, distances.sum() / (k * n))
    sigma = np.maximum(sigma, 1e-3 * typical)
    weights = np.exp(-beyond / np.maximum(sigma, 1e-300)[:, None])
    rows = np.repeat(np.arange(n, dtype=np.int32), k - 1)
    directed = sparse.csr_array((weights.ravel(), (rows, indices.ravel())), shape=(n, n))
    both = directed + directed.T - directed * directed.T
    both.eliminate_zeros()
    return both.astype(np.float32)


def average(x: np.ndarray, *, n_neighbors: int = 10, n_steps: int = 1, random_state: int = 0) -> np.ndarray:
    """Replace each cell by the mean of its neighbours, `n_steps` times on the same graph.

    One step of diffusion with a row-stochastic kernel of equal weights and a zero diagonal: what a cell's neighbours
    share is kept, what is its own noise is not. One step before a centroid method helps; graph methods already smooth.

    Parameters
    ----------
    x
        Cells x features.
    n_neighbors
        Neighbours averaged over.
    n_steps
        Number of steps.
    random_state
        Seed of the approximate search.
    """
    if not n_steps:
        return x
    indices, _ = neighbors(x, n_neighbors, random_state=random_state)
    return average_over(x, indices, n_steps)


def average_over(x: np.ndarray, indices: np.ndarray, n_steps: int) -> np.ndarray:
    """The same over neighbours that are known."""
    for _ in range(n_steps):
        x = np.concatenate([x[some].mean(1) for some in np.array_split(indices, -(-len(x) // CHUNK))])
    return x
