"""An autoencoder that says how sure it is of an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from .autoencoder import Autoencoder, mlp

if TYPE_CHECKING:
    from collections.abc import Sequence

START = -4.0  # log of the variance where training starts: nearly none, so that it starts where the autoencoder was
LOWEST, HIGHEST = -10.0, 4.0


class VariationalAutoencoder(Autoencoder):
    """An autoencoder with a Gaussian posterior, whose mean is the embedding.

    Parameters
    ----------
    n_vars, hidden, n_latent, **others
        As of :class:`Autoencoder`.
    """

    def __init__(self, n_vars: int, hidden: Sequence[int], n_latent: int, **others: Any) -> None:
        super().__init__(n_vars, hidden, n_latent, **others)
        self.log_variance = mlp(n_vars, *hidden, n_latent)
        nn.init.zeros_(self.log_variance[-1].weight)
        nn.init.constant_(self.log_variance[-1].bias, START)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each cells x `n_latent`."""
        return self.encode(x), self.log_variance(x).clamp(LOWEST, HIGHEST)
