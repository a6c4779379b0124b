"""Multilayer perceptron autoencoder: a cell's features to a short embedding and back."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class Decoded(NamedTuple):
    """What a decoder says of a minibatch."""

    mean: Tensor  # features (squared error), or log of the mean count at size factor one, less `log_depth`
    zero_logits: Tensor | None  # logits of zero inflation
    log_depth: Tensor | float = 0.0  # log of the counts that genes share, where `mean` is of shares

    def log_counts(self, size: Tensor) -> Tensor:
        """Log of the mean counts of cells with these size factors (cells x 1)."""
        return self.mean + (self.log_depth + size.log())


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them, none after the last."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Residual(nn.Module):
    """A linear map plus a correction by a perceptron, which begins at zero: so training begins at the linear map.

    Parameters
    ----------
    n_in, n_out
        Features in and out; the linear map begins at the first `n_out` of them.
    hidden
        Widths of the correction's hidden layers.
    """

    def __init__(self, n_in: int, hidden: Sequence[int], n_out: int) -> None:
        super().__init__()
        self.linear = linear(n_in, n_out)
        self.correction = mlp(n_in, *hidden, n_out)
        nn.init.zeros_(self.correction[-1].weight)
        nn.init.zeros_(self.correction[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (cells x `n_in`) to cells x `n_out`."""
        return self.linear(x) + self.correction(x)


def encoder(n_in: int, hidden: Sequence[int], n_latent: int, *, residual: bool) -> nn.Module:
    """An encoder that begins as the identity on the leading features, or a plain perceptron."""
    return Residual(n_in, hidden, n_latent) if residual else mlp(n_in, *hidden, n_latent)


def linear(n_in: int, n_out: int) -> nn.Linear:
    """A trainable linear layer that begins by passing on its first features."""
    layer = nn.Linear(n_in, n_out)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Autoencoder(nn.Module):
    """Encoder, linear bottleneck, decoder.

    Parameters
    ----------
    n_vars
        Features that the encoder reads.
    hidden
        Widths of the encoder's hidden layers; a perceptron decoder mirrors them.
    n_latent
        Dimensions of the embedding.
    n_out
        Features or genes that the decoder explains.
    n_covariates
        Columns of the one-hot covariates given to the decoder beside the embedding, so that the embedding need not
        carry them.
    residual
        Whether encoder (and decoder of features) begin as the identity on the leading features, which must be sorted
        by importance as principal components are; otherwise both are plain perceptrons.
    counts
        Whether the decoder explains counts, for which it keeps a dispersion for each gene.
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
        residual: bool = False,
        counts: bool = False,
        zero_inflated: bool = False,
    ) -> None:
        super().__init__()
        self.n_out = n_out
        self.encoder = encoder(n_vars, hidden, n_latent, residual=residual)
        widths = (n_latent + n_covariates, *reversed(hidden))
        if residual and not counts:
            self.decoder: nn.Module = nn.Identity()
            self.mean = linear(widths[0], n_out)
            # Covariates come after the embedding and start without effect.
            nn.init.zeros_(self.mean.weight[:, n_latent:])
        else:
            self.decoder = nn.Sequential(*mlp(*widths), nn.ReLU()) if hidden else nn.Identity()
            self.mean = nn.Linear(widths[-1], n_out)
        self.zero_logits = nn.Linear(widths[-1], n_out) if zero_inflated else None
        self.log_dispersion = nn.Parameter(torch.zeros(n_out)) if counts else None

    def encode(self, x: Tensor) -> Tensor:
        """Embed features (cells x features) into cells x `n_latent`."""
        return self.encoder(x)

    def decode(self, z: Tensor, covariates: Tensor | None = None) -> Decoded:
        """Explain an embedding (cells x `n_latent`), given the cells' covariates."""
        h = self.decoder(z if covariates is None else torch.cat([z, covariates], 1))
        return Decoded(self.mean(h), None if self.zero_logits is None else self.zero_logits(h))
