"""Nearest neighbours and averages over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

EXACT_UP_TO = 20_000  # cells; above, an approximate search with recall of 0.99 is several times faster

CHUNK = 4096  # cells whose neighbours' features are held at once


def neighbors(
    x: np.ndarray, n_neighbors: int, *, rows: np.ndarray | None = None, random_state: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours of each cell, itself left out.

    Parameters
    ----------
    x
        Cells x features.
    n_neighbors
        How many; at most the number of other cells.
    rows
        Cells whose neighbours are wanted; None for all. Of some of the cells the search is always exact.
    random_state
        Seed of the approximate search, which serves more than 20,000 cells.

    Returns
    -------
    Indices and Euclidean distances, each cells x `n_neighbors`, nearest first.
    """
    x = np.ascontiguousarray(x, dtype=np.float32)
    k = min(n_neighbors, len(x) - 1) + 1
    if rows is not None or len(x) <= EXACT_UP_TO:
        from sklearn.neighbors import NearestNeighbors

        found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x)
        distances, indices = found.kneighbors(x if rows is None else x[rows])
    else:
        from pynndescent import NNDescent

        indices, distances = NNDescent(x, n_neighbors=k, random_state=random_state).neighbor_graph
    # A cell is not always its own first neighbour: duplicates may come before it, or an approximate search miss it.
    itself = np.arange(len(x)) if rows is None else rows
    self_last = np.argsort(indices == itself[:, None], axis=1, kind="stable")[:, : k - 1]
    return np.take_along_axis(indices, self_last, 1), np.take_along_axis(distances, self_last, 1)


def into_scanpy(
    adata: AnnData, n_neighbors: int, *, use_rep: str, random_state: int, key_added: str | None = None
) -> None:
    """Neighbours and connectivities as `scanpy.pp.neighbors` writes them, for its tools to read.

    They are scanpy's (tested), but seconds earlier: scanpy lets umap-learn compile itself first, in every new process. And
    scanpy's default search fails on some releases.

    Parameters
    ----------
    adata
        Where they are written.
    n_neighbors
        Neighbours of a cell, itself counted, as scanpy does.
    use_rep, random_state, key_added
        As in :func:`scanpy.pp.neighbors`.
    """
    x = adata.obsm[use_rep]
    indices, distances = neighbors(x, max(2, min(n_neighbors, len(x) - 1)) - 1, random_state=random_state)
    indices = indices.astype(np.int32)  # as scanpy has them
    n, k = indices.shape
    near = sparse.csr_matrix((distances.ravel(), indices.ravel(), np.arange(n + 1) * k), shape=(n, n), copy=True)
    near.sort_indices()
    prefix = "" if key_added is None else f"{key_added}_"
    adata.obsp[f"{prefix}distances"] = near
    adata.obsp[f"{prefix}connectivities"] = sparse.csr_matrix(_joined(indices, distances))
    params = {"n_neighbors": k + 1, "method": "umap", "random_state": random_state, "metric": "euclidean"}
    adata.uns[key_added or "neighbors"] = {
        "connectivities_key": f"{prefix}connectivities",
        "distances_key": f"{prefix}distances",
        "params": params | {"use_rep": use_rep},
    }


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
    return _joined(*neighbors(x, max(2, min(n_neighbors, len(x) - 1)) - 1, random_state=random_state))


def _joined(indices: np.ndarray, distances: np.ndarray) -> sparse.csr_array:
    """The same of neighbours that are known, the cell itself left out."""
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
