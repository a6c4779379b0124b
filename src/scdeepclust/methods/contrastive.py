"""Contrastive = encoder x contrast between views, false negatives weighed x none or contrast between clusters x learn, then clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Gt

from .. import losses, networks
from ..schedule import Phase
from .views import ContrastMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..data import Batch, Cells, Inputs


@dataclass(frozen=True, kw_only=True)
class Contrastive(ContrastMethod):
    """Contrastive learning (InfoNCE, NT-Xent): the two views of a cell are told from those of other cells; clusters follow.

    Parameters
    ----------
    temperature
        Of the contrast between cells.
    decoupled
        Leave the positive pair out of the denominator.
    cluster_weight
        Weight of a contrast between clusters, by memberships in centres that start from the clusters of the features.
        0 leaves it out.
    cluster_prior
        Expected sizes of the clusters, in any order and scale, towards which the balance term of that contrast
        pulls. None takes the sizes of the clusters from which the centres start.
    """

    temperature: Annotated[float, Gt(0)] = 0.5
    decoupled: bool = False
    cluster_weight: Annotated[float, Ge(0)] = 0.0
    cluster_prior: tuple[Annotated[float, Gt(0)], ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        n = len(self.cluster_prior or ())
        if self.cluster_prior is not None and n != self.n_clusters:
            msg = f"cluster_prior has {n} sizes, n_clusters={self.n_clusters}; give as many as clusters."
            raise ValueError(msg)

    def network(self, inputs: Inputs, *, n_genes: int, n_categories: int) -> nn.Module:
        """An encoder with a projection head, and centres where clusters are contrasted too."""
        net = super().network(inputs, n_genes=n_genes, n_categories=n_categories)
        if self.cluster_weight:
            net.clusters = networks.ClusterHead(self.n_latent)
        return net

    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """Contrast views, then find clusters."""
        return [
            Phase(
                "contrast",
                epochs=self.epochs(cells),
                loss=lambda batch: self.learn(net, cells, batch),
                start=(lambda: self.place_centres(net, cells, seed)) if self.cluster_weight else None,
                lr=self.lr,
            ),
            self.find_clusters(net, cells, seed),
        ]

    def learn(self, net: nn.Module, cells: Cells, batch: Batch) -> dict[str, Tensor]:
        """Terms of one minibatch."""
        a, b = (net.encode(x) for x in self.two_views(net, cells, batch))
        terms = {
            "contrast": losses.nt_xent(
                net.projection(a),
                net.projection(b),
                temperature=self.temperature,
                weights=self.negative_weights(cells, batch),
                decoupled=self.decoupled,
            )
        }
        if self.cluster_weight:
            centres, prior = net.clusters.weight, net.clusters.prior
            q_a, q_b = (losses.student_t(z, centres).exp() for z in (a, b))
            terms["clusters"] = self.cluster_weight * losses.cluster_contrast(q_a, q_b)
            terms["balance"] = self.cluster_weight * (losses.balance(q_a, prior) + losses.balance(q_b, prior)) / 2
        return terms

    def place_centres(self, net: nn.Module, cells: Cells, seed: int) -> None:
        """Centres, and the sizes that clusters are expected to have, from clusters of the features."""
        found, _ = self.clusters(net, cells, seed, "kmeans")
        net.clusters.set(net.clusters.weight.new_tensor(found.means))
        sizes = self.cluster_prior or np.bincount(found.labels, minlength=len(found.means)) / len(found.labels)
        net.clusters.prior = net.clusters.weight.new_tensor(sizes)
