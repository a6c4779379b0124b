"""All scores at once, and the table of types and clusters behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ._check import encode_pair
from .agreement import ami, ari, nmi
from .matching import accuracy, contingency, macro_f1

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def scores(labels_true: ArrayLike, labels_pred: ArrayLike) -> dict[str, float]:
    """All agreement scores at once, one row of a benchmark table.

    Parameters
    ----------
    labels_true
        Known type of every cell.
    labels_pred
        Cluster of every cell, in the same order.

    Returns
    -------
    ``ACC``, ``NMI``, ``AMI``, ``ARI`` and ``macro_F1``.

    Raises
    ------
    ValueError
        If the labels are empty, of unequal length, not 1-D, or missing for some cells.

    Examples
    --------
    >>> from scdeepclust.metrics import scores
    >>> scores(["B", "B", "T"], ["x", "x", "y"])["ARI"]
    1.0
    """
    # encoded once: turning a million strings into codes costs more than most of the scores
    true, pred = (codes for codes, _ in encode_pair(labels_true, labels_pred))
    functions = {"ACC": accuracy, "NMI": nmi, "AMI": ami, "ARI": ari, "macro_F1": macro_f1}
    return {name: function(true, pred) for name, function in functions.items()}


def confusion(labels_true: ArrayLike, labels_pred: ArrayLike) -> pd.DataFrame:
    """Count the cells of every type in every cluster.

    Parameters
    ----------
    labels_true
        Known type of every cell.
    labels_pred
        Cluster of every cell, in the same order.

    Returns
    -------
    Types in rows, clusters in columns (categories in their order, other labels sorted), without unused categories.

    Raises
    ------
    ValueError
        If the labels are empty, of unequal length, not 1-D, or missing for some cells.

    Examples
    --------
    >>> from scdeepclust.metrics import confusion
    >>> confusion(["B", "B", "T", "T"], [1, 1, 0, 2]).loc["T"].tolist()
    [1, 0, 1]
    """
    (true, types), (pred, clusters) = encode_pair(labels_true, labels_pred)
    index, columns = pd.Index(types, name="labels_true"), pd.Index(clusters, name="labels_pred")
    return pd.DataFrame(contingency(true, pred), index=index, columns=columns)
