"""An encoder whose embedding is compared, while it trains, in another space that is thrown away afterwards."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .autoencoder import encoder, mlp
from .centroids import Centroids

if TYPE_CHECKING:
    from collections.abc import Sequence


class Projector(nn.Module):
    """Encoder and projection head. No batch statistics, so that a cell's embedding is its own.

    Parameters
    ----------
    n_vars
        Features that the encoder reads.
    hidden
        Widths of the encoder's hidden layers.
    n_latent
        Dimensions of the embedding.
    n_projection
        Widths of the head's layers; with none, views are compared in the embedding.
    residual
        Whether the encoder begins as the identity on the leading features.
    """

    def __init__(
        self, n_vars: int, hidden: Sequence[int], n_latent: int, *, n_projection: Sequence[int], residual: bool
    ) -> None:
        super().__init__()
        self.encoder = encoder(n_vars, hidden, n_latent, residual=residual)
        self.projection = mlp(n_latent, *n_projection) if n_projection else nn.Identity()

    def encode(self, x: Tensor) -> Tensor:
        """Embed features (cells x features) into cells x `n_latent`."""
        return self.encoder(x)

    def project(self, x: Tensor) -> Tensor:
        """Where views of cells with these features are compared."""
        return self.projection(self.encoder(x))


class ClusterHead(Centroids):
    """Cluster centres with the sizes that the clusters are expected to have.

    Parameters
    ----------
    n_latent
        Dimensions of the embedding.
    """

    prior: Tensor

    def __init__(self, n_latent: int) -> None:
        super().__init__(n_latent)
        self.register_buffer("prior", torch.zeros(0))


class Prototypes(nn.Module):
    """Cosine of projected cells with directions that stand for states.

    Parameters
    ----------
    n_in
        Dimensions of the projection.
    n_prototypes
        How many.
    """

    def __init__(self, n_in: int, n_prototypes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(n_prototypes, n_in), dim=1))

    def forward(self, h: Tensor) -> Tensor:
        """Cosines of cells (cells x `n_in`) with the prototypes."""
        return F.normalize(h, dim=1) @ F.normalize(self.weight, dim=1).T

    @property
    def similarity(self) -> Tensor:
        """Cosines of the prototypes with each other."""
        return self(self.weight)


class SelfDistilled(nn.Module):
    """A student, and a teacher that is the student's slow average and never gets a gradient; the teacher embeds.

    Parameters
    ----------
    student
        Encoder and projection head.
    prototypes
        What both tell of a cell.
    """

    centre: Tensor  # running mean of what the teacher tells
    merged: Tensor  # cluster of each prototype; -1 while there are none

    def __init__(self, student: Projector, prototypes: Prototypes) -> None:
        super().__init__()
        self.student = nn.ModuleDict({"projector": student, "prototypes": prototypes})
        self.teacher = copy.deepcopy(self.student).requires_grad_(requires_grad=False)
        self.register_buffer("centre", torch.zeros(len(prototypes.weight)))
        self.register_buffer("merged", torch.full((len(prototypes.weight),), -1))

    def encode(self, x: Tensor) -> Tensor:
        """Embed features (cells x features) into cells x latent."""
        return self.teacher["projector"].encode(x)

    def learned(self, x: Tensor) -> Tensor:
        """What the student tells of cells with these features, cells x prototypes."""
        return self.student["prototypes"](self.student["projector"].project(x))

    def told(self, z: Tensor) -> Tensor:
        """What the teacher tells of embedded cells, cells x prototypes."""
        return self.teacher["prototypes"](self.teacher["projector"].projection(z))

    def follow(self, momentum: float) -> None:
        """Move the teacher towards the student."""
        for mine, learned in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mine.lerp_(learned, 1 - momentum)
