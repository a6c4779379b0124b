"""Row-stochastic weighted affinity kernels (WAK) over nearest neighbours, and what they average."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

Weights = Literal["uniform", "distance", "gaussian"]
Normalize = Literal["row", "column", "symmetric"]
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
        Cells x neighbours, nearest first; infinite where there is none.
    weights
        Which of the three.
    """
    if weights == "uniform":
        return np.ones(distances.shape, dtype=np.float32)
    near = distances[:, :SCALE]
    there = np.isfinite(near)
    unit = np.where(there, near, 0).sum(1, keepdims=True) / np.maximum(there.sum(1, keepdims=True), 1)
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


def check_normalize(normalize: str) -> None:
    """Refuse what is no way to make a kernel of affinities."""
    known = get_args(Normalize)
    if normalize not in known:
        msg = f"normalize={normalize!r} must be one of {', '.join(map(repr, known))}."
        raise ValueError(msg)


def normalized(matrix: sparse.csr_array, normalize: Normalize = "row") -> sparse.csr_array:
    """A kernel of any affinities: zero diagonal, then divided by the sums of its rows, of its columns, or the root of both.

    Only rows make averages; columns are the form of the DeePWAK preprint. An empty row or column stays empty.
    """
    check_normalize(normalize)
    matrix = (matrix - sparse.diags_array(matrix.diagonal(), format="csr")).tocsr()
    matrix.eliminate_zeros()
    power = 0.5 if normalize == "symmetric" else 1.0

    def scale(axis: int) -> sparse.dia_array:
        total = matrix.sum(axis)
        return sparse.diags_array(np.where(total > 0, total, 1) ** -power)

    matrix = (
        scale(1) @ matrix
        if normalize == "row"
        else matrix @ scale(0)
        if normalize == "column"
        else (scale(1) @ matrix @ scale(0))
    )
    return matrix.tocsr()


def within(matrix: sparse.csr_array, partition: np.ndarray) -> sparse.csr_array:
    """A graph kernel restricted by a partition: each edge times how likely its two cells share a cluster, row-normalised.

    A cell without a neighbour in its cluster has an empty row.

    Parameters
    ----------
    matrix
        Weights of neighbours, cells x cells.
    partition
        Cluster of each cell (below zero for none, which shares with nobody), or memberships, cells x clusters.
    """
    edges = matrix.tocoo()
    first, second = partition[edges.row], partition[edges.col]
    shared = (first * second).sum(1) if partition.ndim > 1 else (first == second) & (first >= 0)
    return normalized(sparse.csr_array((edges.data * shared, (edges.row, edges.col)), shape=matrix.shape))


def honest_powers(matrix: sparse.csr_array, n_steps: int) -> Iterator[sparse.csr_array]:
    """One step, two, ..., in which no cell gets itself back: zero diagonal, normalised rows, after every product.

    What DEWAKSS does, so that a loss against the same values stays honest. They are no powers of the matrix.
    """
    found = matrix
    for step in range(n_steps):
        found = normalized((found @ matrix).tocsr()) if step else found
        yield found


def honest_power(matrix: sparse.csr_array, n_steps: int) -> sparse.csr_array:
    """The last of :func:`honest_powers`."""
    for found in honest_powers(matrix, n_steps):  # one at a time: they fill in
        last = found
    return last


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
