"""How loops are compiled by numba."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile for good: next to the source or in the user's cache, or if nothing can be written, for this process."""
    try:
        return njit(function, **options, nogil=True, cache=True)
    except RuntimeError:
        return njit(function, **options, nogil=True)
