"""Nearest neighbours: exact among few cells, and by lists of cells that are near each other among many."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .kmeans import fewer_allowed

if TYPE_CHECKING:
    from collections.abc import Iterator

EXACT_UP_TO = 10_000  # cells; above, a search by lists is faster, the more so the more there are
# Lists in which each cell looks for neighbours, and how many more for each neighbour that it wants; they are found among
# so many times as many whose centres are near that of its own list.
PROBED, PROBED_MORE, AROUND = 16, 1 / 6, 8
N_TO_PLACE, N_ROUNDS = 40, 8  # cells of each list that place its centre, and rounds of k-means
MOST_THREADS = 8  # each goes through all lists, which takes Python time that none can share
AT_ONCE = 2**19  # numbers that are held at once, as fit in a processor's cache


def neighbors(
    x: np.ndarray, n_neighbors: int, *, rows: np.ndarray | None = None, random_state: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours of each cell, itself left out.

    Among more than 10,000 cells 98 to 99 of 100 are found: cells are put into lists around some of them, and each looks for
    its neighbours in the lists whose centres are nearest to it (an inverted file, as in Sivic and Zisserman, ICCV 2003).

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
    k = min(n_neighbors, len(x) - 1)
    if rows is None and len(x) > EXACT_UP_TO:
        return _by_lists(x, k, random_state)
    return _exact(x, np.arange(len(x)) if rows is None else rows, k)


def _exact(x: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.neighbors import NearestNeighbors

    distances, indices = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(x).kneighbors(x[rows])
    # A cell is not always its own first neighbour: duplicates may come before it.
    self_last = np.argsort(indices == rows[:, None], axis=1, kind="stable")[:, :k]
    return np.take_along_axis(indices, self_last, 1), np.take_along_axis(distances, self_last, 1)


def _by_lists(x: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from numba import get_num_threads
    from threadpoolctl import threadpool_limits

    found, distances = np.full((len(x), k), -1), np.full((len(x), k), np.inf, dtype=np.float32)
    everyone, n_threads = np.arange(len(x)), min(get_num_threads(), MOST_THREADS, len(x))
    # Threads share the cells and not each product: these are so small that waiting for each other would take longer.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as pool:
        look = partial(_look, x, list(lists(x, k, seed)), found, distances)
        list(pool.map(look, np.array_split(everyone, n_threads)))
    nearest_first = np.argsort(distances, axis=1, kind="stable")
    indices, distances = (np.take_along_axis(values, nearest_first, 1) for values in (found, distances))
    short = np.flatnonzero((found < 0).any(1))  # cells whose lists hold too few
    if len(short):
        indices[short], distances[short] = _exact(x, short, k)
    return indices, distances


def _look(
    x: np.ndarray, lists: list[tuple[np.ndarray, ...]], found: np.ndarray, distances: np.ndarray, cells: np.ndarray
) -> None:
    """Find the neighbours of consecutive cells."""
    from ._heaps import keep_nearer

    for center, members, looking in lists:
        first, end = np.searchsorted(looking, [cells[0], cells[-1] + 1])
        # Seen from the centre, cells are hardly farther than from each other, so that differences keep their digits.
        others = x[members] - center
        squared = np.square(others).sum(1)
        for some in _parts(looking[first:end], len(members)):
            here = x[some] - center
            between = here @ (-2 * others.T)
            between += squared
            between += np.square(here).sum(1)[:, None]
            keep_nearer(between, some, members, distances, found)
    for some in _parts(cells, found.shape[1] * x.shape[1]):
        apart = x[found[some]] - x[some, None]
        distances[some] = np.sqrt(np.einsum("ckd,ckd->ck", apart, apart))


def lists(x: np.ndarray, k: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Lists of cells: the centre, the members, and cells that look for `k` neighbours there, which are the members at first."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import pairwise_distances

    n_lists = int(2 * np.sqrt(len(x)))
    some = np.random.default_rng(seed).permutation(len(x))[: N_TO_PLACE * n_lists]
    with fewer_allowed():
        places = KMeans(n_lists, init="random", n_init=1, max_iter=N_ROUNDS, random_state=seed).fit(x[some])
    centres, own = places.cluster_centers_, places.predict(x)
    members = _where(own, n_lists)
    squared, n_probed = np.square(centres).sum(1), min(n_lists, round(PROBED + PROBED_MORE * k))
    around = np.argsort(pairwise_distances(centres), axis=1, kind="stable")[:, : AROUND * n_probed]
    probed = np.empty((len(x), n_probed), dtype=np.int32)
    for cells, near in zip(members, around, strict=True):
        distances = squared[near] - 2 * x[cells] @ centres[near].T  # but for what all of a cell have in common
        probed[cells] = near[np.argpartition(distances, n_probed - 1, axis=1)[:, :n_probed]]
    looking = _where(probed.ravel(), n_lists)
    filled = [number for number in range(n_lists) if len(members[number])]
    for number in filled:
        yield centres[number], members[number], members[number]
    for number in filled:
        cells = looking[number] // n_probed
        yield centres[number], members[number], cells[own[cells] != number]


def _where(numbers: np.ndarray, n: int) -> list[np.ndarray]:
    """Where each of the numbers 0 to `n` - 1 stands."""
    return np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers, minlength=n))[:-1])


def _parts(cells: np.ndarray, width: int) -> list[np.ndarray]:
    """Cells, so many at a time that of their rows of `width` numbers a cache holds all."""
    return np.array_split(cells, max(1, -(-len(cells) * width // AT_ONCE)))
