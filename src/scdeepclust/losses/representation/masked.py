"""Masked reconstruction: what is hidden is predicted from what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor


def masking_chances(there: Tensor, rate: float) -> Tensor:
    """Chance of each entry to be hidden: `rate` of those that are not zero, and at most as many zeros.

    Zeros teach little, and most entries are zeros. So at least half of what is hidden is not.

    Parameters
    ----------
    there
        Entries that are not zero, cells x genes, booleans.
    rate
        Share of them to be hidden.
    """
    n_there = there.sum()
    n_zero = there.numel() - n_there
    of_zeros = rate * (n_there / n_zero.clamp_min(1)).clamp(max=1)
    return torch.where(there, rate, of_zeros).clamp_min(1e-12)


def masked_mse(prediction: Tensor, target: Tensor, hidden: Tensor, chance: Tensor) -> Tensor:
    r"""Squared error of hidden entries, each weighted by one over its chance to be hidden.

    .. math:: \sum_{ij} m_{ij} (\hat x_{ij} - x_{ij})^2 / \pi_{ij} \Big/ \sum_{ij} m_{ij} / \pi_{ij}

    The weights take out what the choice of entries by their value would tell: in expectation it is the error
    of predicting every entry from others, noise2self's loss (Batson and Royer, ICML 2019, arXiv 1901.11365), and so
    comparable between networks.

    Parameters
    ----------
    prediction, target
        Cells x genes.
    hidden
        m, booleans.
    chance
        :math:`\pi`, of :func:`masking_chances`.
    """
    weight = hidden / chance
    return (weight * (prediction - target).square()).sum() / weight.sum().clamp_min(1e-12)


def swap_loss(prediction: Tensor, target: Tensor, changed: Tensor, *, weight: float = 0.75) -> Tensor:
    """Squared error where changed entries weigh `weight` and others one minus that: scMAE's reconstruction.

    Fang, Zheng, Li, Bioinformatics 2024, doi 10.1093/bioinformatics/btae020.

    Parameters
    ----------
    prediction, target
        Cells x genes.
    changed
        Entries that were swapped for another cell's, booleans.
    weight
        Of these.
    """
    return (torch.where(changed, weight, 1 - weight) * (prediction - target).square()).mean()


def changed_entries(logits: Tensor, changed: Tensor) -> Tensor:
    """Binary cross entropy of telling which entries were swapped."""
    return F.binary_cross_entropy_with_logits(logits, changed.to(logits))
