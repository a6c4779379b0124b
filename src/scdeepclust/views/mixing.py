"""Neighbour mixup: a view is a point between the cell and one like it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def mix(x: Tensor, neighbor: Tensor) -> Tensor:
    """Features on the way from each cell to its neighbour, at most half of it, drawn uniformly for each cell.

    Zhang et al., ICLR 2018, arXiv 1710.09412, mix any two examples; cells that are not neighbours would mix into
    doublets, which are no cells.

    Parameters
    ----------
    x
        Cells x features.
    neighbor
        The same of one neighbour of each.
    """
    return x.lerp(neighbor, torch.rand(len(x), 1, device=x.device) / 2)
