"""Take a matrix out of an AnnData, or say in one sentence why not and what to do."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from .checks import (
    EVERYTHING,
    Offers,
    check_anndata,
    check_finite,
    check_in_memory,
    listing,
    need_counts,
    need_key,
    true_or_false,
)
from .columns import categorical, check_categories, covariate_keys, read_labels
from .genes import gene_mask
from .raw import Raw, as_csr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

MOST_COLUMNS = 5000  # of a representation, whose principal axes are found exactly
ALIKE = 1e-3  # share by which the totals of normalised cells may differ
LARGEST_LOG = 30.0  # log1p of a count of 1e13: what is above cannot be a log-normalised value


def read(  # noqa: PLR0913 keywords of the fronts
    adata: AnnData,
    *,
    layer: str | None = None,
    use_rep: str | None = None,
    mask_var: str | Sequence[bool] | np.ndarray | None = "auto",
    batch_key: str | None = None,
    categorical_covariate_keys: Sequence[str] | None = None,
    counts: bool = False,
    without_counts: str = "",
    drop_empty: bool = False,
    labels_key: str | None = None,
    offers: Offers = EVERYTHING,
) -> Raw:
    """Read the matrix that a method asks for; `adata` is not changed.

    Raises
    ------
    KeyError
        A layer, obsm, var or obs key does not exist; the message lists those that do.
    ValueError
        The values cannot serve; the message says what was found and what to do.
    """
    check_anndata(adata)
    if not adata.n_obs:
        msg = "adata holds no cell; was it subset by a label that does not exist?"
        raise ValueError(msg)
    true_or_false("drop_empty", drop_empty)
    _check_source(layer, use_rep, mask_var, counts=counts, without_counts=without_counts)
    if use_rep is not None:
        raw = read_representation(adata, use_rep)
    else:
        raw = read_genes(adata, layer, mask_var, counts=counts, otherwise=f", or {without_counts}", offers=offers)
        raw = _without_empty(raw, drop_empty=drop_empty, offers=offers)
    named = covariate_keys(batch_key, categorical_covariate_keys)
    if named:
        codes, names = zip(*[categorical(adata, *column, raw.kept) for column in named], strict=True)
        raw = replace(raw, covariates=np.column_stack(codes), categories=list(names))
    if labels_key is not None:
        raw = replace(raw, labels=read_labels(adata, labels_key, raw.kept))
    check_categories(raw, named)
    return raw


def _check_source(layer: str | None, use_rep: str | None, mask_var: Any, *, counts: bool, without_counts: str) -> None:
    """Refuse arguments that a representation leaves no use for."""
    if use_rep is None:
        return
    if layer is not None:
        msg = f"Give either layer={layer!r} or use_rep={use_rep!r}, not both."
        raise ValueError(msg)
    if counts:
        msg = f"use_rep={use_rep!r} holds no counts, which this method needs as it is set; {without_counts}."
        raise ValueError(msg)
    if mask_var is not None and not (isinstance(mask_var, str) and mask_var == "auto"):
        msg = f"mask_var chooses genes, but use_rep={use_rep!r} is taken as it is; leave mask_var out, or subset adata first."
        raise ValueError(msg)


def read_representation(adata: AnnData, use_rep: str, wanted: Sequence[str] = ()) -> Raw:
    """A representation, as it is; where its columns have names, those that are wanted, in that order."""
    if use_rep == "X":
        if adata.X is None:
            msg = "use_rep='X', but adata.X is None; name a key of adata.obsm."
            raise ValueError(msg)
        values, columns = adata.X, adata.var_names
    else:
        need_key("use_rep", use_rep, adata.obsm, "adata.obsm", also=["X"])
        values = adata.obsm[use_rep]
        columns = values.columns if isinstance(values, pd.DataFrame) else pd.Index([])
    name = f"use_rep={use_rep!r}"
    check_in_memory(adata, values, name)
    names = [str(column) for column in columns] if columns.is_unique else []
    values = values.to_numpy() if isinstance(values, pd.DataFrame) else values
    if wanted and names and names != list(wanted):
        values, names = values[:, _where(wanted, names, name)], list(wanted)
    values = values if sparse.issparse(values) else np.asarray(values)
    if values.ndim != 2 or not values.shape[1]:
        msg = f"{name} has shape {values.shape}; a matrix of cells x features is needed."
        raise ValueError(msg)
    if values.shape[1] > MOST_COLUMNS:
        msg = f"{name} has {values.shape[1]} columns; take principal components first (sc.pp.pca) and name these."
        raise ValueError(msg)
    try:
        values = np.ascontiguousarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        msg = f"{name} holds values that are not numbers ({error}); leave those columns out."
        raise ValueError(msg) from error
    check_finite(values, name)
    return Raw(values, "rep", adata.obs_names, [], np.arange(adata.n_obs), columns=names)


def _where(wanted: Sequence[str], names: Sequence[str], name: str) -> np.ndarray:
    """Where the columns that a model was trained on are among those of a representation."""
    where = pd.Index(names).get_indexer(wanted)
    if (where < 0).any():
        msg = (
            f"{name} lacks {int((where < 0).sum())} of the {len(wanted)} columns that the model was trained on: "
            f"{listing(np.asarray(wanted)[where < 0])}. Nothing can stand in for them; make them as in training."
        )
        raise ValueError(msg)
    return where


def read_genes(
    adata: AnnData,
    layer: str | None,
    mask_var: Any,
    *,
    counts: bool,
    otherwise: str = "",
    offers: Offers = EVERYTHING,
    numbered: bool = True,
) -> Raw:
    """Counts or log-normalised values of the genes to use; `otherwise` says what to do where counts are missing.

    Where names of genes repeat, they are `numbered` as AnnData would.
    """
    if layer is not None:
        need_key("layer", layer, {k: None for k in adata.layers if k is not None}, "adata.layers")
    values = adata.X if layer is None else adata.layers[layer]
    name = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    if values is None:
        named = ["a layer with counts (layer=...)"] * offers.layer + ["a representation (use_rep=...)"] * offers.use_rep
        msg = f"adata.X is None; {'name ' + ' or '.join(named) if named else 'put values there'}."
        raise ValueError(msg)
    check_in_memory(adata, values, name)
    values = as_csr(values)
    check_finite(values.data, name)
    kind = _kind(values, adata, name, counts=counts, otherwise=otherwise, offers=offers)
    raw = Raw(
        values,
        kind,
        adata.obs_names,
        [str(v) for v in (_numbered(adata.var_names) if numbered else adata.var_names)],
        kept=np.arange(adata.n_obs),
        totals=values.sum(1),
        n_genes=adata.n_vars,
    )
    keep = gene_mask(adata, raw, mask_var)
    return raw if keep is None else raw.genes(keep)


def _numbered(names: pd.Index) -> pd.Index:
    if names.is_unique:
        return names
    from anndata.utils import make_index_unique

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on names such as gene-1, of which there may be two kinds
        return make_index_unique(names.astype(str))


def _kind(values: sparse.csr_array, adata: AnnData, name: str, *, counts: bool, otherwise: str, offers: Offers) -> str:
    if values.nnz and values.data.min() < 0:
        if counts:
            need_counts(values, adata, name, otherwise, offers)
        named = ["name the layer with counts (layer=...)"] * offers.layer
        named += ["take the values as they are with use_rep='X'"] * offers.use_rep
        msg = (
            f"{name} holds negative values (smallest {values.data.min():.3g}), so neither counts nor log-normalised "
            f"values; {', or '.join(named) or 'such are needed'}."
        )
        raise ValueError(msg)
    integer = bool((values.data == np.rint(values.data)).all())
    if counts and not integer:
        need_counts(values, adata, name, otherwise, offers)
    if integer:
        return "counts"
    if values.data.max() > LARGEST_LOG:
        totals = values.sum(1)
        if np.ptp(totals) < ALIKE * totals.mean():
            otherwise = ", or name the layer with counts (layer=...)" if offers.layer else ""
            msg = (
                f"{name} holds fractional values, and all cells sum to {totals.mean():.6g}: they are normalised, but not logged. "
                f"Take their logarithm (sc.pp.log1p){otherwise}."
            )
            raise ValueError(msg)
        msg = (
            f"{name} holds fractional values up to {values.data.max():.4g}: neither counts nor log-normalised values. "
            "Round estimated counts into a layer (adata.layers['counts'] = np.rint(adata.X)) and name it with layer=, "
            "or normalise first (sc.pp.normalize_total, sc.pp.log1p)."
        )
        raise ValueError(msg)
    return "lognorm"


def _without_empty(raw: Raw, *, drop_empty: bool, offers: Offers) -> Raw:
    """Refuse, or drop if asked, genes that no cell has and cells that have no gene."""
    otherwise = ", or give drop_empty=True to leave them out" if offers.drop_empty else ""
    zero = np.bincount(raw.values.indices, minlength=raw.values.shape[1]) == 0
    if zero.any():
        if not drop_empty:
            msg = (
                f"{zero.sum()} genes are zero in every cell: {listing(np.asarray(raw.var_names)[zero])}. Remove them "
                f"with sc.pp.filter_genes(adata, min_cells=1){otherwise}."
            )
            raise ValueError(msg)
        raw = raw.genes(~zero)
    if raw.values.shape[1] < 2:
        msg = f"{raw.values.shape[1]} genes with counts are too few; at least 2 are needed."
        raise ValueError(msg)
    return without_empty_cells(raw, drop_empty=drop_empty, otherwise=otherwise)


def without_empty_cells(raw: Raw, *, drop_empty: bool, otherwise: str = "") -> Raw:
    """Refuse, or drop if asked, cells that have none of the genes used."""
    empty = np.diff(raw.values.indptr) == 0
    if empty.any() and not drop_empty:
        msg = (
            f"{empty.sum()} cells have no counts in the genes used: {listing(raw.obs_names[empty])}. Remove these "
            f"cells (sc.pp.filter_cells(adata, min_counts=1) finds those without any counts){otherwise}."
        )
        raise ValueError(msg)
    return raw.cells(~empty) if empty.any() else raw
