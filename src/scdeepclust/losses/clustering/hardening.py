"""Cluster assignment hardening: soft assignments are pulled towards a sharpened version of themselves.

Source: Xie, Girshick, Farhadi, "Unsupervised deep embedding for clustering analysis", ICML 2016, arXiv 1511.06335.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...distributed import total

if TYPE_CHECKING:
    from collections.abc import Iterable


def student_t(z: Tensor, centroids: Tensor, alpha: float = 1.0) -> Tensor:
    r"""Log of the soft assignment of cells to clusters by a Student t kernel.

    :math:`q_{ik} \propto (1 + \lVert z_i - \mu_k \rVert^2 / \alpha)^{-(\alpha + 1) / 2}`, rows of :math:`q` summing to
    one. In logs, because far cells underflow otherwise.

    Parameters
    ----------
    z
        Embedding, cells x latent.
    centroids
        Cluster centres, clusters x latent.
    alpha
        Degrees of freedom; small values have heavier tails.

    Returns
    -------
    :math:`\log q`, cells x clusters.
    """
    squared = z.square().sum(1, keepdim=True) + centroids.square().sum(1) - 2 * z @ centroids.T
    return (-(alpha + 1) / 2 * torch.log1p(squared.clamp_min(0) / alpha)).log_softmax(1)


def sharpen(log_q: Tensor, frequency: Tensor, *, power: float = 2.0, frequency_power: float = 1.0) -> Tensor:
    r"""Target distribution :math:`p_{ik} \propto q_{ik}^a / f_k^b`, rows summing to one.

    Parameters
    ----------
    log_q
        Log of the soft assignment, cells x clusters.
    frequency
        :math:`f_k = \sum_i q_{ik}` over **all** cells. A minibatch's own sums are noisy and give rare clusters huge
        weights.
    power
        :math:`a`; 2 in the paper, smaller is gentler on cells in transition.
    frequency_power
        :math:`b`; 1 in the paper pulls towards clusters of equal size, 0 leaves rare types alone.
    """
    return (power * log_q - frequency_power * frequency.clamp_min(1e-12).log()).softmax(1)


def hardening(p: Tensor, log_q: Tensor) -> Tensor:
    r"""Mean over cells of :math:`\mathrm{KL}(p_i \Vert q_i)` in nats; `p` is held constant."""
    return F.kl_div(log_q, p.detach(), reduction="batchmean")


class SharpenedTarget(nn.Module):
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

    @torch.no_grad()
    def refresh(self, encoder: nn.Module, centroids: nn.Module, batches: Iterable) -> tuple[Tensor, Tensor]:
        """Take over the current network.

        Returns
        -------
        The number of cells whose label this changed, and the number of cells in each cluster; over all processes.
        """
        before_encoder, before_centroids = copy.deepcopy(self.encoder), self.centroids.weight.clone()
        self.encoder.load_state_dict(encoder.state_dict())
        self.centroids.set(centroids.weight)
        n_clusters = len(self.centroids.weight)
        mass = self.centroids.weight.new_zeros(n_clusters)
        sizes, changed = torch.zeros_like(mass), mass.new_zeros(1)
        for batch in batches:
            log_q = self.log_q(batch.x)
            label = log_q.argmax(1)
            mass += log_q.exp().sum(0)
            sizes += F.one_hot(label, n_clusters).sum(0)
            if before_centroids.shape == self.centroids.weight.shape:
                changed += (label != student_t(before_encoder(batch.x), before_centroids, self.alpha).argmax(1)).sum()
            else:
                changed += len(label)
        self.frequency = total(mass)
        return total(changed), total(sizes)

    def log_q(self, x: Tensor) -> Tensor:
        """Log of the soft assignment by the frozen network."""
        return student_t(self.encoder(x), self.centroids.weight, self.alpha)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Target of a minibatch of features, cells x clusters."""
        return sharpen(self.log_q(x), self.frequency, power=self.power, frequency_power=self.frequency_power)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        stored = state_dict.get(f"{prefix}frequency")
        if stored is not None:
            self.frequency = torch.empty_like(stored, device=self.frequency.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
