"""Gene masking: a view is the cell with some of its genes hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def kept_genes(shape: tuple[int, int], rate: float, device: torch.device) -> Tensor:
    """Which genes each cell shows, cells x genes, each gene hidden with probability `rate`.

    Parameters
    ----------
    shape
        Cells and genes.
    rate
        Share of genes that are hidden.
    device
        Where.
    """
    return torch.rand(shape, device=device) >= rate


def kept_of(x: Tensor, kept: Tensor) -> Tensor:
    """Centred genes with hidden ones at their mean, zero, and the others scaled up to the same expected size.

    As dropout does, so that what is linear in the genes, such as principal components, is kept on average.
    """
    return x * kept * (kept.shape[1] / kept.sum(1, keepdim=True).clamp(min=1))
