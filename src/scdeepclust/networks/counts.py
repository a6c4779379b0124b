"""The layers of scvi-tools' variational autoencoder of counts, behind the verbs of our networks."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .autoencoder import Decoded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self


class CountAutoencoder(nn.Module):
    """Encoder and decoder of scvi-tools (`scvi.nn`): batch normalisation, dropout, a softmax over genes.

    It reads the logarithm of one plus the counts, and weights of a model that scvi-tools trained can be taken over.

    Parameters
    ----------
    n_genes
        Genes in and out.
    n_hidden
        Width of the hidden layers.
    n_layers
        Their number, in the encoder and in the decoder.
    n_latent
        Dimensions of the embedding.
    n_covariates
        Columns of the one-hot covariates given to each layer of the decoder.
    dropout
        Share of the encoder's hidden units that are left out in training.
    zero_inflated
        Whether the decoder also gives the logits of zero inflation.
    """

    log_depth: Tensor  # log of the counts, in the genes used, of a cell of size factor one

    def __init__(
        self,
        n_genes: int,
        n_hidden: int,
        n_layers: int,
        n_latent: int,
        *,
        n_covariates: int = 0,
        dropout: float = 0.1,
        zero_inflated: bool = False,
    ) -> None:
        super().__init__()
        with warnings.catch_warnings():  # on import, its dependencies warn of each other
            warnings.simplefilter("ignore")
            from scvi.nn import DecoderSCVI, Encoder
        self.n_out, self.zero_inflated = n_genes, zero_inflated
        # scvi-tools gives a covariate of one category no column, and nor do we where it is the only one.
        self.n_covariates = n_covariates if n_covariates > 1 else 0
        layers = {"n_layers": n_layers, "n_hidden": n_hidden, "use_layer_norm": False, "use_batch_norm": True}
        self.encoder = Encoder(n_genes, n_latent, dropout_rate=dropout, **layers)
        self.decoder = DecoderSCVI(n_latent, n_genes, n_cat_list=[self.n_covariates], **layers)
        self.log_dispersion = nn.Parameter(torch.zeros(n_genes))
        self.register_buffer("log_depth", torch.zeros(()))

    def encode(self, x: Tensor) -> Tensor:
        """Embed features (cells x genes) into cells x `n_latent`."""
        return self.encoder.mean_encoder(_hidden(self.encoder, x))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each cells x `n_latent`."""
        hidden = _hidden(self.encoder, x)
        variance = self.encoder.var_activation(self.encoder.var_encoder(hidden)) + self.encoder.var_eps
        return self.encoder.mean_encoder(hidden), variance.log()

    def decode(self, z: Tensor, covariates: Tensor | None = None) -> Decoded:
        """Explain an embedding (cells x `n_latent`), given the cells' covariates."""
        hidden = self.decoder.px_decoder(z, covariates if self.n_covariates else z[:, :0])
        log_share = self.decoder.px_scale_decoder[0](hidden).log_softmax(1)
        zero_logits = self.decoder.px_dropout_decoder(hidden) if self.zero_inflated else None
        return Decoded(log_share, zero_logits, self.log_depth)

    def take_over(self, weights: dict[str, Tensor]) -> None:
        """Load what :func:`trained_weights` gave.

        Raises
        ------
        RuntimeError
            The layers differ.
        """
        own = self.state_dict()
        needed = {name for name in own if name.startswith(("encoder.", "decoder.", "log_dispersion"))}
        if needed != weights.keys():
            msg = f"they have no, or other, {', '.join(sorted(needed ^ weights.keys())[:3])}"
            raise RuntimeError(msg)
        self.load_state_dict(own | weights)


class MeanEncoder(nn.Module):
    """scvi-tools' encoder giving posterior means, with nothing left to chance or to the minibatch, trained or not.

    Parameters
    ----------
    encoder
        The `encoder` of a :class:`CountAutoencoder`.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.eval()

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 torch's signature
        """Stay as in evaluation: no dropout, and batch normalisation by the averages of training."""
        return super().train(False)  # noqa: FBT003

    def forward(self, x: Tensor) -> Tensor:
        """Embed features (cells x genes) into cells x latent."""
        return self.encoder.mean_encoder(_hidden(self.encoder, x))


def _hidden(encoder: nn.Module, x: Tensor) -> Tensor:
    """What an encoder of scvi-tools, which sees no covariates, makes of features; its own way copies them first."""
    for layers in encoder.encoder.fc_layers:
        for layer in filter(None, layers):
            x = layer(x)
    return x


def trained_weights(module: nn.Module, n_categories: Sequence[int] = ()) -> dict[str, Tensor]:
    """Weights of a module of scvi-tools, by the names and in the shapes that they have in :class:`CountAutoencoder`.

    Parameters
    ----------
    module
        What scvi-tools trained.
    n_categories
        Categories of each covariate. scvi-tools gives one of a single category no column; here it has one if there are
        others, which weighs nothing.
    """
    parts = {"encoder": module.z_encoder, "decoder": module.decoder}
    found = {f"{name}.{k}": v for name, part in parts.items() for k, v in part.state_dict().items()}
    found = {k: v.detach().cpu().clone() for k, v in (found | {"log_dispersion": module.px_r}).items()}
    there = torch.tensor([n > 1 for n in n_categories for _ in range(n)], dtype=torch.bool)
    if len(there) < 2 or there.all():
        return found
    for name, weight in found.items():
        if re.fullmatch(r"decoder\.px_decoder\.fc_layers\.[^.]*\.0\.weight", name):
            hidden, known = weight.split([weight.shape[1] - int(there.sum()), int(there.sum())], 1)
            told = weight.new_zeros(len(weight), len(there))
            told[:, there] = known
            found[name] = torch.cat([hidden, told], 1)
    return found
