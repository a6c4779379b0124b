"""Contrast: two views of a cell are told from those of other cells, and by how much is a matter of how alike those are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(
    a: Tensor,
    b: Tensor,
    *,
    similarity: str = "cosine",
    temperature: float = 0.5,
    weights: Tensor | None = None,
    targets: Tensor | None = None,
    target_weight: float = 0.5,
    decoupled: bool = False,
) -> Tensor:
    r"""Cross entropy of finding a cell's other view among those of a minibatch, mean over the views of all cells.

    .. math::
        \ell_i = -s_{ii'} + \log \Bigl( e^{s_{ii'}} + \sum_{j \ne i} w_{ij} \bigl( e^{s_{ij}} + e^{s_{ij'}} \bigr) \Bigr)

    with a cell's other view i'. Cosines over a temperature, :math:`s_{ij} = h_i^\top h_j / \tau`, and all weights one
    make NT-Xent (Chen et al., ICML 2020, arXiv 2002.05709); a Student t kernel, :math:`s_{ij} = -\log(1 + \lVert h_i -
    h_j \rVert^2) / \tau`, the loss of t-SimCNE (Böhm, Berens, Kobak, ICLR 2023, arXiv 2210.09879), under which distances
    mean something afterwards, as k-means and neighbours need it.

    Two ways with false negatives: a weight of zero leaves one out; `targets` make those that are alike positives by
    degree, :math:`-s_{ii'}` becoming :math:`-(1 - \alpha) s_{ii'} - \alpha \sum_j p_{ij} (s_{ij} + s_{ij'}) / 2`
    (Denize et al., WACV 2023, arXiv 2111.14585).

    Parameters
    ----------
    a, b
        The two views, cells x dimensions, in the same order.
    similarity
        `"cosine"` or `"student"`.
    temperature
        :math:`\tau`. Low ones look at the nearest negatives only.
    weights
        :math:`w`, cells x cells, from 0 to 1; the diagonal is not read. None stands for ones.
    targets
        :math:`p`, cells x cells, rows summing to one, with a diagonal of zero. None stands for none.
    target_weight
        :math:`\alpha`.
    decoupled
        Leave the positive out of the sum (Yeh et al., ECCV 2022, arXiv 2110.06848), so that small minibatches do not
        weaken the gradient.

    Returns
    -------
    A scalar. Cells without any negative have no loss.
    """
    n = len(a)
    logits = similarities(torch.cat([a, b]), similarity) / temperature
    positive = logits.diagonal(n).repeat(2)
    log_weights = logits.new_zeros(n, n) if weights is None else weights.to(logits).log()
    itself = torch.eye(n, dtype=torch.bool, device=logits.device)
    negative = logits + log_weights.masked_fill(itself, -torch.inf).repeat(2, 2)
    there = (negative != -torch.inf).any(1)
    denominator = negative.where(there[:, None], 0).logsumexp(1)
    if not decoupled:
        denominator = torch.logaddexp(denominator, positive)
    attraction = positive
    if targets is not None:
        attraction = (1 - target_weight) * positive + target_weight * (logits * targets.repeat(2, 2)).sum(1) / 2
    return (denominator - attraction).where(there, 0).sum() / (2 * n)


def unit(x: Tensor) -> Tensor:
    """Rows at unit length; not numbers where the length overflows, as a network that diverged must not look like one at rest."""
    return F.normalize(x, dim=1) + 0 * x.detach().norm(dim=1, keepdim=True)


def similarities(h: Tensor, similarity: str) -> Tensor:
    """Cosines, or the logarithm of a Student t kernel (one degree of freedom), of all pairs of rows."""
    if similarity == "cosine":
        h = unit(h)
        return h @ h.T
    square = h.square().sum(1)
    return -torch.log1p((square[:, None] + square - 2 * h @ h.T).clamp_min(0))


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
    sigma = _reach(distance, share)
    return -torch.expm1(-distance.square() / (2 * sigma[:, None] * sigma))


def alike(x: Tensor, share: float) -> Tensor:
    r"""How much each other cell of a minibatch is like a cell: :math:`p_{ij} \propto \exp(-2 d_{ij}^2 / \sigma_i^2)`.

    Parameters
    ----------
    x
        Denoised features of the minibatch, cells x features.
    share
        Of the minibatch that is within :math:`\sigma_i`, from 0 to 1.

    Returns
    -------
    Cells x cells, rows summing to one, the diagonal zero.
    """
    distance = torch.cdist(x, x)
    scaled = (distance / _reach(distance, share)[:, None]).square()
    return (-2 * scaled).fill_diagonal_(-torch.inf).softmax(1).nan_to_num()  # a cell alone is like nobody


def _reach(distance: Tensor, share: float) -> Tensor:
    """Distance within which each cell has a share of the minibatch."""
    k = min(max(1, round(share * len(distance))), len(distance) - 1) + 1
    return distance.kthvalue(k, dim=1).values.clamp_min(1e-12)


def cluster_contrast(a: Tensor, b: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Contrast between clusters: the cells that a cluster has in one view and in the other are its two views.

    Li et al., AAAI 2021, arXiv 2009.09687: :func:`info_nce` of the columns, by their cosines.

    Parameters
    ----------
    a, b
        Memberships of the two views, cells x clusters.
    temperature
        Of the contrast; 1 in the paper.
    """
    return info_nce(a.T, b.T, temperature=temperature)


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
