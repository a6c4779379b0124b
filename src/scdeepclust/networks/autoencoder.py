"""Multilayer perceptron autoencoder: a cell's features to a short embedding and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class Decoded(NamedTuple):
    """What a decoder says of a minibatch."""

    mean: Tensor  # features (squared error), or log of the mean count at size factor one
    zero_logits: Tensor | None  # logits of zero inflation


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them, none after the last."""
    layers: list[nn.Module] = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Autoencoder(nn.Module):
    """Encoder and mirrored decoder with a linear bottleneck.

    Parameters
    ----------
    n_vars
        Features that the encoder reads.
    hidden
        Widths of the encoder's hidden layers; the decoder mirrors them.
    n_latent
        Dimensions of the embedding.
    n_out
        Features or genes that the decoder explains.
    n_covariates
        Columns of the one-hot covariates given to the decoder beside the embedding, so that the embedding need not
        carry them.
    log_mean
        For count likelihoods: log of each gene's mean count at size factor one, where the decoder starts.
    zero_inflated
        Whether the decoder also gives the logits of zero inflation.
    """

    def __init__(
        self,
        n_vars: int,
        hidden: Sequence[int],
        n_latent: int,
        *,
        n_out: int,
        n_covariates: int = 0,
        log_mean: Tensor | None = None,
        zero_inflated: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = mlp(n_vars, *hidden, n_latent)
        widths = (n_latent + n_covariates, *reversed(hidden))
        self.decoder = nn.Sequential(*mlp(*widths), nn.ReLU()) if hidden else nn.Identity()
        self.mean = nn.Linear(widths[-1], n_out)
        self.zero_logits = nn.Linear(widths[-1], n_out) if zero_inflated else None
        self.log_dispersion = None
        if log_mean is not None:
            self.log_dispersion = nn.Parameter(torch.zeros(n_out))
            with torch.no_grad():
                self.mean.bias.copy_(log_mean)

    def encode(self, x: Tensor) -> Tensor:
        """Embed features (cells x features) into cells x `n_latent`."""
        return self.encoder(x)

    def decode(self, z: Tensor, covariates: Tensor | None = None) -> Decoded:
        """Explain an embedding (cells x `n_latent`), given the cells' covariates."""
        h = self.decoder(z if covariates is None else torch.cat([z, covariates], 1))
        return Decoded(self.mean(h), None if self.zero_logits is None else self.zero_logits(h))
