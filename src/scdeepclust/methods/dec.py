"""DEC = autoencoder x reconstruction x assignment hardening x pretrain, then cluster."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

from .. import losses, networks
from ..schedule import Phase
from .autoencoder import AutoencoderMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..data import Batch, Cells, Inputs


MAX_REVIVALS = 3  # a cluster that vanishes again and again has no cells to live on


@dataclass(frozen=True, kw_only=True)
class DEC(AutoencoderMethod):
    """Deep embedded clustering: an autoencoder whose encoder is then trained to sharpen its own soft clusters.

    Use it where clear groups are wanted; without a decoder in the second stage it may cut continua
    (:class:`IDEC` keeps the decoder).

    Xie, Girshick, Farhadi, ICML 2016, arXiv 1511.06335. As in the paper: the target distribution is taken over all
    cells. Differently: the default network reads 20 PCs, starts as PCA and decodes linearly, and learns to explain
    features averaged over neighbours, in which k-means also starts; Adam instead of SGD, shuffled minibatches,
    end-to-end instead of layer-wise pretraining that stops early, and clusters that vanish are placed anew. The paper's
    network is `network_type="mlp", hidden=(500, 500, 2000), n_latent=10, n_diffusion=0`.

    Parameters
    ----------
    alpha
        Degrees of freedom of the Student t kernel.
    target_power
        Power of the soft assignments in the target; 2 in the paper, nearer 1 is gentler on cells in transition.
    frequency_power
        Power of the clusters' sizes by which the target is divided; 1 in the paper favours equal sizes, 0 leaves
        rare types alone.
    cluster_steps
        At most this many minibatches of the clustering stage, rounded up to whole passes over the cells.
    update_interval
        Minibatches (rounded to epochs) between two updates of the target.
    tolerance
        The stage ends when an update changes the label of a smaller share of cells.
    cluster_lr
        Learning rate of Adam in the clustering stage.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, "dec", n_clusters=3, pretrain_steps=20, cluster_steps=20, progress=False)
    >>> list(adata.uns["deepclust"]["history"]["phase"].unique())
    ['pretrain', 'cluster']
    """

    alpha: Annotated[float, Gt(0)] = 1.0
    target_power: Annotated[float, Ge(1)] = 2.0
    frequency_power: Annotated[float, Ge(0)] = 1.0
    cluster_steps: Annotated[int, Ge(0)] = 1000
    update_interval: Annotated[int, Ge(1)] = 100
    tolerance: Annotated[float, Ge(0)] = 1e-3
    cluster_lr: Annotated[float, Gt(0)] = 1e-3

    def network(self, inputs: Inputs, *, n_genes: int, n_categories: int) -> nn.Module:
        """An autoencoder with cluster centres and the target that they are trained towards."""
        net = super().network(inputs, n_genes=n_genes, n_categories=n_categories)
        net.target = networks.SharpenedTarget(
            net.encoder,
            net.centroids,
            alpha=self.alpha,
            power=self.target_power,
            frequency_power=self.frequency_power,
        )
        return net

    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """Pretrain, place centres, then sharpen."""
        return [
            self.pretrain(net, cells),
            Phase(
                "cluster",
                epochs=cells.n_epochs(self.cluster_steps),
                loss=lambda batch: self.cluster(net, cells, batch),
                start=lambda: self.start_centroids(net, cells, seed),
                refresh=lambda: self.refresh(net, cells),
                every=max(1, round(self.update_interval / cells.n_batches())),
                tolerance=self.tolerance,
                lr=self.cluster_lr,
            ),
        ]

    def cluster(self, net: nn.Module, cells: Cells, batch: Batch) -> dict[str, Tensor]:
        """Terms of the clustering stage."""
        z = net.encode(batch.x)
        return {"hardening": self.hardening(net, batch, z), **self.held_together(net, cells, batch, z)}

    def refresh(self, net: nn.Module, cells: Cells) -> float:
        """Update the target; put clusters that vanished back where cells are badly served."""
        changed, sizes = net.target.refresh(net.encoder, net.centroids, cells.chunks())
        lost = losses.collapsed(net.centroids.weight, sizes)
        if lost.any() and int(net.target.n_revivals) < MAX_REVIVALS:
            net.target.n_revivals += 1
            net.centroids.weight[lost] = networks.farthest(
                net.encoder, net.centroids.weight[~lost], int(lost.sum()), cells.chunks()
            )
            msg = (
                f"{int(lost.sum())} of {len(lost)} clusters had become empty or equal to another; their centres were "
                "placed anew at the cells farthest from any centre. Should this come back, ask for fewer clusters or "
                "lower cluster_lr."
            )
            warnings.warn(msg, losses.CollapseWarning, stacklevel=2)
            net.target.refresh(net.encoder, net.centroids, cells.chunks())
            return 1.0
        return float(changed / sizes.sum())

    def hardening(self, net: nn.Module, batch: Batch, z: Tensor) -> Tensor:
        """Divergence of soft assignments from their target."""
        return losses.hardening(net.target(batch.x), self.log_soft_assign(net, z))

    def log_soft_assign(self, net: nn.Module, z: Tensor) -> Tensor:
        """Student t memberships."""
        return losses.student_t(z, net.centroids.weight, self.alpha)
