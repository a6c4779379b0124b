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
        counts: bool = False,
        zero_inflated: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = mlp(n_vars, *hidden, n_latent)
        widths = (n_latent + n_covariates, *reversed(hidden))
        self.decoder = nn.Sequential(*mlp(*widths), nn.ReLU()) if hidden else nn.Identity()
        self.mean = nn.Linear(widths[-1], n_out)
        self.zero_logits = nn.Linear(widths[-1], n_out) if zero_inflated else None
        self.log_dispersion = nn.Parameter(torch.zeros(n_out)) if counts else None
        import os
        V=os.environ.get("VAR","")
        self.skip_in = self.skip_out = None
        if "s" in V:
            self.skip_in = nn.Linear(n_vars, n_latent); nn.init.eye_(self.skip_in.weight); nn.init.zeros_(self.skip_in.bias)
            nn.init.zeros_(self.encoder[-1].weight); nn.init.zeros_(self.encoder[-1].bias)
            self.encoder = Res(self.encoder, self.skip_in)
            if "f" in V: self.skip_in.requires_grad_(False)
        if "o" in V:
            self.skip_out = nn.Linear(n_latent, n_out); nn.init.eye_(self.skip_out.weight); nn.init.zeros_(self.skip_out.bias)
            nn.init.zeros_(self.mean.weight); nn.init.zeros_(self.mean.bias)
            if "g" in V: self.skip_out.requires_grad_(False)
        self.lin = "l" in V

    def encode(self, x: Tensor) -> Tensor:
        """Embed features (cells x features) into cells x `n_latent`."""
        return self.encoder(x)

    def decode(self, z: Tensor, covariates: Tensor | None = None) -> Decoded:
        """Explain an embedding (cells x `n_latent`), given the cells' covariates."""
        h = self.decoder(z if covariates is None else torch.cat([z, covariates], 1))
        if self.lin: return Decoded(self.skip_out(z), None)
        if self.skip_out is not None: return Decoded(self.mean(h)+self.skip_out(z[:, :self.skip_out.in_features]), None)
        return Decoded(self.mean(h), None if self.zero_logits is None else self.zero_logits(h))

class Res(nn.Module):
    def __init__(self,a,b):
        super().__init__(); self.a=a; self.b=b
    def forward(self,x): return self.a(x)+self.b(x)
