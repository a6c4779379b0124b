"""Files of cells: read whatever format they are in; written whole, or not at all."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anndata import AnnData

logger = logging.getLogger(__name__)

CELLS = (".h5ad", ".zarr")
OVERHEAD = 1_000_000  # bytes of an .h5ad file that are no values, at most


def read(path: str | os.PathLike) -> AnnData:
    """Read an h5ad file, a zarr store, or what 10x's Cell Ranger wrote (an ``.h5`` file, a folder with a matrix).

    Raises
    ------
    FileNotFoundError
        There is nothing of that name.
    ValueError
        It is of another format, or damaged.
    """
    path = Path(path)
    check_there(path)
    what, reader = _format(path)
    try:
        return reader(path)
    # Damaged files fail in too many ways to list: libraries raise whatever the odd bytes lead them to.
    except Exception as error:
        msg = f"{str(path)!r} cannot be read as {what}: {error}"
        raise ValueError(msg) from error


def check_there(path: str | os.PathLike) -> None:
    """Refuse an input that does not exist."""
    if not Path(path).exists():
        msg = f"There is no file or folder {str(path)!r}."
        raise FileNotFoundError(msg)


def _format(path: Path) -> tuple[str, Callable[[Path], AnnData]]:
    import anndata

    if path.suffix == ".h5":
        return "a 10x .h5 file (is it an .h5ad?)", _read_10x_h5
    if not path.is_dir():
        if path.name.removesuffix(".gz").endswith(".mtx"):
            msg = f"{str(path)!r} is the matrix of a folder that 10x wrote: give the folder, {str(path.parent)!r}."
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
        return _unique(scanpy.read_10x_h5(path, gex_only=True))


def _read_10x_mtx(path: Path) -> AnnData:
    import scanpy

    with _repeated_names():
        return _unique(scanpy.read_10x_mtx(path, var_names="gene_symbols", make_unique=False, gex_only=True))


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


def check_output(path: str | os.PathLike, others: Sequence[str], endings: Sequence[str] = CELLS) -> None:
    """Refuse, before any work, an output that would fail after it, or harm the other files of a command.

    Raises
    ------
    ValueError
        It is one of the others, lies in one, or has an unknown ending.
    OSError
        It cannot be written.
    """
    path = Path(path)
    for name in others:
        given = Path(name).resolve()
        if given in {path.resolve(), *path.resolve().parents} or (
            path.exists() and given.exists() and path.samefile(given)
        ):
            msg = f"The output {str(path)!r} is the same as {name!r}, or lies in it; give another path."
            raise ValueError(msg)
    check_ending(path, endings)
    if path.exists() and not path.is_file():
        msg = f"The output {str(path)!r} exists and is not a file; remove it, or give another path."
        raise IsADirectoryError(msg)
    check_folder(path.resolve())
    if path.exists() and not os.access(path, os.W_OK):
        msg = f"The output {str(path)!r} exists and is write-protected; give another path."
        raise PermissionError(msg)


def check_ending(path: Path, endings: Sequence[str]) -> None:
    """Refuse a format that cannot be written."""
    if path.suffix.lower() not in endings:
        msg = f"The output {str(path)!r} must end in {' or '.join(endings)}."
        raise ValueError(msg)


def check_new(folder: str | os.PathLike) -> None:
    """Refuse, before any work, a folder that exists or cannot be made.

    Raises
    ------
    OSError
        It exists, or cannot be written.
    """
    if os.path.lexists(folder):
        msg = f"{str(folder)!r} exists; remove it, or give another folder."
        raise FileExistsError(msg)
    check_folder(Path(folder).resolve())


def check_folder(path: Path) -> None:
    """Refuse a path whose folder does not exist or is write-protected."""
    if not path.parent.is_dir():
        msg = f"There is no folder {str(path.parent)!r}; create it first."
        raise FileNotFoundError(msg)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        msg = f"The folder {str(path.parent)!r} is write-protected; give another path."
        raise PermissionError(msg)


@contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place at the end: a crash leaves the old file or none.

    Raises
    ------
    OSError
        It could not be written, as when the disk is full.
    """
    path = Path(path).resolve()
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".scdeepclust-") as part:
            new = Path(part) / path.name
            yield new
            new.replace(path)
    # h5py wraps what the system says, and closes files with errors of other kinds.
    except (OSError, RuntimeError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        msg = f"{str(path)!r} could not be written: {reason}. Nothing is left of it; free some space, or give another path."
        raise OSError(msg) from error


def _reason(error: BaseException | None) -> str | None:
    """What the system said of a disk without room, anywhere in a chain of errors."""
    while error is not None:
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if getattr(error, "errno", None) == code or os.strerror(code) in str(error):
                return os.strerror(code)
        error = error.__cause__ or error.__context__
    return None


def _reserve(path: Path, n_bytes: int) -> None:
    """Let the system refuse what has no room before HDF5 meets it: on a full disk that library crashes."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
    except OSError as error:
        if _reason(error) is not None:
            raise
    path.unlink()


def write(adata: AnnData, path: str | os.PathLike) -> None:
    """Write cells as .h5ad or .zarr, whole or not at all."""
    import anndata

    # What could be read can be written again: unless told so, anndata refuses text columns of pandas' own types.
    with whole(path) as new, anndata.settings.override(allow_write_nullable_strings=True):
        if new.suffix == ".h5ad":
            _reserve(new, adata.__sizeof__() + OVERHEAD)
        (adata.write_zarr if new.suffix == ".zarr" else adata.write_h5ad)(new)
