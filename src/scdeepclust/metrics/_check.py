"""What every metric asks of its input, refused with one message that names the argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from scipy.sparse import csr_matrix

    Encoded = tuple[np.ndarray, list[Any]]


def encode(labels: ArrayLike, name: str) -> Encoded:
    """Return codes 0..K-1 of the labels and the K names, in category order or else sorted."""
    # a list goes through object: numpy would turn ["a", nan] into the strings "a" and "nan"
    values = labels if hasattr(labels, "dtype") and np.ndim(labels) == 1 else _as_objects(labels, name)
    if len(values) == 0:
        msg = f"{name} is empty: pass one label a cell."
        raise ValueError(msg)
    try:
        codes, found = pd.factorize(values)
    except TypeError as error:
        msg = f"{name} must hold one string or number a cell, but holds values that are neither ({error})."
        raise ValueError(msg) from error
    if missing := int((codes < 0).sum()):
        msg = (
            f"{name} has {missing} missing labels (NaN or None) among {len(codes)} cells: drop these cells from "
            "all arguments, or give them a name of their own, for example 'unknown'."
        )
        raise ValueError(msg)
    order = _order(values, found)
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    names = pd.Index(found).tolist()
    return rank[codes], [names[i] for i in order]


def encode_pair(labels_true: ArrayLike, labels_pred: ArrayLike) -> tuple[Encoded, Encoded]:
    """Encode both labellings, checked to be of the same cells in the same order."""
    true, pred = encode(labels_true, "labels_true"), encode(labels_pred, "labels_pred")
    if len(true[0]) != len(pred[0]):
        msg = (
            f"labels_true has {len(true[0])} entries but labels_pred has {len(pred[0])}: "
            "pass both for the same cells in the same order."
        )
        raise ValueError(msg)
    if isinstance(labels_true, pd.Series) and isinstance(labels_pred, pd.Series):
        a, b = labels_true.index, labels_pred.index
        if not a.equals(b) and a.isin(b).all() and b.isin(a).all():
            msg = (
                "labels_true and labels_pred have the same cells in their index but in another order: "
                "align them first, for example labels_pred.loc[labels_true.index]."
            )
            raise ValueError(msg)
    return true, pred


def check_space(x: ArrayLike, n_labels: int) -> np.ndarray | csr_matrix:
    """Return the space as a finite 2-D array or CSR matrix with one row a label."""
    from scipy.sparse import issparse

    x = x.tocsr() if issparse(x) else np.asarray(x)
    if x.ndim != 2 or x.dtype.kind not in "fiub":
        msg = (
            f"x must be a 2-D array of numbers (cells x dimensions), for example adata.obsm['X_pca'], "
            f"but has {x.ndim} dimensions and dtype {x.dtype}."
        )
        raise ValueError(msg)
    if x.shape[0] != n_labels:
        msg = f"x has {x.shape[0]} rows but labels has {n_labels} entries: pass both for the same cells."
        raise ValueError(msg)
    if bad := int((~np.isfinite(x.data if issparse(x) else x)).sum()):
        msg = f"x has {bad} NaN or infinite values: remove these cells or correct the embedding."
        raise ValueError(msg)
    return x


def _as_objects(labels: ArrayLike, name: str) -> np.ndarray:
    try:
        values = labels if hasattr(labels, "dtype") else np.asarray(labels, dtype=object)
    except ValueError:  # nested lists of unequal lengths
        values = np.empty((0, 0), dtype=object)
    if np.ndim(values) != 1:
        shape = f"shape {np.shape(values)}" if np.size(values) else f"a {type(labels).__name__}"
        msg = f"{name} must be 1-D, one label a cell, but found {shape}: pass one column, for example adata.obs[key]."
        raise ValueError(msg)
    return values


def _order(values: Any, found: Any) -> np.ndarray:
    if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype):
        return np.argsort(pd.Categorical(found, categories=values.dtype.categories).codes)
    names = np.asarray(found, dtype=object)
    try:
        return np.argsort(names)
    except TypeError:  # strings and numbers mixed
        return np.argsort(names.astype(str))
