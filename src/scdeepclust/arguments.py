"""What a run is given, checked before any work."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import torch

from .data.checks import whole_number
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
        There is no such device here, or it is neither a CPU nor a CUDA GPU: others lack double precision, or a seed.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        msg = f"device={device!r} cannot be used here ({str(error).splitlines()[0]}); give 'cpu' or 'auto'."
        raise ValueError(msg) from error
    if found.type not in {"cpu", "cuda"}:
        msg = f"device={device!r} is not supported; give 'cpu', 'cuda' or 'auto'."
        raise ValueError(msg)
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


def check_enough_cells(n: int, method: Method) -> None:
    """Refuse fewer cells than a network or the clusters need."""
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
    batch_size = whole_number("batch_size", batch_size, 2)
    if batch_size > n_cells:
        msg = f"batch_size={batch_size} is more than the {n_cells} cells there are; give a smaller one or None."
        raise ValueError(msg)
    return batch_size


def check_sample(cluster: str, n: int, size_factor: float, categories: list[str]) -> None:
    """Refuse to draw cells of what is no cluster, or none."""
    if cluster not in categories:
        msg = f"cluster={cluster!r} is none of the clusters; there are: {', '.join(map(repr, categories))}."
        raise ValueError(msg)
    whole_number("n", n)
    if not 0 < size_factor < float("inf"):
        msg = f"size_factor={size_factor!r} must be a positive number; 1 is the median depth of the training cells."
        raise ValueError(msg)


def drawn_categories(given: dict[str, str], known: dict[str, list[str]], n: int, seed: int) -> np.ndarray | None:
    """Codes of the categories of `n` cells, cells x covariates: those given, the others drawn."""
    for key in given:
        if key not in known:
            msg = f"covariates names {key!r}; the model was trained with {', '.join(map(repr, known)) or 'none'}."
            raise ValueError(msg)
    rng, codes = np.random.default_rng(seed), []
    for key, names in known.items():
        if key in given and str(given[key]) not in names:
            msg = (
                f"covariates[{key!r}]={given[key]!r} is not known to the model; it knows {', '.join(map(repr, names))}."
            )
            raise ValueError(msg)
        drawn = rng.integers(len(names), size=n)
        codes.append(np.full(n, names.index(str(given[key]))) if key in given else drawn)
    return np.column_stack(codes) if codes else None


def check_min_signal(min_signal: float) -> None:
    """Refuse what is no share."""
    if isinstance(min_signal, bool) or not isinstance(min_signal, Real) or not 0 <= min_signal < 1:
        msg = f"min_signal={min_signal!r} must be at least 0 and below 1."
        raise ValueError(msg)
