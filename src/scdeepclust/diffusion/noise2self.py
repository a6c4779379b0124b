"""Losses of averaging over neighbours against values that the neighbours were found without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .markov import diffused_columns, honest_powers

if TYPE_CHECKING:
    from scipy import sparse


def loss_of_each(
    indices: np.ndarray,
    affinities: np.ndarray,
    source: sparse.csr_array,
    target: sparse.csr_array,
    *,
    rows: np.ndarray | None = None,
    self_loops: bool = False,
) -> np.ndarray:
    """Mean squared error over genes, for each cell and each number of neighbours, in one pass.

    Parameters
    ----------
    indices
        Neighbours of each scored cell, nearest first; -1 for none.
    affinities
        Their weights, not normalised; they must not depend on how many neighbours are taken.
    source
        Values that are averaged, cells x genes.
    target
        Values that are predicted, cells x genes.
    rows
        Which cells are scored; None for all.
    self_loops
        Whether the cell itself, with weight one, is averaged in.

    Returns
    -------
    Scored cells x neighbours: in column k - 1 the loss of averaging over the k nearest.
    """
    from ._sweep import sweep

    rows = np.arange(source.shape[0]) if rows is None else rows
    if self_loops:
        indices = np.column_stack([rows, indices])
        affinities = np.column_stack([np.ones(len(rows), dtype=np.float32), affinities])
    found = sweep(
        rows,
        indices,
        affinities.astype(np.float32),
        *(source.data, source.indices, source.indptr),
        *(target.data, target.indices, target.indptr),
        source.shape[1],
    )
    return (found[:, 1:] if self_loops else found) / source.shape[1]


def loss_of_kernel(
    matrix: sparse.csr_array,
    source: sparse.csr_array,
    target: sparse.csr_array,
    *,
    n_steps: int = 1,
    honest: bool = False,
) -> np.ndarray:
    """Mean squared error over genes, for each cell and each number of steps up to `n_steps`: cells x steps.

    Parameters
    ----------
    matrix
        Row-stochastic kernel, cells x cells.
    source, target
        Values that are averaged and that are predicted, cells x genes.
    n_steps
        Most steps.
    honest
        Whether no step may give a cell itself back, as it must not where `target` is `source`.
    """
    loss = np.zeros((source.shape[0], n_steps))
    columns = target.tocsc()
    if honest:
        for step, power in enumerate(honest_powers(matrix, n_steps)):
            for part, values in diffused_columns(power, source):
                loss[:, step] += np.square(values - columns[:, part].toarray(), dtype=np.float64).sum(1)
    else:
        for part, first in diffused_columns(matrix, source):
            values, wanted = first, columns[:, part].toarray()
            for step in range(n_steps):
                values = matrix @ values if step else values
                loss[:, step] += np.square(values - wanted, dtype=np.float64).sum(1)
    return loss / source.shape[1]


def loss_of_mean(source: sparse.csr_array, target: sparse.csr_array) -> np.ndarray:
    """Mean squared error over genes of predicting each cell by the mean of all: what any neighbours must beat."""
    mean = source.mean(0)
    square = target.multiply(target).sum(1)
    return (square - 2 * (target @ mean) + (mean**2).sum()) / source.shape[1]
