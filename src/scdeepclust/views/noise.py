"""Gaussian noise: a view is a point near the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def add_noise(x: Tensor, sd: float) -> Tensor:
    """Features with independent Gaussian noise.

    Parameters
    ----------
    x
        Cells x features, whose mean square is about one.
    sd
        Standard deviation of the noise.
    """
    return x + sd * torch.randn_like(x)
