"""Which genes are used: those that are marked, or else the most variable ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from .checks import need_key

if TYPE_CHECKING:
    from anndata import AnnData

    from .raw import Raw

N_TOP_GENES = 2000  # of scanpy's and scvi-tools' tutorials; between 500 and 4,000 genes results hardly differ


def gene_mask(adata: AnnData, raw: Raw, mask_var: Any) -> np.ndarray | None:
    """Which genes to use; None for all."""
    if mask_var is None:
        return None
    if isinstance(mask_var, str) and mask_var == "auto":
        if "highly_variable" not in adata.var:
            return _highly_variable(raw) if raw.values.shape[1] > N_TOP_GENES else None
        name, mask = "adata.var['highly_variable']", adata.var["highly_variable"].to_numpy()
    elif isinstance(mask_var, str):
        need_key("mask_var", mask_var, adata.var, "adata.var", also=["auto"])
        name, mask = f"mask_var={mask_var!r}", adata.var[mask_var].to_numpy()
    else:
        if isinstance(mask_var, pd.Series) and not _in_place(mask_var.index, adata.var_names):
            msg = (
                "mask_var is a pandas.Series whose index is not adata.var_names in their order; align it first "
                "(mask_var.loc[adata.var_names]), or give mask_var.to_numpy()."
            )
            raise ValueError(msg)
        name, mask = "mask_var", np.asarray(mask_var)
    if mask.dtype == object and (missing := int(pd.isna(mask).sum())):
        msg = (
            f"{name} has {missing} missing values, as concatenated cells may have; fill them "
            "(.fillna(False).astype(bool)), or give mask_var=None to use all genes."
        )
        raise ValueError(msg)
    if mask.dtype == object and all(isinstance(value, bool | np.bool_) for value in mask.flat):
        mask = mask.astype(bool)  # as filling missing values leaves it
    if mask.shape != (adata.n_vars,) or mask.dtype != bool:
        msg = (
            f"{name} must hold one True or False for each of the {adata.n_vars} genes; found {mask.dtype} {mask.shape}."
        )
        raise ValueError(msg)
    if mask.sum() < 2:
        msg = f"{name} leaves {int(mask.sum())} genes; at least 2 are needed."
        raise ValueError(msg)
    return mask


def _in_place(index: pd.Index, names: pd.Index) -> bool:
    """Whether a table's rows are genes in their order: by name, or by number."""
    return index.equals(names) or index.equals(pd.RangeIndex(len(names)))


def _highly_variable(raw: Raw) -> np.ndarray:
    """The most variable genes by scanpy: Seurat v3 on counts, Seurat on log-normalised values."""
    import scanpy as sc
    from anndata import AnnData as Anndata

    def table(flavor: str, values: sparse.csr_array) -> pd.DataFrame:
        bare = Anndata(sparse.csr_matrix(values))  # older scanpy does not know sparse arrays here
        return sc.pp.highly_variable_genes(
            bare, n_top_genes=N_TOP_GENES, flavor=flavor, inplace=False, check_values=False
        )

    if raw.kind == "lognorm":
        found = table("seurat", raw.values)
    else:
        try:
            found = table("seurat_v3", raw.values)
        except ValueError:  # its loess fails where many genes share a mean, as in very small data
            found = table("seurat", raw.values.log1p())
    return found["highly_variable"].to_numpy(dtype=bool)
