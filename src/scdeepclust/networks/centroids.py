"""Cluster centres whose number may be known only after pretraining."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..resizable import Resizable, overwritten


class Centroids(Resizable):
    """A trainable ``n_clusters`` x ``n_latent`` matrix that takes the size of whatever is set or loaded.

    Parameters
    ----------
    n_latent
        Dimensions of the embedding.
    """

    def __init__(self, n_latent: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(0, n_latent))

    def set(self, values: Tensor) -> None:
        """Take over `values`, in number and in place."""
        self.weight.data = overwritten(self.weight.data, values.detach().to(self.weight))

    def __len__(self) -> int:
        return len(self.weight)
