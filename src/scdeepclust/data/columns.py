"""What is read of the columns of `obs`: covariates such as batches, labels for a method that is told some, forgotten batches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .checks import listing, need_key, one_name, several_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from .raw import Raw

# What columns with batches are called. A cluster has one category only from 90 % of its cells on, if that category has not
# most cells anyway; it has some only where categories of a third of all cells have less than a tenth of their share of it.
# Fewer than a fifth of all cells in such clusters may be a type of cells that one batch lacks.
BATCH_NAMES = re.compile(
    r"(batch|sample|donor|patient|subject|individual|library|lane|run|plate|replicate|technology|platform|chemistry|protocol|"
    r"dataset|study|orig\.ident)([_. ]?(id|name|key))?s?",
    re.IGNORECASE,
)
PURE, COMMON, MANY_CELLS, FEWEST_OF_A_BATCH = 0.9, 0.6, 0.2, 20
SCARCE, LACKED = 0.1, 1 / 3


def covariate_keys(batch_key: str | None, categorical_covariate_keys: Sequence[str] | None) -> list[tuple[str, str]]:
    """Columns of `obs` with covariates, batches first, each after the name of its argument."""
    argument, others = "categorical_covariate_keys", categorical_covariate_keys
    others = [] if others is None else several_names(argument, others, single=False)
    first = [] if batch_key is None else [("batch_key", batch_key)]
    named = [*first, *((argument, key) for key in others)]
    keys = [key for _, key in named]
    for argument, key in named:
        one_name(argument, key)
    if len(set(keys)) < len(keys):
        msg = f"batch_key and categorical_covariate_keys name a column twice ({listing(keys)}); name each once."
        raise ValueError(msg)
    return named


def categorical(adata: AnnData, argument: str, key: str, kept: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Codes and names of the categories of some cells, each of which must have one."""
    need_key(argument, key, adata.obs, "adata.obs")
    column = adata.obs[key].iloc[kept].astype("category").cat.remove_unused_categories()
    if column.isna().any():
        what = "batch" if argument == "batch_key" else "category"
        msg = f"{argument}={key!r}: {int(column.isna().sum())} cells have no {what}; name it or drop them."
        raise ValueError(msg)
    names = names_of(column)
    if len(set(names)) < len(names):
        msg = f"{argument}={key!r}: different categories have the same name ({listing(names)}); make them one type, such as str."
        raise ValueError(msg)
    return column.cat.codes.to_numpy(dtype=np.int64), names


def names_of(column: pd.Series) -> list[str]:
    """Names of the categories of a column, the same in all files: numbers become floats beside missing values."""
    return [str(int(c) if isinstance(c, float | np.floating) and c.is_integer() else c) for c in column.cat.categories]


def check_categories(raw: Raw, named: list[tuple[str, str]]) -> None:
    """Refuse categories of a single cell, of which nothing can be learned: such a column is no category at all."""
    for n, (argument, key) in enumerate(named):
        sizes = np.bincount(raw.covariates[:, n], minlength=len(raw.categories[n]))
        if (sizes == 1).any() and len(sizes) > 1:
            single = np.asarray(raw.categories[n])[sizes == 1]
            msg = (
                f"{argument}={key!r}: {len(single)} of {len(sizes)} categories hold a single cell: {listing(single)}. "
                "Join them with others or drop these cells; a column of numbers cannot serve."
            )
            raise ValueError(msg)


def read_labels(adata: AnnData, labels_key: str, kept: np.ndarray) -> np.ndarray:
    """Codes of labels that a method is told of some cells, -1 for missing ones."""
    need_key("labels_key", labels_key, adata.obs, "adata.obs")
    column = adata.obs[labels_key].iloc[kept].astype("category").cat.remove_unused_categories()
    if len(column.cat.categories) < 2:
        msg = (
            f"labels_key={labels_key!r} holds {len(column.cat.categories)} label(s) "
            f"({listing(column.cat.categories)}); at least 2 are needed to tell cells apart."
        )
        raise ValueError(msg)
    return column.cat.codes.to_numpy(dtype=np.int64)


def separating_batches(obs: pd.DataFrame, labels: pd.Series) -> tuple[str, list[str], float, bool] | None:
    """The column that is a batch by its name, and of which clusters that hold many of the cells have one category, or some, only.

    Returns
    -------
    Its name, these clusters, their share of the cells, and whether each has one category only; None if there is no such
    column. Of several that which explains most cells.
    """
    known, best = labels.notna().to_numpy(), None
    labels = labels[known].reset_index(drop=True)  # names of cells may repeat
    for name in map(str, obs.columns):
        if not BATCH_NAMES.fullmatch(name) or name not in obs:
            continue
        column = obs[name][known].reset_index(drop=True)
        overall = column.value_counts(normalize=True)
        overall = overall[overall > 0]
        if not 1 < len(overall) <= len(labels) / FEWEST_OF_A_BATCH:
            continue
        counts = pd.crosstab(labels, column)
        found, sizes = counts.to_numpy(), counts.to_numpy().sum(1, keepdims=True)
        share = found.sum(0) / found.sum()
        one = ((found >= PURE * sizes) & (share <= COMMON)).any(1)
        lacked = (
            found < SCARCE * sizes * share
        ) @ share  # share of all cells, in the categories that a cluster hardly has
        some = (lacked >= LACKED) & (lacked * sizes[:, 0] >= FEWEST_OF_A_BATCH)
        apart = counts.index[one | some]
        cells = float(labels.isin(apart).mean())
        if cells >= MANY_CELLS and (best is None or cells > best[2]):
            best = name, [str(cluster) for cluster in apart], cells, bool(one[one | some].all())
    return best
