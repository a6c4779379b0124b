"""Where a data set comes from: a folder of files, scanpy's folder, or scanpy itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from . import _scanpy

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

VARIABLE = "SCDEEPCLUST_DATASETS"
NAMES: list[str] = []  # in the order the finders are made


def finder(name: str, title: str, labels: str, paper: str, *, labelled: bool = True) -> Callable[[], AnnData]:
    """Make the public function that finds one data set, with the docstring that help() shows."""

    def find() -> AnnData:
        return load(name, labelled=labelled)

    NAMES.append(name)
    find.__name__ = find.__qualname__ = name
    find.__module__ = f"{__package__}.public"
    find.__doc__ = _DOC.format(name=name, title=title, labels=labels, paper=paper, otherwise=_otherwise(name))
    return find


def where(name: str) -> str:
    """Say where a data set would come from: a file, scanpy, or 'not found'."""
    if path := _path(name):
        return str(path)
    return _scanpy.FETCH[name][1] if name in _scanpy.FETCH else "not found"


def load(name: str, *, labelled: bool = True) -> AnnData:
    """Read a data set from the first place that has it."""
    import anndata

    path = _path(name)
    if path is None:
        return _fetch(name)
    adata = anndata.read_h5ad(path)
    if labelled and "cell_type" not in adata.obs:
        msg = f"{path} has no obs['cell_type']: it is not the {name} of this function; move it or set {VARIABLE}."
        raise ValueError(msg)
    if labelled:
        adata.obs["cell_type"] = adata.obs["cell_type"].astype("category")
    adata.uns.setdefault("source", {"X": "not stated", "repo": str(path)})
    return adata


def _fetch(name: str) -> AnnData:
    remedy = f"put {name}.h5ad (with obs['cell_type']) into a folder and set the environment variable {VARIABLE} to it."
    if name not in _scanpy.FETCH:
        msg = f"Dataset {name!r} was not found: {remedy}"
        raise FileNotFoundError(msg)
    try:
        return _scanpy.FETCH[name][0]()
    except OSError as error:  # no network, or the server does not answer
        msg = f"Dataset {name!r} was not found and scanpy could not download it ({error}): go online, or {remedy}"
        raise FileNotFoundError(msg) from error


def _path(name: str) -> Path | None:
    own = os.environ.get(VARIABLE)
    folder = Path(own).expanduser() if own else None
    if folder and not folder.is_dir():
        msg = f"The environment variable {VARIABLE} names {own!r}, which is not a folder: correct or unset it."
        raise FileNotFoundError(msg)
    if folder and (found := _inside(folder, name)):
        return found
    import scanpy

    return _inside(Path(scanpy.settings.datasetdir), name)


def _inside(folder: Path, name: str) -> Path | None:
    paths = (folder / f"{name}.h5ad", folder / f"{name}_hvg3k.h5ad")
    return next((path for path in paths if path.is_file()), None)


def _otherwise(name: str) -> str:
    return f"; failing both, {_scanpy.FETCH[name][1]}" if name in _scanpy.FETCH else ""


_DOC = """{title}

    {labels}

    The file ``{name}.h5ad`` or ``{name}_hvg3k.h5ad`` (raw counts of 3,000 highly variable genes) is looked for in
    the folder named by the environment variable ``SCDEEPCLUST_DATASETS``, then in
    ``scanpy.settings.datasetdir``{otherwise}.

    Returns
    -------
    The cells, with labels in ``obs`` and ``uns["source"]``: what ``X`` is, citation and licence.

    Raises
    ------
    FileNotFoundError
        If no place has it; the message says where to put it.

    References
    ----------
    {paper}

    Examples
    --------
    >>> from scdeepclust.datasets import {name}
    >>> adata = {name}()  # doctest: +SKIP
    """
