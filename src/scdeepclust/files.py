"""Files of cells: read in any format that is known; written whole, or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .formats import reader_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

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
    what, reader = reader_of(path)
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
        zarr = new.suffix.lower() == ".zarr"
        if not zarr:
            _reserve(new, adata.__sizeof__() + OVERHEAD)
        (adata.write_zarr if zarr else adata.write_h5ad)(new)
