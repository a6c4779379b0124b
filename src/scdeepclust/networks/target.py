"""What soft assignments are pulled towards while a network trains, and where clusters that it lost are put back."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..distributed import gathered, total
from ..losses.clustering.hardening import sharpen, student_t
from ..resizable import Resizable, overwritten

if TYPE_CHECKING:
    from collections.abc import Iterable


class SharpenedTarget(Resizable):
    """The target as the network stood at the last refresh.

    Keeps a frozen copy of the encoder, the centres and the clusters' total masses instead of a table of cells x
    clusters: any minibatch's target follows from these, so cells may be streamed, sharded and shuffled.

    Parameters
    ----------
    encoder
        The network that embeds cells.
    centroids
        Module with the cluster centres as `weight`.
    alpha
        Degrees of freedom of :func:`student_t`.
    power, frequency_power
        Exponents of :func:`sharpen`.
    """

    def __init__(
        self, encoder: nn.Module, centroids: nn.Module, *, alpha: float, power: float, frequency_power: float
    ) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(requires_grad=False)
        self.centroids = copy.deepcopy(centroids).requires_grad_(requires_grad=False)
        self.register_buffer("frequency", torch.zeros(0))
        self.register_buffer("n_revivals", torch.zeros(1, dtype=torch.int64))
        self.alpha, self.power, self.frequency_power = alpha, power, frequency_power
        self._labels: Tensor | None = None  # of the cells looked at, as of the last refresh

    def _load_from_state_dict(self, *args: object) -> None:
        self._labels = None
        super()._load_from_state_dict(*args)

    @torch.no_grad()
    def refresh(self, encoder: nn.Module, centroids: nn.Module, batches: Iterable) -> tuple[Tensor, Tensor]:
        """Take over the current network; the batches are of the same cells each time.

        Returns
        -------
        The number of cells whose label this changed, and the number of cells in each cluster; over all processes.
        """
        n_clusters, n_before = len(centroids.weight), len(self.centroids.weight)
        goes_on = self._labels is None and n_before == n_clusters  # from a checkpoint, which has no labels
        earlier = copy.deepcopy(self) if goes_on else None
        self.encoder.load_state_dict(encoder.state_dict())
        self.centroids.set(centroids.weight)
        mass, found, before = self.centroids.weight.new_zeros(n_clusters), [], []
        for batch in batches:
            log_q = self.log_q(batch.x)
            mass += log_q.exp().sum(0)
            found.append(log_q.argmax(1))
            if goes_on:
                before.append(earlier.log_q(batch.x).argmax(1))
        labels, known = torch.cat(found), torch.cat(before) if goes_on else self._labels
        changed = (labels != known).sum() if n_before == n_clusters else mass.new_tensor(len(labels))
        self._labels, self.frequency = labels, overwritten(self.frequency, total(mass))
        return total(changed[None].to(mass)), self._sizes(labels)

    @torch.no_grad()
    def sizes(self, batches: Iterable) -> Tensor:
        """Cells in each cluster by the frozen network, over all processes."""
        return self._sizes(torch.cat([self.log_q(batch.x).argmax(1) for batch in batches]))

    def _sizes(self, labels: Tensor) -> Tensor:
        weight = self.centroids.weight
        return total(labels.bincount(minlength=len(weight)).to(weight))

    def log_q(self, x: Tensor) -> Tensor:
        """Log of the soft assignment by the frozen network."""
        return student_t(self.encoder(x), self.centroids.weight, self.alpha)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Target of a minibatch of features, cells x clusters."""
        return sharpen(self.log_q(x), self.frequency, power=self.power, frequency_power=self.frequency_power)


@torch.no_grad()
def farthest(encoder: nn.Module, centroids: Tensor, n: int, batches: Iterable) -> Tensor:
    """The `n` embedded cells that are farthest from any centre, and from each other: one a new centre."""
    z = gathered(torch.cat([encoder(batch.x) for batch in batches]))
    nearest = torch.cdist(z, centroids).amin(1) if len(centroids) else z.norm(dim=1)
    chosen = []
    for _ in range(n):
        chosen.append(z[nearest.argmax()])
        nearest = torch.minimum(nearest, (z - chosen[-1]).norm(dim=1))
    return torch.stack(chosen)
