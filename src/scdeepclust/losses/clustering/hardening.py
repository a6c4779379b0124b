"""Cluster assignment hardening: soft assignments are pulled towards a sharpened version of themselves.

Source: Xie, Girshick, Farhadi, "Unsupervised deep embedding for clustering analysis", ICML 2016, arXiv 1511.06335.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
        :math:`f_k = \sum_i q_{ik}` over **all** cells, or many. A minibatch's own sums are noisy and give rare clusters huge
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
