"""Clusters of a fixed embedding as a network's last layer, so that they are saved with it and serve new cells."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..resizable import Resizable

ROWS = 512  # cells compared with all clusters, or all reference cells, at once
N_VOTES = 15
MOST_REFERENCES = 20_000
SAME = 1e-2  # of the typical distance to a neighbour: what is nearer is the reference cell itself


class Head(Resizable):
    """Memberships of embedded cells, by the rule of the algorithm that found the clusters.

    Centres and Gaussian components give posterior probabilities. Where the algorithm has no rule for new cells (Leiden,
    agglomeration, HDBSCAN), the nearest of its own cells vote, and each of those keeps its label; of more than 20,000 cells
    some vote, the others being treated as new ones.

    Parameters
    ----------
    n_latent
        Dimensions of the embedding.
    """

    means: Tensor  # clusters x latent
    precisions_cholesky: Tensor  # clusters x latent x latent
    log_weights: Tensor
    reference: Tensor  # cells x latent
    labels: Tensor  # of these cells; the highest may stand for cells of no cluster
    radius: Tensor  # typical distance of a cell to its neighbours
    n_noise: Tensor  # 1 where the last column stands for cells of no cluster

    def __init__(self, n_latent: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(0, n_latent))
        self.register_buffer("precisions_cholesky", torch.zeros(0, n_latent, n_latent))
        self.register_buffer("log_weights", torch.zeros(0))
        self.register_buffer("reference", torch.zeros(0, n_latent))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("radius", torch.zeros(()))
        self.register_buffer("n_noise", torch.zeros((), dtype=torch.int64))

    def set_components(
        self, means: np.ndarray, precisions_cholesky: np.ndarray | float, weights: np.ndarray | None = None
    ) -> None:
        """Gaussian components; one number for `precisions_cholesky` makes all of them round and of one size."""
        n, d = means.shape
        if np.ndim(precisions_cholesky) == 0:
            precisions_cholesky = np.broadcast_to(np.eye(d) * precisions_cholesky, (n, d, d))
        weights = np.full(n, 1 / n) if weights is None else weights
        self.means = self.means.new_tensor(np.asarray(means))
        self.precisions_cholesky = self.means.new_tensor(np.ascontiguousarray(precisions_cholesky))
        self.log_weights = self.means.new_tensor(np.log(np.maximum(weights, 1e-12)))

    def set_reference(self, z: np.ndarray, labels: np.ndarray, *, seed: int) -> None:
        """Cells that vote for those near them; of more than 20,000 a random 20,000, among them enough of each label to win.

        -1 is a label too: of noise.
        """
        if len(z) > MOST_REFERENCES:
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(z))
            order = order[np.argsort(labels[order], kind="stable")]
            earlier = np.arange(len(z)) - np.searchsorted(labels[order], labels[order])  # of the same label
            turn = np.where(earlier < N_VOTES, -1, rng.random(len(z)))
            some = np.sort(order[np.argsort(turn, kind="stable")[:MOST_REFERENCES]])
            z, labels = z[some], labels[some]
        noise = labels < 0
        self.n_noise.fill_(int(noise.any()))
        self.labels = torch.as_tensor(np.where(noise, labels.max() + 1, labels), device=self.means.device)
        self.reference = self.means.new_tensor(z)
        nearest = [
            torch.cdist(part, self.reference).topk(min(2, len(z)), largest=False)[0][:, -1]
            for part in self.reference.split(ROWS)
        ]
        self.radius.fill_(torch.cat(nearest).median().clamp_min(1e-6))

    def forward(self, z: Tensor) -> Tensor:
        """Log of memberships, cells x clusters."""
        rule = self._votes if len(self.reference) else self._posterior
        return torch.cat([rule(part) for part in z.split(ROWS)])

    def _posterior(self, z: Tensor) -> Tensor:
        white = torch.einsum("nkd,kde->nke", z[:, None] - self.means, self.precisions_cholesky)
        log_det = self.precisions_cholesky.diagonal(dim1=1, dim2=2).log().sum(1)
        return (self.log_weights + log_det - white.square().sum(2) / 2).log_softmax(1)

    def _votes(self, z: Tensor) -> Tensor:
        # Differences and not products: a reference cell has to be known by its distance of zero.
        distance = torch.cdist(z, self.reference, compute_mode="donot_use_mm_for_euclid_dist")
        near, which = distance.topk(min(N_VOTES, len(self.reference)), largest=False)
        weight = (near[:, :1] + self.radius) / (near + self.radius)
        weight[:, 0] += torch.where(near[:, 0] <= SAME * self.radius, weight.sum(1), 0)
        votes = z.new_zeros(len(z), int(self.labels.max()) + 1).scatter_add_(1, self.labels[which], weight)
        return (votes / votes.sum(1, keepdim=True) + 1e-6).log().log_softmax(1)
