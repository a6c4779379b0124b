"""Clusters that vanish while a network trains: how to notice."""

from __future__ import annotations

import torch
from torch import Tensor

SAME = 1e-3  # of the median distance between centres: nearer ones are one


class CollapseWarning(UserWarning):
    """Clusters became empty or equal during training."""


def collapsed(centroids: Tensor, sizes: Tensor) -> Tensor:
    """Which clusters have no cells, or sit on a larger one.

    Parameters
    ----------
    centroids
        Cluster centres, clusters x latent.
    sizes
        Cells in each cluster.
    """
    distance = torch.cdist(centroids, centroids)
    apart = distance[~torch.eye(len(centroids), dtype=torch.bool, device=distance.device)]
    order = torch.arange(len(sizes), device=sizes.device)
    larger = (sizes[None] > sizes[:, None]) | ((sizes[None] == sizes[:, None]) & (order[None] < order[:, None]))
    return (sizes == 0) | ((distance <= SAME * apart.median()) & larger).any(1)
