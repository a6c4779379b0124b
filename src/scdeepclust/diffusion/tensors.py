"""Neighbours and averages over them of features that lie on a device: a GPU finds them there, the rest as elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .graph import average_over, connectivities, n_others, umap_weights
from .search import lists, neighbors

if TYPE_CHECKING:
    from scipy import sparse

EXACT_UP_TO = 200_000  # cells; above, a search by lists is faster on a GPU, too
AT_ONCE = 2**28  # distances that a GPU holds at once, of 4 bytes


def neighbors_of(x: Tensor, n_neighbors: int, *, random_state: int = 0) -> Tensor:
    """Nearest neighbours of each cell, itself left out: :func:`neighbors` of a tensor, on its device.

    On a GPU they are exact among up to 200,000 cells, as far as torch's precision of products goes.

    Parameters
    ----------
    x
        Cells x features.
    n_neighbors
        How many; at most the number of other cells.
    random_state
        Seed of the search by lists, which serves more cells, and without a GPU more than 10,000.

    Returns
    -------
    Indices, cells x `n_neighbors`, nearest first.
    """
    if x.device.type == "cuda":
        return nearest(x, min(n_neighbors, len(x) - 1), random_state=random_state)
    indices, _ = neighbors(x.cpu().numpy(), n_neighbors, random_state=random_state)
    return torch.as_tensor(indices, device=x.device)


def connectivities_of(x: Tensor, n_neighbors: int, *, random_state: int = 0) -> sparse.csr_array:
    """Weights of the nearest-neighbour graph: :func:`connectivities` of a tensor, whose neighbours its device finds."""
    if x.device.type == "cuda":
        indices = neighbors_of(x, n_others(n_neighbors, len(x)), random_state=random_state)
        distances = torch.stack([(x - x.index_select(0, column)).norm(dim=1) for column in indices.T], 1)
        return umap_weights(indices.cpu().numpy(), distances.cpu().numpy())
    return connectivities(x.cpu().numpy(), n_neighbors, random_state=random_state)


def nearest(
    x: Tensor, k: int, *, random_state: int = 0, exact_up_to: int = EXACT_UP_TO, at_once: int = AT_ONCE
) -> Tensor:
    """The `k` nearest others of each cell: of all, or of those in the lists around it."""
    everyone = torch.arange(len(x), device=x.device)
    found = torch.full((len(x), k), -1, device=x.device)
    distances = torch.full((len(x), k), torch.inf, device=x.device)

    def look(among: Tensor, looking: Tensor) -> None:
        others = x.index_select(0, among)
        squared = others.square().sum(1)
        for some in looking.split(max(1, at_once // len(among))):
            # squared, but for what all distances of a cell have in common
            between = torch.addmm(squared, x.index_select(0, some), others.T, alpha=-2)
            between.masked_fill_(some[:, None] == among, torch.inf)
            nearer, places = between.topk(min(k, len(among)), largest=False)
            nearer, names = torch.cat([distances[some], nearer], 1), torch.cat([found[some], among[places]], 1)
            distances[some], places = nearer.topk(k, largest=False)
            found[some] = names.gather(1, places)

    if len(x) <= exact_up_to:
        look(everyone, everyone)
        return found
    for _, members, looking in lists(x.cpu().numpy(), k, random_state):
        look(torch.as_tensor(members, device=x.device), torch.as_tensor(looking, device=x.device))
    short = distances.isinf().any(1).nonzero()[:, 0]  # cells whose lists hold too few
    if len(short):
        distances[short] = torch.inf
        look(everyone, short)
    return found


def average_of(x: Tensor, neighbors: Tensor, n_steps: int) -> Tensor:
    """Replace each cell by the mean of its neighbours, `n_steps` times: :func:`average_over` of a tensor, on its device."""
    if x.device.type == "cuda":
        return mean_over(x, neighbors, n_steps)
    averaged = average_over(x.cpu().numpy(), neighbors.cpu().numpy(), n_steps)
    return torch.as_tensor(averaged, device=x.device)


def mean_over(x: Tensor, neighbors: Tensor, n_steps: int) -> Tensor:
    """The mean of each cell's neighbours, one column of these after the other: cells x features are all it holds."""
    for _ in range(n_steps):
        x = sum(x.index_select(0, column) for column in neighbors.T) / neighbors.shape[1]
    return x
