"""A run's state on disk, so that it can be stopped at any epoch and go on as if it had not been."""

from __future__ import annotations

import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch


def fingerprint(settings: dict[str, Any], arrays: list[np.ndarray]) -> str:
    """A short name of what a run was asked to do and on which values."""
    check = 0
    for array in arrays:
        check = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1), check)
    return json.dumps(settings, sort_keys=True, default=str) + f"#{check:08x}"


class Checkpoint:
    """One file with everything needed to go on.

    Parameters
    ----------
    path
        The file; its folder must exist.
    fingerprint
        What the run is, to refuse a file that another run left there.
    """

    def __init__(self, path: str | os.PathLike, fingerprint: str) -> None:
        self.path, self.fingerprint = Path(path), fingerprint
        if not self.path.parent.is_dir():
            msg = f"checkpoint={str(path)!r}: the folder {str(self.path.parent)!r} does not exist; create it first."
            raise FileNotFoundError(msg)
        if self.path.is_dir():
            msg = f"checkpoint={str(path)!r} is a folder; give the path of a file, such as {str(self.path / 'run.ckpt')!r}."
            raise IsADirectoryError(msg)
        if not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
            msg = f"checkpoint={str(path)!r} cannot be written; choose a path with write permission."
            raise PermissionError(msg)

    def load(self) -> dict[str, Any] | None:
        """The stored state, or None where nothing has been stored yet."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            stored = state["fingerprint"]
        except (OSError, RuntimeError, EOFError, LookupError, TypeError, pickle.UnpicklingError) as error:
            msg = f"checkpoint={str(self.path)!r} is not a checkpoint of scdeepclust or is damaged; give another path."
            raise ValueError(msg) from error
        if stored != self.fingerprint:
            msg = (
                f"checkpoint={str(self.path)!r} belongs to a run with other data, parameters or version; delete it, or give "
                "another path, to start afresh."
            )
            raise ValueError(msg)
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the stored state in one step, so that a crash leaves the old or the new one."""
        part = self.path.with_name(f"{self.path.name}.part")
        torch.save({**state, "fingerprint": self.fingerprint}, part)
        part.replace(self.path)
