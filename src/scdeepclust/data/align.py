"""New cells in the genes, and the order of genes, that a model knows."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from .checks import Offers, check_anndata, listing
from .columns import covariate_keys, names_of
from .raw import Raw, as_csr
from .read import read_genes, read_representation, without_empty_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

MIN_SHARED = 0.5  # of the model's genes; with fewer, labels say more about the gaps than about the cells


def align(
    adata: AnnData,
    var_names: list[str],
    *,
    kind: str,
    n_features: int,
    columns: list[str],
    categories: list[list[str]],
    layer: str | None,
    use_rep: str | None,
    batch_key: str | None,
    categorical_covariate_keys: Sequence[str] | None = None,
) -> Raw:
    """Read new cells as a model's training cells were read.

    Genes are matched by name; missing ones count as zero, with a warning. Columns of a representation are matched by name
    where they have names (`use_rep="X"`, or a data frame), by position otherwise. Cells of a batch, or of another category, that
    the model has not seen are taken as of none, with a warning: nothing is known of how they are shifted, so their
    features are left as they are.

    Raises
    ------
    ValueError
        Gene names repeat, fewer than half of the model's genes are there, a column of a representation is missing, or the
        values are of another kind.
    """
    check_anndata(adata)
    keys = [key for _, key in covariate_keys(batch_key, categorical_covariate_keys)]
    if use_rep is not None:
        raw = read_representation(adata, use_rep, columns)
        if raw.values.shape[1] != n_features:
            msg = f"use_rep={use_rep!r} has {raw.values.shape[1]} columns; the model was trained on {n_features}."
            raise ValueError(msg)
        return _with_covariates(raw, adata, keys, categories)
    fixed = Offers(layer=False, use_rep=False, drop_empty=False)
    if layer is not None and layer not in adata.layers:
        msg = (
            f"The model was trained on layer={layer!r}, which is not in adata.layers of these cells; there are: "
            f"{listing([name for name in adata.layers if name is not None])}. Put the same kind of values there."
        )
        raise KeyError(msg)
    raw = read_genes(adata, layer, None, counts=kind == "counts", offers=fixed, numbered=False)
    if raw.kind != kind:
        msg = (
            "The model was trained on log-normalised values, but these cells hold counts; normalise them in the same "
            "way first (sc.pp.normalize_total, sc.pp.log1p)."
        )
        raise ValueError(msg)
    raw = without_empty_cells(_ordered(raw, var_names), drop_empty=False)
    return _with_covariates(raw, adata, keys, categories)


def _ordered(raw: Raw, var_names: list[str]) -> Raw:
    have = pd.Index(raw.var_names)
    if have.has_duplicates:
        names = have[have.duplicated()].unique()
        msg = (
            f"{len(names)} gene names occur more than once: {listing(names)}. Call adata.var_names_make_unique() first."
        )
        raise ValueError(msg)
    where = have.get_indexer(pd.Index(var_names))
    missing = where < 0
    if missing.mean() > 1 - MIN_SHARED:
        msg = (
            f"Only {int((~missing).sum())} of the model's {len(var_names)} genes are in adata.var_names "
            f"(missing: {listing(np.asarray(var_names)[missing])}). Use the same kind of gene names as in training."
        )
        raise ValueError(msg)
    if missing.any():
        msg = f"{int(missing.sum())} of the model's {len(var_names)} genes are missing here and are taken as zero."
        warnings.warn(msg, UserWarning, stacklevel=4)
    # A selection matrix reorders columns and leaves those of missing genes empty in one sparse product.
    there = np.flatnonzero(~missing)
    select = sparse.csr_array(
        (np.ones(len(there), np.float32), (where[there], there)), shape=(len(have), len(var_names))
    )
    return replace(raw, values=as_csr(raw.values @ select), var_names=list(var_names))


def _with_covariates(raw: Raw, adata: AnnData, keys: list[str], categories: list[list[str]]) -> Raw:
    if not keys:
        return raw
    codes = np.full((len(raw), len(keys)), -1)
    for n, (key, known) in enumerate(zip(keys, categories, strict=True)):
        if key not in adata.obs:
            msg = (
                f"adata.obs has no column {key!r}, which the model was trained with ({listing(known)}): cells are taken as of "
                f"none of these, and nothing is corrected. Columns are: {listing(adata.obs, most=20)}."
            )
            warnings.warn(msg, UserWarning, stacklevel=4)
            continue
        found = _names(adata.obs[key])
        codes[:, n] = pd.Index(known).get_indexer(found)
        unknown = codes[:, n] < 0
        if unknown.any():
            msg = (
                f"{int(unknown.sum())} cells have categories of obs[{key!r}] that the model has not seen "
                f"({listing(found[unknown].unique())}; it knows {listing(known)}): they are taken as of none, and what "
                "sets them apart from the others is not corrected."
            )
            warnings.warn(msg, UserWarning, stacklevel=4)
    return replace(raw, covariates=codes, categories=categories)


def _names(column: pd.Series) -> pd.Series:
    """The name of each cell's category, as training has it."""
    column = column.astype("category")
    names = np.array([*names_of(column), "nan"], dtype=object)
    return pd.Series(names[column.cat.codes], column.index)
