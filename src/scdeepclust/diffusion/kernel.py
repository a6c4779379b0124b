"""Row-stochastic weighted affinity kernels (WAK) over nearest neighbours, and what they average."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

Weights = Literal["uniform", "distance", "gaussian"]
WEIGHTS = ("uniform", "distance", "gaussian")
SCALE = 5  # neighbours whose mean distance is the unit, so that weights do not change with the number of neighbours
COLUMNS = 256  # genes that are dense at once


def affinities(distances: np.ndarray, weights: Weights) -> np.ndarray:
    r"""Weights of neighbours, not yet normalised.

    With u the distance of a neighbour over the mean distance of the cell's five nearest: 1 (`"uniform"`), exp(-u)
    (`"distance"`, as in DEWAKSS, where the unit is the mean over all neighbours; Tjärnberg et al. 2021,
    doi 10.1371/journal.pcbi.1008569) or exp(-u²/2) (`"gaussian"`).

    Parameters
    ----------
    distances
        Cells x neighbours, nearest first.
    weights
        Which of the three.
    """
    if weights == "uniform":
        return np.ones(distances.shape, dtype=np.float32)
    unit = distances[:, :SCALE].mean(1, keepdims=True)
    scaled = distances / np.where(unit > 0, unit, 1)
    return np.exp(-scaled if weights == "distance" else -(scaled**2) / 2).astype(np.float32)


def kernel(
    indices: np.ndarray,
    distances: np.ndarray,
    weights: Weights = "uniform",
    *,
    n_neighbors: int | None = None,
    self_loops: bool = False,
) -> sparse.csr_array:
    """A row-stochastic matrix over nearest neighbours, cells x cells.

    Parameters
    ----------
    indices, distances
        Neighbours of each cell, itself left out, nearest first; -1 for none.
    weights
        How they are weighted.
    n_neighbors
        How many of them count; None takes all. Give all the distances there are: they set the unit of the weights.
    self_loops
        Whether a cell counts as its own neighbour, with the weight of distance zero. Only a score on values that the
        graph has not seen can tell whether that helps.
    """
    n, w = len(indices), affinities(distances, weights)[:, :n_neighbors]
    indices = indices[:, :n_neighbors]
    if self_loops:
        indices = np.column_stack([np.arange(n), indices])
        w = np.column_stack([np.ones(n, dtype=np.float32), w])
    w = np.where(indices >= 0, w, 0)
    total = w.sum(1, keepdims=True, dtype=np.float64)
    w = (w / np.where(total > 0, total, 1)).astype(np.float32)
    start = np.arange(n + 1) * indices.shape[1]
    found = sparse.csr_array((w.ravel(), np.maximum(indices, 0).ravel(), start), shape=(n, n))
    found.sum_duplicates()
    found.eliminate_zeros()
    return found


def without_self(matrix: sparse.csr_array) -> sparse.csr_array:
    """The same kernel with a zero diagonal, its rows normalised again."""
    matrix = (matrix - sparse.diags_array(matrix.diagonal(), format="csr")).tocsr()
    matrix.eliminate_zeros()
    total = matrix.sum(1)
    return (sparse.diags_array(1 / np.where(total > 0, total, 1)) @ matrix).tocsr()


def honest_power(matrix: sparse.csr_array, n_steps: int) -> sparse.csr_array:
    """Several steps in which no cell gets itself back: zero diagonal, normalised rows, after every product.

    What DEWAKSS does, so that a loss against the same values stays honest. It is not a power of the matrix.
    """
    found = matrix
    for _ in range(n_steps - 1):
        found = without_self((found @ matrix).tocsr())
    return found


def diffuse(matrix: sparse.csr_array, values: np.ndarray, n_steps: int = 1) -> np.ndarray:
    """Average values over the kernel, again and again."""
    for _ in range(n_steps):
        values = matrix @ values
    return values


def diffused_columns(
    matrix: sparse.csr_array, values: sparse.sparray, n_steps: int = 1
) -> Iterator[tuple[slice, np.ndarray]]:
    """Averages of a matrix that is never dense as a whole, some columns at a time."""
    columns = values.tocsc()
    for start in range(0, values.shape[1], COLUMNS):
        part = slice(start, min(start + COLUMNS, values.shape[1]))
        yield part, diffuse(matrix, columns[:, part].toarray(), n_steps)
