"""Neighbour positives: a view is another cell of the same state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from ..diffusion import neighbors

if TYPE_CHECKING:
    from torch import Tensor


def mutual(x: np.ndarray, y: np.ndarray, n_neighbors: int, *, random_state: int = 0) -> np.ndarray:
    """Pairs of cells of which each is among the nearest of the other, once in `x` and once in `y`.

    With two views from independent halves of the molecules, noise alone makes no pair: one cell finds the other by
    some molecules and is found by others. Where there is one view only, give it twice (mutual nearest neighbours).

    Parameters
    ----------
    x, y
        Features of two views of the same cells, cells x features.
    n_neighbors
        Nearest neighbours in which the other cell has to be.
    random_state
        Seed of the approximate search, which serves more than 10,000 cells.

    Returns
    -------
    Cells x the most partners of a cell (at most twice `n_neighbors`): partners, repeated to fill the row; a cell without
    any is its own.
    """
    found = [_graph(neighbors(z, n_neighbors, random_state=random_state)[0]) for z in ((x,) if y is x else (x, y))]
    pairs = sparse.csr_array(found[0].multiply(found[-1].T))
    pairs = sparse.csr_array(pairs.maximum(pairs.T))
    count = np.diff(pairs.indptr)
    column = np.arange(max(count.max(), 1)) % np.maximum(count, 1)[:, None]
    partners = np.append(pairs.indices, 0)[np.minimum(pairs.indptr[:-1, None] + column, pairs.nnz)]
    return np.where(count[:, None] > 0, partners, np.arange(len(x))[:, None])


def _graph(indices: np.ndarray) -> sparse.csr_array:
    """Cells x cells, one where the second is among the nearest of the first."""
    n, k = indices.shape
    return sparse.csr_array((np.ones(n * k, dtype=bool), indices.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))


def draw(partners: Tensor) -> Tensor:
    """One partner of each cell at random, from rows of cells x partners."""
    column = torch.randint(partners.shape[1], (len(partners), 1), device=partners.device)
    return partners.gather(1, column)[:, 0]


def chance(index: Tensor, rate: float) -> Tensor:
    """Booleans, one for each of these cells, true with probability `rate`."""
    return torch.rand(len(index), device=index.device) < rate
