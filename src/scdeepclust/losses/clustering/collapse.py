"""Clusters that vanish while a network trains: how to notice, and where to put them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...distributed import gathered

if TYPE_CHECKING:
    from collections.abc import Iterable

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
