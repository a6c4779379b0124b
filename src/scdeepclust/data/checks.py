"""Checks of what an AnnData holds; each error names the argument, what was found and what to do."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData


def listing(names: Iterable, most: int = 5) -> str:
    """A few names, and how many more there are."""
    names = [repr(str(name)) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"


def one_name(argument: str, key: Any) -> None:
    """Refuse a list where one name is meant."""
    if not isinstance(key, Hashable):
        more = "; give the others by categorical_covariate_keys" if argument == "batch_key" else ""
        msg = f"{argument}={key!r} must be one name{more}."
        raise TypeError(msg)


def several_names(argument: str, names: Any, *, single: bool = True) -> list:
    """A list of names; a `single` one by itself is a list of one. None is no name."""
    if single and isinstance(names, str):
        return [names]
    if isinstance(names, str) or not np.iterable(names):
        msg = f"{argument}={names!r} must be {'a name or ' * single}a list of names."
        raise TypeError(msg)
    names = list(names)
    for name in names:
        if name is None or not isinstance(name, Hashable):
            msg = f"{argument} holds {name!r}, which is no name."
            raise TypeError(msg)
    return names


def need_key(
    argument: str, key: str, there: Any, where: str, *, also: Sequence[str] = (), first: str | None = None
) -> None:
    """Refuse a key that does not exist; `first` is what would make it."""
    one_name(argument, key)
    if key not in there:
        made = "" if first is None else f" Run {first} first, or name one of these."
        msg = f"{argument}={key!r} is not in {where}; there are: {listing([*there, *also], most=20)}.{made}"
        raise KeyError(msg)


def one_of(name: str, value: Any, options: Iterable) -> None:
    """Refuse what is none of some options."""
    options = list(options)
    if not any(value is option or (isinstance(value, str) and value == option) for option in options):
        msg = f"{name}={value!r} must be one of {', '.join(map(repr, options))}."
        raise ValueError(msg)


def true_or_false(name: str, value: Any) -> None:
    """Refuse what is neither."""
    if not isinstance(value, bool | np.bool_):
        msg = f"{name}={value!r} must be True or False."
        raise ValueError(msg)


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """An integer, given as one or as a float without a fraction."""
    number = not isinstance(value, bool | str) and np.isscalar(value) and value == value and abs(value) < np.inf  # noqa: PLR0124
    if not number or int(value) != value or value < least:
        msg = f"{name}={value!r} must be an integer of at least {least}."
        raise ValueError(msg)
    return int(value)


def check_anndata(adata: Any, *, copy: bool = False) -> None:
    """Refuse what is not an AnnData, or one on disk that is to be copied."""
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        what = "read a file with anndata.read_h5ad"
        if isinstance(getattr(adata, "mod", None), Mapping):  # as of MuData
            what = "give one of its modalities, such as mdata['rna']"
        elif isinstance(adata, pd.DataFrame | np.ndarray) or sparse.issparse(adata):
            what = "make one of a table of cells x genes with anndata.AnnData(table)"
        msg = f"adata must be an AnnData, not {type(adata).__name__}; {what} first."
        raise TypeError(msg)
    if copy and adata.isbacked:
        msg = f"copy=True, but adata is backed by {adata.filename}; load it with adata.to_memory() first, or leave copy out."
        raise TypeError(msg)


def check_in_memory(adata: AnnData, values: Any, name: str) -> None:
    """Refuse values that are on disk or lazy."""
    if adata.isbacked:
        msg = f"adata is backed by {adata.filename}; load it with adata.to_memory() first."
        raise TypeError(msg)
    if not (isinstance(values, np.ndarray | pd.DataFrame) or sparse.issparse(values)):
        msg = f"{name} is a {type(values).__module__}.{type(values).__name__}, not in memory; call adata.to_memory() first."
        raise TypeError(msg)


def check_finite(values: np.ndarray, name: str) -> None:
    """Refuse NaN and infinity."""
    if not np.isfinite(values.sum(dtype=np.float64)) and not np.isfinite(values).all():
        n_nan, n_inf = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        msg = (
            f"{name} holds {n_nan} NaN and {n_inf} infinite values; remove these cells or genes, or impute them first."
        )
        raise ValueError(msg)


def looks_like_counts(values: Any) -> bool:
    """Whether all values are non-negative integers."""
    data = np.asarray(getattr(values, "data", values) if not isinstance(values, np.ndarray) else values)
    return bool(data.size) and bool((data >= 0).all() and (data == np.rint(data)).all())


@dataclass(frozen=True)
class Offers:
    """Arguments that who calls a function has, so that no advice names one that is not there."""

    layer: bool = True
    use_rep: bool = True
    drop_empty: bool = True


EVERYTHING = Offers()


def need_counts(values: Any, adata: AnnData, name: str, otherwise: str, offers: Offers) -> None:
    """Say that counts are needed, and where some are."""
    data = values.data
    found = (
        f"negative values (smallest {data.min():.3g})"
        if data.min() < 0
        else f"fractional values, such as {data[data != np.rint(data)][0]:.4g}"
    )
    layers = [key for key in adata.layers if key is not None and looks_like_counts(adata.layers[key])]
    if layers:
        remedy = f"give layer={layers[0]!r}" if offers.layer else f"put them into {name}"
        remedy = f"adata.layers[{layers[0]!r}] holds counts: {remedy}."
    elif adata.raw is not None and looks_like_counts(adata.raw.X):
        remedy = "adata.raw holds counts: give adata.raw.to_adata()" + (
            ", or copy them into a layer." if offers.layer else "."
        )
    else:
        remedy = f"No layer holds counts; load them{otherwise}."
    msg = f"Counts (non-negative integers) are needed, but {name} holds {found}. {remedy}"
    raise ValueError(msg)
