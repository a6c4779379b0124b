"""Which clusters differ by signal that comes again: distances free of noise, and clusters joined along them."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable


class Sums(NamedTuple):
    """Sums of two views over clusters. Their noise is independent, so that products of means are free of it."""

    x: np.ndarray  # clusters x features
    n_x: np.ndarray  # cells in each sum
    y: np.ndarray
    n_y: np.ndarray

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Means of the two views, clusters x features; zero where there are no cells."""
        return self.x / np.maximum(self.n_x, 1)[:, None], self.y / np.maximum(self.n_y, 1)[:, None]

    def joined(self, i: int, j: int) -> Sums:
        """The same with cluster j put into cluster i."""
        return Sums(*(_joined(part, i, j) for part in self))


class Join(NamedTuple):
    """Two clusters becoming one."""

    i: int  # the cluster that stays, at this step's numbering
    j: int  # the one that goes into it
    share: float  # of the reproducible signal by which they differ


def _joined(part: np.ndarray, i: int, j: int) -> np.ndarray:
    part = part.copy()
    part[i] += part[j]
    return np.delete(part, j, axis=0)


def sums(
    x: np.ndarray,
    y: np.ndarray,
    labels: np.ndarray,
    *,
    of_x: np.ndarray | None = None,
    n_clusters: int | None = None,
) -> Sums:
    """Sums over clusters of two views.

    Parameters
    ----------
    x, y
        Cells x features, the same features in both.
    labels
        Cluster of each cell, from 0.
    of_x
        Cells that count in `x`, all others counting in `y`; where None, all count in both.
    n_clusters
        Number of clusters, where the last may be empty.
    """
    member = np.zeros((n_clusters or labels.max() + 1, len(labels)), dtype=np.float32)
    member[labels, np.arange(len(labels))] = 1
    in_x, in_y = (member, member) if of_x is None else (member * of_x, member * ~of_x)
    return Sums(in_x @ x, in_x.sum(1), in_y @ y, in_y.sum(1))


def squared_distances(views: list[Sums]) -> np.ndarray:
    """Squared distances between clusters without the part that noise adds, clusters x clusters, mean over views.

    They are unbiased, so that those of equal clusters scatter around zero, and some are negative.
    """
    found = 0.0
    for view in views:
        x, y = view.means()
        product = x @ y.T
        product = (product + product.T) / 2
        own = np.diag(product)
        empty = (view.n_x == 0) | (view.n_y == 0)
        distance = own[:, None] + own[None] - 2 * product
        distance[empty] = distance[:, empty] = 0
        found = found + distance
    return found / len(views)


def joins(views: list[Sums], sizes: np.ndarray, signal: float, *, power: float = 0.5) -> list[Join]:
    r"""Join clusters, each time the two that differ least, until one is left.

    Two clusters with :math:`n_i` and :math:`n_j` of n cells, whose noise-free squared distance is :math:`D_{ij}`, differ by
    :math:`\sqrt{q_{ij}} D_{ij} / T`, with :math:`q_{ij} = n_i n_j / ((n_i + n_j) n)` and T the reproducible variance
    of all cells. With q in place of its root (`power=1`) this would be the share of the signal that the join costs
    (Ward 1963, doi 10.1080/01621459.1963.10500845); the root is kinder to rare types.

    Parameters
    ----------
    views
        Sums over the clusters.
    sizes
        Cells in each cluster.
    signal
        T.
    power
        Of q.
    """
    sizes, path = np.asarray(sizes, dtype=np.float64), []
    total = sizes.sum()
    while len(sizes) > 1:
        q = sizes[:, None] * sizes[None] / ((sizes[:, None] + sizes[None]) * total)
        share = q**power * squared_distances(views) / max(signal, 1e-12)
        share[np.tril_indices(len(sizes))] = np.inf
        i, j = (int(k) for k in np.unravel_index(share.argmin(), share.shape))
        path.append(Join(i, j, float(share[i, j])))
        views, sizes = [view.joined(i, j) for view in views], _joined(sizes, i, j)
    return path


def n_joins(shares: Iterable[float], min_signal: float) -> int:
    """How many joins are made, each of which costs a share: all before the first that would cost `min_signal` or more."""
    return sum(1 for _ in takewhile(lambda share: share < min_signal, shares))


def after(labels: np.ndarray, path: list[Join]) -> np.ndarray:
    """Labels after these joins, numbered from 0."""
    labels = labels.copy()
    for join in path:
        labels[labels == join.j] = join.i
        labels[labels > join.j] -= 1
    return labels


def by_size(labels: np.ndarray) -> np.ndarray:
    """The same partition, numbered from the largest cluster."""
    rank = np.argsort(np.argsort(-np.bincount(labels), kind="stable"), kind="stable")
    return rank[labels]
