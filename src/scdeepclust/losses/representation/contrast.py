"""Contrast: two views of a cell are told from those of other cells, and by how much is a matter of how alike those are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(
    a: Tensor, b: Tensor, *, temperature: float = 0.5, weights: Tensor | None = None, decoupled: bool = False
) -> Tensor:
    r"""Normalised temperature-scaled cross entropy between two views of a minibatch, mean over the views of all cells.

    .. math::
        \ell_i = -\frac{h_i^\top h_{i'}}{\tau} + \log \Bigl( e^{h_i^\top h_{i'} / \tau}
        + \sum_{j \ne i} w_{ij} \bigl( e^{h_i^\top h_j / \tau} + e^{h_i^\top h_{j'} / \tau} \bigr) \Bigr)

    with unit vectors h, a cell's other view i' and all weights one in the paper (Chen et al., ICML 2020, arXiv
    2002.05709). A weight of zero leaves a false negative out; weights between let alike cells stay near each other.

    Parameters
    ----------
    a, b
        Projections of the two views, cells x dimensions, in the same order; scaled to unit length here.
    temperature
        :math:`\tau`. Low ones look at the nearest negatives only.
    weights
        :math:`w`, cells x cells, from 0 to 1; the diagonal is not read. None stands for ones.
    decoupled
        Leave the positive out of the sum (Yeh et al., ECCV 2022, arXiv 2110.06848), so that small minibatches do not
        weaken the gradient.

    Returns
    -------
    A scalar. Cells without any negative have no loss.
    """
    n = len(a)
    h = F.normalize(torch.cat([a, b]), dim=1)
    logits = h @ h.T / temperature
    positive = logits.diagonal(n).repeat(2)
    log_weights = logits.new_zeros(n, n) if weights is None else weights.to(logits).log()
    itself = torch.eye(n, dtype=torch.bool, device=h.device)
    negative = logits + log_weights.masked_fill(itself, -torch.inf).repeat(2, 2)
    there = (negative > -torch.inf).any(1)
    if not there.any():
        return 0 * logits.sum()
    denominator = negative[there].logsumexp(1)
    if not decoupled:
        denominator = torch.logaddexp(denominator, positive[there])
    return (denominator - positive[there]).sum() / (2 * n)


def not_among(index: Tensor, neighbors: Tensor) -> Tensor:
    """Weights of negatives that leave neighbours out: 0 where one of two cells is a neighbour of the other, else 1.

    Parameters
    ----------
    index
        Which cells a minibatch has.
    neighbors
        Neighbours of these, cells x neighbours.
    """
    near = (neighbors[:, :, None] == index).any(1)
    return 1 - (near | near.T).float()


def unlike(x: Tensor, share: float) -> Tensor:
    r"""Weights of negatives by how far cells are from each other: :math:`1 - \exp(-d_{ij}^2 / (2 \sigma_i \sigma_j))`.

    So near types repel each other less than far ones, and what lies between them is not torn. The scale
    :math:`\sigma_i` is the distance within which a cell has a `share` of the minibatch, as in self-tuning
    affinities (Zelnik-Manor and Perona, NIPS 2004).

    Parameters
    ----------
    x
        Denoised features of the minibatch, cells x features.
    share
        Of the minibatch, from 0 to 1.

    Returns
    -------
    Cells x cells.
    """
    distance = torch.cdist(x, x)
    k = min(max(1, round(share * len(x))), len(x) - 1) + 1
    sigma = distance.kthvalue(k, dim=1).values.clamp_min(1e-12)
    return -torch.expm1(-distance.square() / (2 * sigma[:, None] * sigma))


def cluster_contrast(a: Tensor, b: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Contrast between clusters: the cells that a cluster has in one view and in the other are its two views.

    Li et al., AAAI 2021, arXiv 2009.09687: :func:`nt_xent` of the columns.

    Parameters
    ----------
    a, b
        Memberships of the two views, cells x clusters.
    temperature
        Of the contrast; 1 in the paper.
    """
    return nt_xent(a.T, b.T, temperature=temperature)


def balance(memberships: Tensor, prior: Tensor) -> Tensor:
    r"""Divergence of the clusters' sizes from a prior, :math:`\mathrm{KL}(\bar q \Vert \pi)`, both in falling order.

    Clusters have no names, so only the sizes are compared. A uniform prior is the entropy term of contrastive
    clustering up to a constant, and splits large types; any other lets types be of unequal size.

    Parameters
    ----------
    memberships
        Cells x clusters.
    prior
        Expected share of each cluster, in any order.
    """
    mean = memberships.mean(0).sort(descending=True).values
    prior = (prior / prior.sum()).sort(descending=True).values
    return (mean.clamp_min(1e-12) * (mean.clamp_min(1e-12) / prior.clamp_min(1e-12)).log()).sum()
