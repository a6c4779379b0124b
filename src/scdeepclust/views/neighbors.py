"""Neighbour positives: a view is another cell of the same state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

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
        Seed of the approximate search, which serves from 20,000 cells on.

    Returns
    -------
    Cells x `n_neighbors`: partners, nearest first and repeated to fill the row; a cell without any is its own.
    """
    near_x, _ = neighbors(x, n_neighbors, random_state=random_state)
    near_y = near_x if y is x else neighbors(y, n_neighbors, random_state=random_state)[0]
    n, k = near_x.shape
    own = np.arange(n)[:, None]
    pairs_x, pairs_y = own * n + near_x, own * n + near_y
    found = np.isin(near_x * n + own, pairs_y)  # i finds j in x, and j finds i in y
    if y is not x:
        near_x = np.concatenate([near_x, near_y], axis=1)
        found = np.concatenate([found, np.isin(near_y * n + own, pairs_x)], axis=1)
    first = np.argsort(~found, axis=1, kind="stable")
    count = found.sum(1, keepdims=True)
    column = np.arange(k) % np.maximum(np.minimum(count, k), 1)
    partners = np.take_along_axis(np.take_along_axis(near_x, first, 1), column, 1)
    return np.where(count > 0, partners, own)


def draw(partners: Tensor) -> Tensor:
    """One partner of each cell at random, from rows of cells x partners."""
    column = torch.randint(partners.shape[1], (len(partners), 1), device=partners.device)
    return partners.gather(1, column)[:, 0]


def chance(index: Tensor, rate: float) -> Tensor:
    """Booleans, one for each of these cells, true with probability `rate`."""
    return torch.rand(len(index), device=index.device) < rate
