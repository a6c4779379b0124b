"""What a run is given, checked before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .distributed import from_rank_zero, n_processes, total

if TYPE_CHECKING:
    from .data import Raw
    from .methods import Method

MIN_CELLS = 10


def resolve_device(device: str | torch.device) -> torch.device:
    """The device to use; `"auto"` is the GPU where there is one.

    Raises
    ------
    ValueError
        There is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        msg = f"device={device!r} cannot be used here ({str(error).splitlines()[0]}); give 'cpu' or 'auto'."
        raise ValueError(msg) from error
    return found


def resolve_seed(random_state: int | np.random.Generator | None) -> int:
    """A seed from whatever a user gives; the global state is not touched."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if (
        isinstance(random_state, bool)
        or not isinstance(random_state, int | np.integer)
        or not 0 <= random_state < 2**32
    ):
        msg = f"random_state={random_state!r} must be an integer from 0 to 2**32 - 1, a numpy Generator or None."
        raise ValueError(msg)
    return int(random_state)


def check_enough_cells(raw: Raw, method: Method) -> None:
    """Refuse fewer cells than a network or the clusters need."""
    n = len(raw.obs_names)
    if n < MIN_CELLS:
        msg = f"{n} cells are too few to train on; at least {MIN_CELLS} are needed."
        raise ValueError(msg)
    if method.n_clusters is not None and n < method.n_clusters:
        msg = f"n_clusters={method.n_clusters} is more than the {n} cells there are; ask for fewer."
        raise ValueError(msg)


def check_same_genes(raw: Raw) -> None:
    """Processes must use the same genes, or one waits for ever for the others' sums."""
    if n_processes() > 1:
        first = from_rank_zero(lambda: raw.var_names)
        if total(torch.tensor(float(first != raw.var_names))):
            msg = "The processes use different genes; choose them over all cells first and name them by mask_var."
            raise ValueError(msg)


def check_batch_size(batch_size: int | None, n_cells: int) -> int:
    """Cells in a minibatch: what was asked for, or by the number of cells."""
    if batch_size is None:
        return min(256 if n_cells < 20_000 else 1024, n_cells)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 2:
        msg = f"batch_size={batch_size!r} must be an integer of at least 2."
        raise ValueError(msg)
    if batch_size > n_cells:
        msg = f"batch_size={batch_size} is more than the {n_cells} cells there are; give a smaller one or None."
        raise ValueError(msg)
    return int(batch_size)
