"""How sure a mean over cells is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def standard_error(values: Tensor) -> Tensor:
    """Of the mean of values (cells); NaN of a single one."""
    if len(values) < 2:
        return values.new_full((), float("nan"))
    return values.std() / len(values) ** 0.5
