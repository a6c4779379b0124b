"""What a run reads of an AnnData, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


def median_depth(totals: np.ndarray) -> float:
    """Depth of the median cell that has any counts."""
    return float(np.median(totals[totals > 0])) if totals.any() else 1.0


def to_median_depth(totals: np.ndarray) -> np.ndarray:
    """What the counts of each cell are multiplied by for that depth."""
    return median_depth(totals) / np.maximum(totals, 1e-6)


@dataclass(frozen=True)
class Raw:
    """What a run reads from an AnnData.

    Parameters
    ----------
    values
        CSR (genes) or a dense array (a representation), float32.
    kind
        `"counts"`, `"lognorm"` or `"rep"`.
    obs_names
        Names of the cells.
    var_names
        Names of the genes used; empty for a representation.
    covariates
        Codes of each cell's categories, cells x covariates; -1 for a category that has no code.
    categories
        Names of the categories of each covariate; batches are the first.
    columns
        Names of the columns of a representation, where they have names.
    labels
        Codes of each cell's known label, -1 for cells without; only where a method asks for labels.
    kept
        Which cells of the AnnData these are: all, unless empty cells were dropped.
    totals
        Sum of each cell over all genes, used or not: depth is a matter of the cell, not of the genes chosen.
    n_genes
        How many genes these sums run over.
    """

    values: Any
    kind: str
    obs_names: pd.Index
    var_names: list[str]
    kept: np.ndarray
    totals: np.ndarray | None = None
    n_genes: int = 0
    covariates: np.ndarray | None = None
    categories: list[list[str]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.obs_names)

    def genes(self, keep: np.ndarray) -> Raw:
        """The same cells with some of the genes."""
        names = [self.var_names[i] for i in np.flatnonzero(keep)]
        return replace(self, values=as_csr(self.values[:, keep]), var_names=names)

    def apart(self) -> Raw:
        """The same with values of its own: those of the AnnData may be changed in place."""
        return replace(self, values=self.values.copy())

    def cells(self, keep: np.ndarray) -> Raw:
        """Some of the cells, named by a mask or by ascending positions."""
        if len(np.flatnonzero(keep) if keep.dtype == bool else keep) == len(self):
            return self
        return replace(
            self,
            values=self.values[keep],
            obs_names=self.obs_names[keep],
            kept=self.kept[keep],
            totals=None if self.totals is None else self.totals[keep],
            covariates=None if self.covariates is None else self.covariates[keep],
            labels=None if self.labels is None else self.labels[keep],
        )


def spread(values: np.ndarray, where: np.ndarray | Sequence[int], n_obs: int, *, missing: float = np.nan) -> np.ndarray:
    """Values of some cells (cells, or cells x columns) at their places among all, and what the others have instead."""
    found = np.full((n_obs, *np.shape(values)[1:]), missing, dtype=np.asarray(values).dtype)
    found[where] = values
    return found


def with_data(values: sparse.csr_array, data: np.ndarray) -> sparse.csr_array:
    """Other values in the same places, which are shared and not copied."""
    return sparse.csr_array((data, values.indices, values.indptr), shape=values.shape)


def over_rows(values: sparse.csr_array, divisor: np.ndarray) -> sparse.csr_array:
    """Each row divided by a number of its own."""
    return with_data(values, values.data / np.repeat(divisor, np.diff(values.indptr)))


def as_csr(values: Any) -> sparse.csr_array:
    """Float32 CSR with sorted indices and no stored zeros; the caller's arrays are never written to."""
    given = values
    values = sparse.csr_array(
        values if sparse.issparse(values) else np.atleast_2d(np.asarray(values, dtype=np.float32))
    )
    values = values.astype(np.float32, copy=False)
    if not values.has_canonical_format or (values.nnz and not values.data.all()):
        values = values.copy() if sparse.issparse(given) else values
        values.sum_duplicates()
        values.eliminate_zeros()
    return values
