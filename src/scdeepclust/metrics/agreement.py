"""Agreement of two labellings as wholes, without matching single clusters."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from ._check import encode_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike


def nmi(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Normalised mutual information, with the arithmetic mean of both entropies (equal to the V-measure).

    It rises with the number of clusters; use :func:`ami` to compare labellings with different numbers.
    Papers written with scikit-learn before 0.22 used the geometric mean: their values are not comparable.

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

    References
    ----------
    Vinh, Epps and Bailey (2010), Journal of Machine Learning Research 11:2837-2854.

    Examples
    --------
    >>> from scdeepclust.metrics import nmi
    >>> round(nmi(["B", "B", "T", "T"], [1, 1, 0, 2]), 3)
    0.8
    """
    from sklearn.metrics import normalized_mutual_info_score

    return _sklearn(normalized_mutual_info_score, labels_true, labels_pred, average_method="arithmetic")


def ami(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Mutual information adjusted for chance; the one to compare different numbers of clusters with.

    Parameters
    ----------
    labels_true
        Known type of every cell.
    labels_pred
        Cluster of every cell, in the same order.

    Returns
    -------
    At most 1; about 0 for independent labellings.

    Raises
    ------
    ValueError
        If the labels are empty, of unequal length, not 1-D, or missing for some cells.

    References
    ----------
    Vinh, Epps and Bailey (2010), Journal of Machine Learning Research 11:2837-2854.

    Examples
    --------
    >>> from scdeepclust.metrics import ami
    >>> round(ami(["B", "B", "T", "T"], [1, 1, 0, 2]), 3)
    0.571
    """
    from sklearn.metrics import adjusted_mutual_info_score

    return _sklearn(adjusted_mutual_info_score, labels_true, labels_pred, average_method="arithmetic")


def ari(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Rand index adjusted for chance: agreement over pairs of cells, the field's most reported score.

    Large types weigh by the square of their size: read it beside :func:`macro_f1`.

    Parameters
    ----------
    labels_true
        Known type of every cell.
    labels_pred
        Cluster of every cell, in the same order.

    Returns
    -------
    From -0.5 to 1; about 0 for independent labellings.

    Raises
    ------
    ValueError
        If the labels are empty, of unequal length, not 1-D, or missing for some cells.

    References
    ----------
    Hubert and Arabie (1985), Journal of Classification 2:193-218, doi:10.1007/BF01908075.

    Examples
    --------
    >>> from scdeepclust.metrics import ari
    >>> round(ari(["B", "B", "T", "T"], [1, 1, 0, 2]), 3)
    0.571
    """
    from sklearn.metrics import adjusted_rand_score

    return _sklearn(adjusted_rand_score, labels_true, labels_pred)


def _sklearn(score: Callable[..., float], labels_true: ArrayLike, labels_pred: ArrayLike, **settings: str) -> float:
    true, pred = (codes for codes, _ in encode_pair(labels_true, labels_pred))
    with warnings.catch_warnings():
        # integer codes with many clusters look like a regression target to scikit-learn
        warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)
        return float(score(true, pred, **settings))
