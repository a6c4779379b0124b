"""Independence: two partitions of the same cells tell nothing of each other.

Heads that partition the same cells are meant to be independent by the preprint on denoising with a partitioned affinity
kernel (Wiechecki and Zaslavsky 2024), whose loss has no such term; this is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def mutual_information(c: Tensor, other: Tensor) -> Tensor:
    r"""Mutual information, in nats, of the clusters that two soft partitions draw for the same cell.

    :math:`\sum_{kl} J_{kl} \log (J_{kl} / (g_k h_l))` with the joint :math:`J = C^T D / n` and its margins g and h. Zero
    for independent partitions, and for one that puts all cells alike. Of few cells it is too high, by about
    (clusters - 1)² / 2n.

    Parameters
    ----------
    c, other
        Memberships, cells x clusters, rows sum to one; the numbers of clusters may differ.
    """
    joint = c.T @ other / len(c)
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    tiny = torch.finfo(joint.dtype).tiny
    return (joint * (joint.clamp_min(tiny).log() - apart.clamp_min(tiny).log())).sum()
