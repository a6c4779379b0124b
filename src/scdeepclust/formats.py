"""Formats that files of cells are in: h5ad, zarr, and what 10x's Cell Ranger writes."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from anndata import AnnData

logger = logging.getLogger(__name__)

TABLES = {".csv", ".tsv", ".txt", ".gz", ".xlsx"}


def reader_of(path: Path) -> tuple[str, Callable[[Path], AnnData]]:
    """What a file or folder should hold, and what reads it.

    Raises
    ------
    ValueError
        It is of no known format.
    """
    import anndata

    if path.suffix == ".h5":
        return "a 10x .h5 file (is it an .h5ad?)", _read_10x_h5
    if not path.is_dir():
        if path.name.removesuffix(".gz").endswith(".mtx"):
            msg = f"{str(path)!r} is the matrix of a folder that 10x wrote: give the folder, {str(path.parent)!r}."
            raise ValueError(msg)
        if path.suffix.lower() in TABLES:
            msg = (
                f"{str(path)!r} is a table; read are h5ad files, zarr stores, and 10x's .h5 files and matrix folders. Make one of "
                "it first: scanpy.read_text (.T where genes are rows), then .write_h5ad."
            )
            raise ValueError(msg)
        return "an h5ad file", anndata.read_h5ad
    names = {child.name for child in path.iterdir()}
    if names & {"zarr.json", ".zgroup", ".zmetadata"}:
        return "a zarr store", anndata.read_zarr
    if names & {"matrix.mtx", "matrix.mtx.gz"}:
        return "a matrix folder of 10x", _read_10x_mtx
    msg = f"The folder {str(path)!r} is neither a zarr store nor a matrix folder of 10x (with matrix.mtx or matrix.mtx.gz)."
    inside = sorted(folder.parent for folder in path.glob("*/matrix.mtx*"))
    prefixed = sorted(name for name in names if name.endswith(("_matrix.mtx", "_matrix.mtx.gz")))
    if inside:
        msg += f" Did you mean {str(next((f for f in inside if 'filtered' in f.name), inside[0]))!r}?"
    elif prefixed:
        msg += f" Take the prefix off its files: {prefixed[0]!r} is to be 'matrix.mtx' (.gz), and so on."
    raise ValueError(msg)


def _read_10x_h5(path: Path) -> AnnData:
    import scanpy

    with _repeated_names():
        return _unique(_genes_alone(scanpy.read_10x_h5(path, gex_only=False)))


def _read_10x_mtx(path: Path) -> AnnData:
    import scanpy

    with _repeated_names():
        return _unique(
            _genes_alone(scanpy.read_10x_mtx(path, var_names="gene_symbols", make_unique=False, gex_only=False))
        )


def _genes_alone(adata: AnnData) -> AnnData:
    """Without antibodies and guides that were counted beside genes, and say so."""
    if "feature_types" not in adata.var:
        return adata
    kinds = adata.var["feature_types"].astype(str)
    other = (kinds != "Gene Expression").to_numpy()
    if not other.any():
        return adata
    found = ", ".join(f"{n} of {kind}" for kind, n in kinds[other].value_counts().items())
    logger.info("left out what is no gene: %s", found)
    return adata[:, ~other].copy()


@contextmanager
def _repeated_names() -> Iterator[None]:
    """Let names repeat until they are numbered."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variable names are not unique")
        yield


def _unique(adata: AnnData) -> AnnData:
    """Number names of genes that repeat, and say so: the one that keeps its name may not be the one that is meant."""
    repeated = adata.var_names[adata.var_names.duplicated()].unique()
    if len(repeated):
        from .data.checks import listing

        logger.warning(
            "%d names of genes repeat (%s): the first of each keeps its name, others are numbered (%s-1, ...).",
            len(repeated),
            listing(repeated),
            repeated[0],
        )
        adata.var_names_make_unique()
    return adata
