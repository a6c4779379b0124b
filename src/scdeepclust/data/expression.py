"""Values of genes that are named: to be drawn, or to start a lineage from."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from .checks import check_finite, check_in_memory, listing, looks_like_counts, need_key
from .raw import to_median_depth

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

ALL = slice(None)


def need_genes(argument: str, genes: Sequence[str], names: pd.Index) -> np.ndarray:
    """Where genes are among names; refuse none at all, and those that do not exist or are there more than once."""
    if not len(genes):
        msg = f"{argument} is empty; name one gene or more."
        raise ValueError(msg)
    for gene in genes:
        if gene not in names:
            msg = f"{argument}={gene!r} is not in adata.var_names; {nearest(gene, names)}."
            raise KeyError(msg)
        if (n_times := int((names == gene).sum())) > 1:
            msg = f"{argument}={gene!r} names {n_times} genes; call adata.var_names_make_unique() first."
            raise ValueError(msg)
    return np.array([names.get_loc(gene) for gene in genes], dtype=np.int64)


def nearest(gene: str, names: pd.Index) -> str:
    """The names most like that of a gene, whatever their case, else the first."""
    lower = {str(name).lower(): name for name in names}
    near = [lower[name] for name in get_close_matches(str(gene).lower(), lower, n=5)]
    return f"the nearest are: {listing(near)}" if near else f"there are: {listing(names)}"


def matrix(adata: AnnData, layer: str | None, argument: str) -> np.ndarray | sparse.sparray:
    """Values of all genes."""
    if layer is not None:
        need_key(argument, layer, {k: None for k in adata.layers if k is not None}, "adata.layers")
    values, name = (adata.X, "adata.X") if layer is None else (adata.layers[layer], f"adata.layers[{layer!r}]")
    if values is None:
        msg = f"adata.X is None; name the layer with the values ({argument}=...)."
        raise ValueError(msg)
    check_in_memory(adata, values, name)
    return values


def columns(adata: AnnData, genes: Sequence[str], layer: str | None, argument: str) -> np.ndarray:
    """Values of these genes, cells x genes."""
    found = matrix(adata, layer, argument)[:, need_genes("genes", genes, adata.var_names)]
    return np.asarray(found.toarray() if sparse.issparse(found) else found, dtype=float)


def log_normalised(
    adata: AnnData, genes: Sequence[str], layer: str | None, argument: str, *, cells: np.ndarray | slice = ALL
) -> tuple[np.ndarray, str]:
    """Values of genes, cells x genes, counts as the logarithm of one plus those of a cell of median depth; and their name.

    Those of `cells` are needed, so they have to be finite.
    """
    everything, values = matrix(adata, layer, argument), columns(adata, genes, layer, argument)
    name = "X" if layer is None else layer
    check_finite(values[cells], name)
    if not looks_like_counts(everything):
        return values, name
    depth = np.asarray(everything.sum(axis=1, dtype=np.float64)).ravel()
    return np.log1p(values * to_median_depth(depth)[:, None]), "log-normalised counts"


def to_be_drawn(
    adata: AnnData, genes: Sequence[str], layer: str | None, *, cells: np.ndarray | slice = ALL
) -> tuple[np.ndarray, str]:
    """As :func:`log_normalised`, but without a layer denoised values, where all of these genes and cells have some."""
    if (
        layer is None
        and "denoised" in adata.layers
        and np.isfinite(columns(adata, genes, "denoised", "layer")[cells]).all()
    ):
        layer = "denoised"
    return log_normalised(adata, genes, layer, "layer", cells=cells)
