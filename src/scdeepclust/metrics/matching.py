"""One-to-one matching of clusters and types, and the scores that rest on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._check import encode_pair

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def accuracy(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Clustering accuracy (ACC): share of cells right under the best one-to-one match of clusters and types.

    Use it when the number of clusters is meant to equal the number of types. Cells of a cluster without a
    type (more clusters than types) count as errors. Large types dominate: read it beside :func:`macro_f1`.

    Parameters
    ----------
    labels_true
        Known type of every cell.
    labels_pred
        Cluster of every cell, in the same order.

    Returns
    -------
    Between 0 and 1 (identical up to names).

    Raises
    ------
    ValueError
        If the labels are empty, of unequal length, not 1-D, or missing for some cells.

    References
    ----------
    Kuhn (1955), Naval Research Logistics Quarterly 2:83-97, doi:10.1002/nav.3800020109 (the matching);
    Xie, Girshick and Farhadi (2016), ICML, arXiv:1511.06335 (its use for deep clustering).

    Examples
    --------
    >>> from scdeepclust.metrics import accuracy
    >>> accuracy(["B", "B", "T", "T"], [1, 1, 0, 2])
    0.75
    """
    table, rows, columns = _matched(*(codes for codes, _ in encode_pair(labels_true, labels_pred)))
    return float(table[rows, columns].sum() / table.sum())


def macro_f1(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """F1 of every type after one-to-one matching, averaged with equal weight for rare and common types.

    Use it beside :func:`accuracy` and :func:`ari`, which a few large types dominate. A type that no cluster
    is matched to counts 0. Of equally accurate matches the one with the higher F1 is taken, so the value
    does not depend on how clusters are named.

    Parameters
    ----------
    labels_true
        Known type of every cell.
    labels_pred
        Cluster of every cell, in the same order.

    Returns
    -------
    Between 0 and 1.

    Raises
    ------
    ValueError
        If the labels are empty, of unequal length, not 1-D, or missing for some cells.

    Examples
    --------
    >>> from scdeepclust.metrics import macro_f1
    >>> round(macro_f1(["B", "B", "B", "T"], [0, 0, 0, 0]), 3)
    0.429
    """
    table, rows, columns = _matched(*(codes for codes, _ in encode_pair(labels_true, labels_pred)))
    return float(_f1(table)[rows, columns].sum() / table.shape[0])


def match_labels(labels_true: ArrayLike, labels_pred: ArrayLike) -> dict[Any, Any]:
    """Best one-to-one match of clusters to types, to name or recolour clusters for a comparison.

    Parameters
    ----------
    labels_true
        Known type of every cell.
    labels_pred
        Cluster of every cell, in the same order.

    Returns
    -------
    Cluster -> type, in the order of the clusters. Clusters without a type, and pairs that share no cell,
    are left out.

    Raises
    ------
    ValueError
        If the labels are empty, of unequal length, not 1-D, or missing for some cells.

    References
    ----------
    Kuhn (1955), Naval Research Logistics Quarterly 2:83-97, doi:10.1002/nav.3800020109.

    Examples
    --------
    >>> from scdeepclust.metrics import match_labels
    >>> match_labels(["B", "B", "T", "T"], [1, 1, 0, 2])
    {0: 'T', 1: 'B'}
    """
    (true, types), (pred, clusters) = encode_pair(labels_true, labels_pred)
    table, rows, columns = _matched(true, pred)
    found = {int(c): types[r] for r, c in zip(rows, columns, strict=True) if table[r, c] > 0}
    return {clusters[c]: found[c] for c in sorted(found)}


def contingency(true: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """Cells of every type (rows) in every cluster (columns), from codes."""
    shape = int(true.max()) + 1, int(pred.max()) + 1
    return np.bincount(true * shape[1] + pred, minlength=shape[0] * shape[1]).reshape(shape)


def _f1(table: np.ndarray) -> np.ndarray:
    return 2 * table / (table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True))


def _matched(true: np.ndarray, pred: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from scipy.optimize import linear_sum_assignment

    table = contingency(true, pred)
    # the F1 of a whole match stays below one cell, so it only decides between equally accurate matches
    rows, columns = linear_sum_assignment(table + _f1(table) / (min(table.shape) + 1), maximize=True)
    return table, rows, columns
