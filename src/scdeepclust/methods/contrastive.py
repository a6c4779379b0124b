"""Contrastive = encoder x contrast between views, false negatives weighed x none or contrast between clusters x learn, then clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from .. import losses, networks
from ..schedule import Phase
from .views import ContrastMethod, NeighborViewMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..data import Batch, Cells, Inputs


@dataclass(frozen=True, kw_only=True)
class Contrastive(ContrastMethod, NeighborViewMethod):
    """Contrastive learning (InfoNCE): the two views of a cell are told from those of other cells; clusters follow.

    Use it where there are counts to make views of, and no cluster shape to assume. Views are independent parts of a
    cell's molecules at a common depth, and of its neighbours', so that neither noise nor library size tells who a cell is. Other
    cells of its type are no negatives: `negatives="graph"` makes cells that are alike positives by degree, and so keeps
    more of a lineage than telling each cell from all others does.

    van den Oord et al., arXiv 1807.03748 (2018); Chen et al., ICML 2020, arXiv 2002.05709; of single cells
    contrastive-sc, Ciortan and Defrance, BMC Bioinformatics 2021, doi 10.1186/s12859-021-04210-8. Differently: the network
    starts as PCA and has no batch normalisation; thinning instead of dropout of genes; a Student t kernel of distances in the embedding
    itself, as in t-SimCNE (Böhm, Berens, Kobak, ICLR 2023, arXiv 2210.09879), instead of cosines behind a projection head;
    and alike cells as soft positives, as in similarity contrastive estimation (Denize et al., WACV 2023, arXiv
    2111.14585). SimCLR's form is `similarity="cosine", temperature=0.5, negatives="all", projection=(64, 32)`.

    Parameters
    ----------
    similarity
        `"student"`: a Student t kernel of distances; `"cosine"`: of directions, in which case distances in the embedding
        mean less.
    temperature
        By which similarities are divided: low ones look at the nearest negatives only. 1 is Student's kernel as it is;
        cosines want 0.1 to 0.5.
    alike_weight
        Of `negatives="graph"`: share of the attraction that goes to cells that are alike, and not to the other view.
    decoupled
        Leave the positive pair out of the denominator.
    cluster_weight
        Weight of a contrast between clusters (Li et al., AAAI 2021, arXiv 2009.09687), by memberships in centres that
        start from the clusters of the features. 0 leaves it out.
    cluster_prior
        Expected sizes of the clusters, in any order and scale, towards which the balance term of that contrast
        pulls. None takes the sizes of the clusters from which the centres start; equal sizes are the paper's.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, "contrastive", n_clusters=3, views=("thin", "mask"), pretrain_steps=20, progress=False)
    >>> adata.obsm["deepclust_proba"].shape
    (300, 3)
    """

    similarity: Literal["student", "cosine"] = "student"
    temperature: Annotated[float, Gt(0)] = 1.0
    alike_weight: Annotated[float, Ge(0), Le(1)] = 0.5
    decoupled: bool = False
    cluster_weight: Annotated[float, Ge(0)] = 0.0
    cluster_prior: tuple[Annotated[float, Gt(0)], ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cluster_weight and self.finds_number:
            msg = (
                f"cluster_weight={self.cluster_weight} contrasts clusters while training, but their number is found afterwards, "
                f"by {self.finds_number}; leave cluster_weight out, or take a `cluster` that is told the number."
            )
            raise ValueError(msg)
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
                epochs=cells.n_epochs(self.pretrain_steps),
                loss=lambda batch: self.learn(net, cells, batch),
                start=(lambda: self.place_centres(net, cells, seed)) if self.cluster_weight else None,
                recordable=True,
                lr=self.lr,
            ),
            self.find_clusters(net, cells, seed),
        ]

    def learn(self, net: nn.Module, cells: Cells, batch: Batch) -> dict[str, Tensor]:
        """Terms of one minibatch."""
        without_near = self.negatives == "not_neighbors"
        a, b = (net.encode(x) for x in self.two_views(net, cells, batch))
        terms = {
            "contrast": losses.info_nce(
                net.projection(a),
                net.projection(b),
                similarity=self.similarity,
                temperature=self.temperature,
                weights=losses.not_among(batch.index, cells.neighbors[batch.index]) if without_near else None,
                targets=losses.alike(batch.target, self.reach) if self.negatives == "graph" else None,
                target_weight=self.alike_weight,
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
