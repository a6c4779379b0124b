"""Autoencoders whose embedding is averaged within soft clusters before it is decoded: heads, side by side and stacked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..diffusion import ClusterSums, average_within, cluster_sums
from ..resizable import Resizable
from .autoencoder import Autoencoder, Residual
from .centroids import Centroids

if TYPE_CHECKING:
    from collections.abc import Sequence

# Of the sums over clusters this share stays from one minibatch to the next: averages over about nine minibatches, in
# which rare clusters too have members.
KEPT = 0.9
SHRINKAGE = 0.1  # of covariances within clusters towards a multiple of the identity
PARTITIONER = (64,)  # hidden units


class Partitioner(nn.Module):
    """Soft clusters of embedded cells: Gaussians of one shape around centres, in a map that training may bend.

    Parameters
    ----------
    n_latent
        Dimensions of the embedding.
    """

    def __init__(self, n_latent: int) -> None:
        super().__init__()
        self.map = Residual(n_latent, PARTITIONER, n_latent)
        self.centroids = Centroids(n_latent)

    def start(self, z: np.ndarray, labels: np.ndarray, *, spherical: bool = False) -> None:
        """Begin at the Gaussians, all of one covariance, of labelled cells (linear discriminants); -1 is no label.

        A spherical covariance makes the borders those of k-means.
        """
        z, labels = z[labels >= 0].astype(np.float64), np.unique(labels[labels >= 0], return_inverse=True)[1]
        sums = np.zeros((labels.max() + 1, z.shape[1]))
        np.add.at(sums, labels, z)
        means = sums / np.bincount(labels)[:, None]
        within = z - means[labels]
        covariance = within.T @ within / max(len(z) - len(means), 1)
        typical = max(np.trace(covariance) / len(covariance), 1e-6)
        shrinkage = 1.0 if spherical else SHRINKAGE
        covariance = (1 - shrinkage) * covariance + shrinkage * typical * np.eye(len(covariance))
        values, axes = np.linalg.eigh(covariance)
        whiten = (axes / np.sqrt(values)) @ axes.T
        layer = self.map.linear
        layer.weight.data.copy_(torch.from_numpy(whiten))
        layer.bias.data.zero_()
        self.centroids.set(layer.weight.new_tensor(means @ whiten))

    def forward(self, z: Tensor) -> Tensor:
        """Log of memberships, cells x clusters."""
        u, centroids = self.map(z), self.centroids.weight
        squared = u.square().sum(1, keepdim=True) + centroids.square().sum(1) - 2 * u @ centroids.T
        return (-squared / 2).log_softmax(1)


class ClusterMeans(Resizable):
    """What is averaged within clusters: a minibatch and those before it while training, all training cells afterwards.

    Parameters
    ----------
    n_latent
        Dimensions of the embedding.
    """

    mass: Tensor  # of each cluster
    values: Tensor  # clusters x latent

    def __init__(self, n_latent: int) -> None:
        super().__init__()
        self.register_buffer("mass", torch.zeros(0))
        self.register_buffer("values", torch.zeros(0, n_latent))

    def set(self, sums: ClusterSums) -> None:
        """Take over sums over cells."""
        self.mass, self.values = sums.mass.detach(), sums.values.detach()

    def forward(self, c: Tensor, z: Tensor) -> Tensor:
        """Averages for each cell: over others, while training; over all training cells afterwards."""
        kept = ClusterSums(self.mass, self.values)
        if not self.training:
            return average_within(c, z, kept, inside=False)
        sums = cluster_sums(c, z)
        if len(self.mass) == len(sums.mass):
            sums = sums.plus(kept, KEPT)
        self.set(sums)
        return average_within(c, z, sums)


class Part(NamedTuple):
    """What one head makes of a minibatch."""

    z: Tensor  # embedding
    log_c: Tensor  # log of memberships
    denoised: Tensor  # decoded average within clusters
    plain: Tensor | None  # decoded embedding of the cell itself


class Head(nn.Module):
    """Encoder, partitioner, decoder.

    Parameters
    ----------
    n_in
        Features.
    hidden, n_latent, n_covariates, residual
        As in :class:`Autoencoder`.
    """

    def __init__(self, n_in: int, hidden: Sequence[int], n_latent: int, *, n_covariates: int, residual: bool) -> None:
        super().__init__()
        self.autoencoder = Autoencoder(n_in, hidden, n_latent, n_out=n_in, n_covariates=n_covariates, residual=residual)
        self.partitioner = Partitioner(n_latent)
        self.means = ClusterMeans(n_latent)

    def forward(self, z: Tensor, covariates: Tensor | None, *, plain: bool = False) -> Part:
        """Partition, average and decode embedded cells."""
        log_c, decode = self.partitioner(z), self.autoencoder.decode
        averaged = self.means(log_c.exp(), z)
        own = decode(z, covariates).mean if plain else None
        return Part(z, log_c, decode(averaged, covariates).mean, own)

    def n_clusters(self) -> int:
        """Clusters of the head's partition."""
        return len(self.partitioner.centroids)

    def keep(self, clusters: Tensor) -> None:
        """Leave only these clusters."""
        self.partitioner.centroids.set(self.partitioner.centroids.weight[clusters])
        self.means.set(ClusterSums(self.means.mass[clusters], self.means.values[clusters]))


