"""AE + k-means = autoencoder x reconstruction x none x pretrain, then k-means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..schedule import Phase
from .autoencoder import AutoencoderMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..data import Cells


@dataclass(frozen=True, kw_only=True)
class AEKMeans(AutoencoderMethod):
    """Autoencoder, then k-means on its embedding.

    The baseline that every method which clusters while it learns has to beat, and the fastest of the deep ones.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, "aekmeans", n_clusters=3, pretrain_steps=20, progress=False)
    >>> adata.obsm["deepclust_proba"].shape
    (300, 3)
    """

    def start_features(self, embedding: Tensor, averaged: Tensor | None) -> Tensor | None:
        """K-means works in the embedding itself."""
        return embedding

    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """Pretrain, then place centres."""
        return [
            self.pretrain(net, cells),
            Phase("cluster", start=lambda: self.start_centroids(net, cells, seed)),
        ]
