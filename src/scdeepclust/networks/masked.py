"""An autoencoder of genes some of which are hidden, which begins as PCA."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .autoencoder import Residual, encoder

if TYPE_CHECKING:
    from collections.abc import Sequence


class MaskedAutoencoder(nn.Module):
    """Genes to axes, axes to an embedding, and back to genes.

    Parameters
    ----------
    n_vars
        Genes, or columns of a representation.
    n_axes
        Width of the first, linear layer, which :meth:`start` makes principal components; None reads genes directly.
    hidden
        Widths of the encoder's hidden layers.
    n_latent
        Dimensions of the embedding.
    residual
        Whether the encoder begins as the identity on the leading axes.
    rotation
        Axes that the features given were turned to, features x genes, or None where they are genes themselves.
    n_covariates
        Categories that the decoder is told.
    predicts_mask
        Whether it also tells which entries were changed, and decodes with that knowledge.
    """

    def __init__(
        self,
        n_vars: int,
        n_axes: int | None,
        hidden: Sequence[int],
        n_latent: int,
        *,
        residual: bool,
        rotation: Tensor | None = None,
        n_covariates: int = 0,
        predicts_mask: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("rotation", rotation)
        self.axes = nn.Identity() if n_axes is None else nn.Linear(n_vars, n_axes, bias=False)
        self.encoder = encoder(n_vars if n_axes is None else n_axes, hidden, n_latent, residual=residual)
        self.mask = nn.Linear(n_latent, n_vars) if predicts_mask else None
        self.decoder = nn.Linear(n_latent + n_vars * predicts_mask + n_covariates, n_vars)

    def start(self, components: Tensor, spread: float) -> None:
        """Begin as PCA: orthonormal components x genes, and how far cells spread along them."""
        self.axes.weight[: len(components)] = components / spread
        if isinstance(self.encoder, Residual):
            leading = components[: self.encoder.linear.out_features]
            nn.init.zeros_(self.decoder.bias)
            nn.init.zeros_(self.decoder.weight)
            self.decoder.weight[:, : len(leading)] = leading.T * spread

    def genes(self, x: Tensor) -> Tensor:
        """Features as given to genes."""
        return x if self.rotation is None else x @ self.rotation

    def encode(self, x: Tensor) -> Tensor:
        """Embed features (cells x features) into cells x `n_latent`."""
        return self.embed(self.genes(x))

    def embed(self, genes: Tensor) -> Tensor:
        """Embed centred genes, those that are hidden at zero."""
        return self.encoder(self.axes(genes))

    def decode(self, z: Tensor, covariates: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Genes, and logits of having been changed."""
        logits = None if self.mask is None else self.mask(z)
        told = [part for part in (z, logits, covariates) if part is not None]
        return self.decoder(torch.cat(told, 1)), logits
