"""All cells through an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ..data import Cells


@torch.no_grad()
def embed(net: nn.Module, cells: Cells, index: Tensor | None = None) -> Tensor:
    """Embedding of all cells of this process (or of some), cells x latent, in their order."""
    training = net.training
    net.eval()
    z = torch.cat([net.encode(batch.x) for batch in cells.chunks(index)])
    net.train(training)
    return z


class Identity(nn.Module):
    """An encoder that leaves features as they are."""

    def encode(self, x: Tensor) -> Tensor:
        """The features themselves."""
        return x
