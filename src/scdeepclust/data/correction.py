"""What sets batches apart, taken out of features type by type: Harmony as a chain of functions of a single cell."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import diffusion
from ..resizable import Resizable

MOST_CELLS = 20_000  # a random sample of more: shifts are means
N_ROUNDS, N_PASSES, N_BLOCKS = 10, 3, 20
FEWEST_OF_A_TYPE, MOST_TYPES = 30, 100
WIDTH = 0.1  # of the soft assignment, on a scale where opposite directions are 4 apart
DIVERSITY = 2.0  # power of the batches' imbalance by which a group repels the batches that it has too many of
RIDGE = 0.3  # cells of an unshifted batch that every group is given; groups have a few cells of a batch


class Correction(Resizable):
    """Shifts of categories (batches, donors) within groups of similar cells, as buffers.

    Korsunsky et al., Nature Methods 2019, doi 10.1038/s41592-019-0619-0: soft groups of cells by direction, in which
    batches are kept diverse; in each group a ridge regression on the categories; and again. So a batch that lacks a type is
    no harm, as it is where batches are just centred. Differently: each of the ten rounds is kept as a function of a cell's
    features and categories alone, and the next round starts from what it gives. So cells in training and new cells are
    corrected by the same rule, and a saved model needs no training cells.

    A category that was not seen is not shifted.
    """

    centres: Tensor  # rounds x groups x features, of length one
    shifts: Tensor  # rounds x groups x categories x features

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(0, 1, 1))
        self.register_buffer("shifts", torch.zeros(0, 1, 1, 1))

    def fit(self, x: Tensor, categories: Tensor, *, seed: int) -> None:
        """Learn the shifts.

        Parameters
        ----------
        x
            Features, cells x features, centred.
        categories
            One-hot, cells x categories, the categories of several covariates side by side.
        seed
            Seed of the groups.
        """
        from sklearn.cluster import KMeans

        rng = np.random.default_rng(seed)
        some = rng.choice(len(x), MOST_CELLS, replace=False) if len(x) > MOST_CELLS else np.arange(len(x))
        x, categories = x[some].double(), categories[some].double()
        n_groups = int(np.clip(len(x) // FEWEST_OF_A_TYPE, 2, MOST_TYPES))
        with diffusion.fewer_allowed():
            start = KMeans(n_groups, n_init=1, random_state=seed).fit(F.normalize(x).numpy())
        centres, shifted = F.normalize(torch.from_numpy(start.cluster_centers_)), x
        rounds = []
        for _ in range(N_ROUNDS):
            groups, centres = _diverse(shifted, centres, categories, rng)
            rounds.append((centres, _regression(x, groups, categories)))
            shifted = _round(x, shifted, categories, *rounds[-1])
        self.centres, self.shifts = (torch.stack(part).float() for part in zip(*rounds, strict=True))

    def forward(self, x: Tensor, categories: Tensor | None) -> Tensor:
        """Corrected features of cells (cells x features), given their one-hot categories."""
        if not len(self.centres) or categories is None:
            return x
        shifted = x
        for centres, shifts in zip(self.centres, self.shifts, strict=True):
            shifted = _round(x, shifted, categories, centres, shifts)
        return shifted


def _round(x: Tensor, shifted: Tensor, categories: Tensor, centres: Tensor, shifts: Tensor) -> Tensor:
    """Features less the shifts of the groups that cells belong to, as far as they are corrected yet."""
    groups = _memberships(shifted, centres)
    return x - torch.einsum("nc,ncd->nd", categories, torch.tensordot(groups, shifts, 1))


def _memberships(x: Tensor, centres: Tensor) -> Tensor:
    return (2 * F.normalize(x) @ centres.T / WIDTH).softmax(1)


def _diverse(x: Tensor, centres: Tensor, categories: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Soft groups that avoid the categories that they have too many cells of, and their centres."""
    groups, share = _memberships(x, centres), categories.mean(0)
    for _ in range(N_PASSES):
        plain = _memberships(x, centres)
        observed = groups.T @ categories
        # A few cells at a time, so that not all of them leave a group at once.
        for block in np.array_split(rng.permutation(len(x)), N_BLOCKS):
            observed -= groups[block].T @ categories[block]
            size = groups.sum(0) - groups[block].sum(0)
            repelled = ((size[:, None] * share + 1) / (observed + 1)) ** DIVERSITY
            groups[block] = plain[block] * torch.exp(categories[block] @ repelled.log().T)
            groups[block] /= groups[block].sum(1, keepdim=True)
            observed += groups[block].T @ categories[block]
        centres = F.normalize(groups.T @ F.normalize(x))
    return groups, centres


def _regression(x: Tensor, groups: Tensor, categories: Tensor) -> Tensor:
    """In each group, how far each category is from what is common to all: groups x categories x features."""
    design = torch.cat([torch.ones_like(categories[:, :1]), categories], 1)
    ridge = RIDGE * torch.eye(design.shape[1], dtype=design.dtype)
    ridge[0, 0] = 1e-6
    found = [
        torch.linalg.solve((weighted := design * group[:, None]).T @ design + ridge, weighted.T @ x)
        for group in groups.T
    ]
    return torch.stack(found)[:, 1:]
