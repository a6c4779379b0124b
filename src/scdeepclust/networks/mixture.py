"""A Gaussian mixture whose number of components may be known only after pretraining."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..resizable import Resizable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

LOWEST, HIGHEST = -6.0, 4.0  # log variances of components: none shrinks to a point or swallows the others


class Mixture(Resizable):
    """Weights, means and diagonal variances of Gaussian components, trainable, of the size of what is set or loaded.

    Parameters
    ----------
    n_latent
        Dimensions of the embedding.
    """

    n_steps: Tensor  # of training with the mixture, by which its weight in the objective grows

    def __init__(self, n_latent: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(0))
        self.means = nn.Parameter(torch.zeros(0, n_latent))
        self.log_variances = nn.Parameter(torch.zeros(0, n_latent))
        self.register_buffer("n_steps", torch.zeros((), dtype=torch.int64))

    def set(self, z: np.ndarray, labels: np.ndarray) -> None:
        """Take over the sizes, means and variances of clusters of embedded cells; labels from 0, none left out."""
        z, labels = self.means.new_tensor(z), torch.as_tensor(labels, device=self.means.device)
        member = nn.functional.one_hot(labels).to(z)
        sizes = member.sum(0)
        means = member.T @ z / sizes[:, None]
        squared = member.T @ (z - means[labels]).square()
        # A cluster of a few cells has no variance of its own: each is given one cell of the average cluster's.
        common = squared.sum(0) / sizes.sum()
        self.logits.data = sizes.log()
        self.means.data = means
        self.log_variances.data = ((squared + common) / (sizes[:, None] + 1)).log().clamp(LOWEST, HIGHEST)

    @torch.no_grad()
    def step(self) -> None:
        """Count a step of training, and keep variances within bounds."""
        self.n_steps += 1
        self.log_variances.clamp_(LOWEST, HIGHEST)

    def warmth(self, n_steps: int) -> Tensor:
        """Weight that grows from nothing to one over the first `n_steps` of training."""
        return ((self.n_steps + 1) / (n_steps + 1)).clamp(max=1)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.logits, self.means, self.log_variances))
