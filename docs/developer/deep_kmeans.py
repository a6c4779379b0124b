"""Deep k-means = autoencoder x reconstruction x soft k-means x pretrain, then both together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

from scdeepclust.methods.autoencoder import AutoencoderMethod
from scdeepclust.schedule import Phase

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scdeepclust.data import Batch, Cells


@dataclass(frozen=True, kw_only=True)
class DeepKMeans(AutoencoderMethod):
    """Deep k-means: cells are drawn to their centres, each cell to the near ones in proportion to its membership.

    Fard, Thonet, Gaussier, Pattern Recognition Letters 138:185-192, 2020, arXiv 1806.10069. Differently: `hardness` is
    fixed instead of annealed, and networks, features and starting centres are those of all our autoencoder methods.

    Parameters
    ----------
    weight
        Weight of the clustering term.
    hardness
        How sharply memberships fall with the squared distance to a centre; large values give k-means.
    cluster_steps
        At most this many minibatches of the clustering stage, rounded up to whole passes over the cells.
    """

    weight: Annotated[float, Ge(0)] = 0.1
    hardness: Annotated[float, Gt(0)] = 1.0
    cluster_steps: Annotated[int, Ge(0)] = 500

    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """Pretrain, place centres, then train network and centres together."""
        return [
            self.pretrain(net, cells),
            Phase(
                "cluster",
                epochs=cells.n_epochs(self.cluster_steps),
                loss=lambda batch: self.cluster_terms(net, cells, batch),
                start=lambda: self.start_centroids(net, cells, seed),
                patience=self.patience,
                lr=self.lr,
            ),
        ]

    def cluster_terms(self, net: nn.Module, cells: Cells, batch: Batch) -> dict[str, Tensor]:
        """Terms of the clustering stage."""
        z = self.encode(net, batch)
        nearness = self.log_soft_assign(net, z).exp() * squared_distances(z, net.centroids.weight)
        return {
            "reconstruction": self.reconstruction(net, batch, z),
            "kmeans": self.weight * nearness.sum(1).mean(),
            **self.held_together(net, cells, batch, z),
        }

    def log_soft_assign(self, net: nn.Module, z: Tensor) -> Tensor:
        """Log memberships: the nearer a centre, the higher."""
        return (-self.hardness * squared_distances(z, net.centroids.weight)).log_softmax(1)


def squared_distances(z: Tensor, centroids: Tensor) -> Tensor:
    """Of cells to centres, cells x clusters."""
    return (z[:, None] - centroids).square().sum(2)
