"""The weighted affinity kernel of a partition: averages within clusters, each cell left out, without a matrix of cells.

Source: Wiechecki and Zaslavsky's preprint on denoising with a partitioned affinity kernel (2024), with its columns for
cells transposed. Rows of `c` are cells and sum to one; :math:`P = C C^T` without its diagonal is how likely two cells are
to share a cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from .markov import check_normalize

if TYPE_CHECKING:
    from torch import Tensor

    from .markov import Normalize

# Fewer other cells than this, in units of the precision, are none: what is left of them is rounding.
NOBODY = 1e3


class ClusterSums(NamedTuple):
    """Sums over cells that any average within clusters is made of; those of parts of the cells add up."""

    mass: Tensor  # of each cluster: the sum of its cells' memberships
    values: Tensor  # sums of these cells' values, weighted by membership, clusters x features

    def plus(self, other: ClusterSums, share: float = 1.0) -> ClusterSums:
        """Of both, or of these and a share of the others."""
        return ClusterSums(self.mass + share * other.mass, self.values + share * other.values)


def cluster_sums(c: Tensor, e: Tensor) -> ClusterSums:
    """Sums over clusters.

    Parameters
    ----------
    c
        Memberships, cells x clusters, rows sum to one.
    e
        Values, cells x features.
    """
    return ClusterSums(c.sum(0), c.T @ e)


def average_within(c: Tensor, e: Tensor, sums: ClusterSums, *, inside: bool = True) -> Tensor:
    r"""Average values within clusters, :math:`\hat e_i = \sum_{j \ne i} P_{ij} e_j / \sum_{j \ne i} P_{ij}`.

    With :math:`p_i = \sum_k c_{ik}^2`, mass u and sums V this is
    :math:`(C V - p \circ e) / (C u - p)`: time and memory grow with cells x (clusters + features).

    A cell that shares clusters with nobody takes the mean of all others; if there are none, it keeps its own values.

    Parameters
    ----------
    c, e
        Memberships and values of the cells wanted.
    sums
        Over all cells.
    inside
        Whether the cells wanted are among those of `sums`, so that each has to be left out; if not, they are new.
    """
    n, overall = sums.mass.sum(), sums.values.sum(0)  # as every cell's memberships sum to one
    if inside:
        own = (c * c).sum(1, keepdim=True)
        # Differences before products, which keeps what a small cluster has beside the cell.
        weight = (c * (sums.mass - c)).sum(1, keepdim=True)
        total = c @ sums.values - own * e
        rest, n = overall - e, n - 1
    else:
        weight, total, rest = (c @ sums.mass)[:, None], c @ sums.values, overall.expand_as(e)
    nobody = NOBODY * torch.finfo(c.dtype).eps
    fallback = torch.where(n > nobody, rest / n.clamp_min(0.5), e)
    return torch.where(weight > nobody, total / torch.where(weight > nobody, weight, 1), fallback)


def wak(c: Tensor, e: Tensor, normalize: Normalize = "row") -> Tensor:
    r"""Apply the kernel of a partition to the values of the same cells.

    Parameters
    ----------
    c
        Memberships, cells x clusters, rows sum to one; hard or soft.
    e
        Values, cells x features.
    normalize
        With s the row sums of P without its diagonal: `"row"` divides row i by :math:`s_i`, so that each cell gets an
        average. The preprint divides column j by :math:`s_j` (`"column"`), so that a cell's weights sum to
        more or less than one; `"symmetric"` divides by the root of both.

    Returns
    -------
    Cells x features. A cell that shares clusters with nobody takes the mean of all others.
    """
    check_normalize(normalize)
    sums = cluster_sums(c, e)
    averaged = average_within(c, e, sums)
    if normalize == "row":
        return averaged
    weight = (c * (sums.mass - c)).sum(1, keepdim=True)
    alone = weight <= NOBODY * torch.finfo(c.dtype).eps
    power = 1.0 if normalize == "column" else 0.5
    scale = torch.where(alone, 0, torch.where(alone, 1, weight) ** -power)
    scaled = e * scale
    found = c @ (c.T @ scaled) - (c * c).sum(1, keepdim=True) * scaled
    return torch.where(alone, averaged, found if normalize == "column" else found * scale)
