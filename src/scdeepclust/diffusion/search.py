"""Nearest neighbours: exact among few cells, and by lists of cells that are near each other among many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .kmeans import fewer_allowed

if TYPE_CHECKING:
    from collections.abc import Iterator

EXACT_UP_TO = 10_000  # cells; above, a search by lists is faster, the more so the more there are
# Lists in which neighbours are looked for, at least, and as square roots of how many there are: more find more.
FEWEST_PROBED, PROBED = 40, 2.5
N_TO_PLACE, N_ROUNDS = 40, 8  # cells of each list that place its centre, and rounds of k-means


def neighbors(
    x: np.ndarray, n_neighbors: int, *, rows: np.ndarray | None = None, random_state: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours of each cell, itself left out.

    Among more than 10,000 cells 98 to 99 of 100 are found: cells are put into lists around some of them (an inverted file,
    as in Sivic and Zisserman, ICCV 2003), and the neighbours of a list's cells are looked for in it and in the lists around
    it. That takes up to twice as long as pynndescent for few neighbours, a tenth for a hundred, and does not compile itself
    for half a minute in every new process.

    Parameters
    ----------
    x
        Cells x features.
    n_neighbors
        How many; at most the number of other cells.
    rows
        Cells whose neighbours are wanted; None for all. Of some of the cells the search is always exact.
    random_state
        Seed of the search by lists.

    Returns
    -------
    Indices and Euclidean distances, each cells x `n_neighbors`, nearest first.
    """
    x = np.ascontiguousarray(x, dtype=np.float32)
    k = min(n_neighbors, len(x) - 1) + 1
    if rows is not None or len(x) <= EXACT_UP_TO:
        indices, distances = _nearest(x, x if rows is None else x[rows], k)
    else:
        indices, distances = np.empty((len(x), k), dtype=np.int64), np.empty((len(x), k), dtype=np.float32)
        for cells, around in lists(x, k, random_state):
            found, distances[cells] = _nearest(x[around], x[cells], k)
            indices[cells] = around[found]
    # A cell is not always its own first neighbour: duplicates may come before it.
    itself = np.arange(len(x)) if rows is None else rows
    self_last = np.argsort(indices == itself[:, None], axis=1, kind="stable")[:, : k - 1]
    return np.take_along_axis(indices, self_last, 1), np.take_along_axis(distances, self_last, 1)


def _nearest(x: np.ndarray, wanted: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.neighbors import NearestNeighbors

    distances, indices = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x).kneighbors(wanted)
    return indices, distances


def lists(x: np.ndarray, k: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cells of each list, and those, at least `k`, in it and in the lists around it."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import pairwise_distances

    n_lists = int(2 * np.sqrt(len(x)))
    some = np.random.default_rng(seed).permutation(len(x))[: N_TO_PLACE * n_lists]
    with fewer_allowed():
        lists = KMeans(n_lists, init="random", n_init=1, max_iter=N_ROUNDS, random_state=seed).fit(x[some])
    of_cell, between = lists.predict(x), pairwise_distances(lists.cluster_centers_)
    sizes = np.bincount(of_cell, minlength=n_lists)
    members = np.split(np.argsort(of_cell, kind="stable"), np.cumsum(sizes)[:-1])
    for cells, distance in zip(members, between, strict=True):
        if len(cells):
            nearest = np.argsort(distance, kind="stable")
            enough = 1 + int(np.searchsorted(np.cumsum(sizes[nearest]), k))
            n_probed = max(FEWEST_PROBED, round(PROBED * n_lists**0.5), enough)
            yield cells, np.concatenate([members[other] for other in nearest[:n_probed]])
