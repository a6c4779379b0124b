"""Genes that a user names, and their values."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


def need_genes(argument: str, genes: Sequence[str], names: pd.Index) -> None:
    """Refuse genes that do not exist or are there more than once."""
    for gene in genes:
        if gene not in names:
            msg = f"{argument} names {gene!r}, which is not in adata.var_names; {_nearest(gene, names)}."
            raise KeyError(msg)
        if (n_times := int((names == gene).sum())) > 1:
            msg = f"{argument}: {gene!r} is there {n_times} times; call adata.var_names_make_unique() first."
            raise ValueError(msg)


def _nearest(gene: str, names: pd.Index) -> str:
    """The names most like it, whatever their case, else the first."""
    from ..data.checks import listing

    lower = {str(name).lower(): name for name in names}
    near = [lower[name] for name in get_close_matches(str(gene).lower(), lower, n=5)]
    return f"the nearest are: {listing(near)}" if near else f"there are: {listing(names)}"