class Consensus(nn.Module):
    """One partition for all heads.

    Parameters
    ----------
    n_in
        Features, in which clusters of the pooled prediction lie.
    n_latent, n_heads
        Of each head's embedding.
    learned
        Whether heads' embeddings are put into one by an encoder, which begins at their mean, and clusters lie there.
    """

    def __init__(self, n_in: int, n_latent: int, n_heads: int, *, learned: bool) -> None:
        super().__init__()
        self.learned = learned
        self.partitioner = Partitioner(n_latent if learned else n_in)
        self.means = ClusterMeans(n_latent)
        self.encoder = Residual(n_heads * n_latent, PARTITIONER, n_latent) if learned else None
        if learned:
            self.encoder.linear.weight.data.copy_(torch.eye(n_latent).repeat(1, n_heads) / n_heads)

    def embed(self, z: Tensor) -> Tensor:
        """One embedding of heads' embeddings (cells x heads x latent)."""
        return self.encoder(z.flatten(1))


class Affinity(nn.Module):
    """Blocks of heads. A block's heads read the same features, and what they decode is pooled; the next block reads the
    cell's own features and what the block before made of them, averaged: a lazy step of diffusion.

    Parameters
    ----------
    n_in
        Features.
    hidden, n_latent, n_covariates, residual
        As in :class:`Autoencoder`.
    n_heads, n_blocks
        Heads side by side, and blocks behind each other.
    linear
        Whether a linear layer pools heads, which begins at their sum; otherwise the sum does.
    learned
        Whether a consensus of all heads is learned by layers of its own.
    """  # noqa: D205

    shift: Tensor  # of the features of half a cell against those of a whole one
    score: Tensor  # held-out loss, its standard error, and that of the mean of all cells

    def __init__(
        self,
        n_in: int,
        hidden: Sequence[int],
        n_latent: int,
        *,
        n_heads: int = 1,
        n_blocks: int = 1,
        n_covariates: int = 0,
        linear: bool = False,
        learned: bool = False,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.n_latent, self.n_covariates = n_latent, n_covariates
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                Head(n_in, hidden, n_latent, n_covariates=n_covariates, residual=residual) for _ in range(n_heads)
            )
            for _ in range(n_blocks)
        )
        self.pools = nn.ModuleList(nn.Linear(n_heads * n_in, n_in) for _ in range(n_blocks if linear else 0))
        for pool in self.pools:
            pool.weight.data.copy_(torch.eye(n_in).repeat(1, n_heads))
            pool.bias.data.zero_()
        self.consensus = Consensus(n_in, n_latent, n_heads, learned=learned) if n_heads > 1 else None
        self.register_buffer("shift", torch.zeros(n_in))
        self.register_buffer("score", torch.full((3,), math.nan))

    def pool(self, block: int, parts: Sequence[Tensor], dropout: float = 0.0) -> Tensor:
        """One prediction of features from those of a block's heads, of which some are left out at random."""
        stacked = torch.stack(list(parts), 1)
        if dropout and self.training:
            stacked = stacked * F.dropout(stacked.new_ones(*stacked.shape[:2], 1), dropout)
        return self.pools[block](stacked.flatten(1)) if self.pools else stacked.sum(1)

    def forward(
        self, x: Tensor, covariates: Tensor | None = None, *, dropout: float = 0.0, plain: bool = False
    ) -> list[tuple[list[Part], Tensor]]:
        """Of each block what its heads make of the features, and the pooled prediction."""
        if self.n_covariates and covariates is None:
            covariates = x.new_zeros(len(x), self.n_covariates)  # of no batch in particular
        found = []
        for block, heads in enumerate(self.blocks):
            parts = [head(head.autoencoder.encode(x), covariates, plain=plain) for head in heads]
            pooled = self.pool(block, [part.denoised for part in parts], dropout)
            found.append((parts, pooled))
            x = (x + pooled) / 2
        return found

    def read(self, x: Tensor, block: int) -> Tensor:
        """What a block reads of the features."""
        for before in range(block):
            parts = [head(head.autoencoder.encode(x), self._none(x)).denoised for head in self.blocks[before]]
            x = (x + self.pool(before, parts)) / 2
        return x

    def embeddings(self, x: Tensor) -> Tensor:
        """Embeddings by all heads of the last block, cells x heads x latent."""
        x = self.read(x, len(self.blocks) - 1)
        return torch.stack([head.autoencoder.encode(x) for head in self.blocks[-1]], 1)

    def encode(self, x: Tensor) -> Tensor:
        """Embedding of cells: a learned consensus, or those by all heads of the last block side by side."""
        z = self.embeddings(x)
        return self.consensus.embed(z) if self.consensus is not None and self.consensus.learned else z.flatten(1)

    def partitions(self, z: Tensor) -> list[Tensor]:
        """Log of the memberships that each head of the last block gives embedded cells (cells x heads x latent)."""
        return [head.partitioner(z[:, a]) for a, head in enumerate(self.blocks[-1])]

    def together(self, z: Tensor, covariates: Tensor | None = None) -> Tensor:
        """Features that the heads of the last block predict of their embeddings (cells x heads x latent)."""
        covariates = self._none(z) if covariates is None else covariates
        parts = [head(z[:, a], covariates).denoised for a, head in enumerate(self.blocks[-1])]
        return self.pool(len(self.blocks) - 1, parts)

    def predict(self, z: Tensor, covariates: Tensor | None = None) -> Tensor:
        """Denoised features of cells, from their embedding by :meth:`encode`."""
        if self.consensus is None or not self.consensus.learned:
            return self.together(z.view(len(z), -1, self.n_latent), covariates)
        covariates = self._none(z) if covariates is None else covariates
        averaged = self.consensus.means(self.consensus.partitioner(z).exp(), z)
        decoded = [head.autoencoder.decode(averaged, covariates).mean for head in self.blocks[-1]]
        return self.pool(len(self.blocks) - 1, decoded)

    def log_soft_assign(self, z: Tensor) -> Tensor:
        """Log of the memberships of embedded cells in clusters."""
        if self.consensus is None:
            return self.blocks[-1][0].partitioner(z)
        return self.consensus.partitioner(z if self.consensus.learned else self.predict(z))

    def _none(self, x: Tensor) -> Tensor | None:
        return x.new_zeros(len(x), self.n_covariates) if self.n_covariates else None
