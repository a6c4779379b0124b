"""DEC = autoencoder x reconstruction x assignment hardening x pretrain, then cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from .. import losses
from .autoencoder import AutoencoderMethod
from .sharpening import SharpeningMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..data import Batch, Cells, Inputs
    from ..schedule import Phase


@dataclass(frozen=True, kw_only=True)
class DEC(SharpeningMethod, AutoencoderMethod):
    """Deep embedded clustering: an autoencoder whose encoder is then trained to sharpen its own soft clusters.

    Use it where clear groups are wanted; without a decoder in the second stage it may cut continua
    (:class:`IDEC` keeps the decoder).

    Xie, Girshick, Farhadi, ICML 2016, arXiv 1511.06335. As in the paper: the target distribution is taken over
    all cells, and not over a minibatch. Differently: of more than 20,000 cells it is taken over a sample of so
    many; the default network reads 20 PCs, starts as PCA and decodes linearly, and learns to explain features
    averaged over neighbours, in which k-means also starts; Adam instead of SGD, shuffled minibatches,
    end-to-end instead of layer-wise pretraining that stops early, and clusters that vanish are placed anew;
    where the data choose the clusters, a term that holds cells in them. The paper's network is
    `network_type="mlp", hidden=(500, 500, 2000), n_latent=10, n_diffusion=0`.

    Parameters
    ----------
    partition_weight
        Weight, as a share of the clustering term's, of the cross entropy between memberships and the clusters that the data
        have chosen, where `n_clusters` is not given: training refines them and does not leave them. 0 leaves it out.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, "dec", n_clusters=3, pretrain_steps=20, cluster_steps=20, progress=False)
    >>> list(adata.uns["deepclust"]["history"]["phase"].unique())
    ['pretrain', 'cluster']
    """

    partition_weight: Annotated[float, Ge(0)] = 0.3

    def network(self, inputs: Inputs, *, n_genes: int, n_categories: int) -> nn.Module:
        """An autoencoder with cluster centres and the target that they are trained towards."""
        return self.attach_target(super().network(inputs, n_genes=n_genes, n_categories=n_categories))

    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """Pretrain, place centres, then sharpen."""
        return [
            self.pretrain(net, cells),
            self.sharpen(
                net,
                cells,
                loss=lambda batch: self.cluster_terms(net, cells, batch),
                start=lambda: self.start_centroids(net, cells, seed),
            ),
        ]

    def cluster_terms(self, net: nn.Module, cells: Cells, batch: Batch) -> dict[str, Tensor]:
        """Terms of the clustering stage."""
        z = net.encode(batch.x)
        return {**self.sharpened(net, cells, batch, z), **self.held_together(net, cells, batch, z)}

    def sharpened(
        self, net: nn.Module, cells: Cells, batch: Batch, z: Tensor, weight: float = 1.0
    ) -> dict[str, Tensor]:
        """Terms that shape clusters: sharpness, and, where the data have chosen a partition, faith in it."""
        from ..distributed import n_processes

        log_q = self.log_student_t(net, z)
        terms = {"hardening": weight * self.hardening(net, batch, log_q)}
        if cells.partition is not None and self.partition_weight:
            known = losses.cross_entropy(log_q, cells.partition[batch.index])
            # Of several processes the first alone has chosen, and gradients are averaged over all.
            terms["partition"] = n_processes() * weight * self.partition_weight * known
        return terms

    def log_soft_assign(self, net: nn.Module, z: Tensor) -> Tensor:
        """Student t memberships."""
        return self.log_student_t(net, z)
