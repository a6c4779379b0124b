"""Triplet = encoder x semi-hard triplets of neighbours, views or labels x none x learn, then clusters."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt, Lt

from .. import losses, views
from ..schedule import Phase
from .views import ContrastMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..data import Batch, Cells, Inputs


@dataclass(frozen=True, kw_only=True)
class Triplet(ContrastMethod):
    """Triplet loss (FaceNet): a cell shall be nearer to one like it than to others, by a margin; clusters follow.

    What is like it: a neighbour (the default) or the cell itself in another view, which need no labels; or cells of the
    same label. **With labels, the structure that comes out is post hoc**: the embedding separates what it was told to
    separate, so agreement with these labels, or the distance between their types, is no finding. `uns` then says
    `used_labels`.

    Schroff, Kalenichenko, Philbin, CVPR 2015, arXiv 1503.03832. As in the paper: unit length, semi-hard negatives,
    mined in each minibatch. Differently: the mean over all semi-hard negatives of a minibatch, each weighted by how
    far it is from the cell, because without labels the hardest are mostly of the same type; and the positive is drawn
    from all cells.

    `uns` also tells the share of minibatches in which there was no triplet to learn from (`batches_without_triplet`).

    Parameters
    ----------
    positives
        `"neighbors"` (a mutual neighbour), `"views"` (the cell itself) or `"labels"` (a cell of the same label, and a
        neighbour for cells without label). Two views are made of the cell and its positive, as `views` says.
    labels_key
        Column of `obs` with labels for `positives="labels"`; some may be missing. Nothing else ever reads labels.
    views
        What makes the two views, one after the other: `"thin"` (of counts: two disjoint parts of the molecules, at a common
        depth), `"mask"` (of genes: some are hidden), `"noise"` (Gaussian) and `"mixup"` (each is moved towards a
        neighbour). None takes thinning of counts, masking of log-normalised values, noise of a representation.
    margin
        In squared distances of unit vectors, which are at most 4. At the paper's 0.2, chosen for labels, most negatives of
        a cell in the middle of a type are of that type, and types are spread out until k-means cuts them.
    lr
        Learning rate of Adam. High ones spread types in the same way.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, "triplet", n_clusters=3, pretrain_steps=20, progress=False)
    >>> adata.uns["deepclust"]["batches_without_triplet"]
    0.0
    """

    positives: Literal["neighbors", "views", "labels"] = "neighbors"
    labels_key: str | None = None
    margin: Annotated[float, Gt(0), Lt(4)] = 1.0
    lr: Annotated[float, Gt(0)] = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.positives == "labels") != (self.labels_key is not None):
            msg = f"positives={self.positives!r} and labels_key={self.labels_key!r}: labels need both 'labels' and a column of obs."
            raise ValueError(msg)
        if "neighbors" in (self.views or ()):
            msg = f"views={self.views!r}: here positives says whether the second view is of a neighbour; leave 'neighbors' out."
            raise ValueError(msg)

    def views_of(self, kind: str) -> tuple[str, ...]:
        """The views that are made of a cell and its positive."""
        return tuple(view for view in super().views_of(kind) if view != "neighbors")

    def needs_neighbors(self, kind: str) -> bool:
        """Whether anything asks who is near whom."""
        return self.positives != "views" or super().needs_neighbors(kind)

    def network(self, inputs: Inputs, *, n_genes: int, n_categories: int) -> nn.Module:
        """An encoder, and how often there was nothing to learn."""
        net = super().network(inputs, n_genes=n_genes, n_categories=n_categories)
        net.register_buffer("n_batches", net.head.n_noise.new_zeros(2))  # all, and those without a triplet
        return net

    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """Learn from triplets, then find clusters."""
        same = None if cells.labels is None else views.SameLabel(cells.labels)
        return [
            Phase(
                "triplet",
                epochs=cells.n_epochs(self.pretrain_steps),
                loss=lambda batch: self.learn(net, cells, batch, same),
                recordable=True,
                lr=self.lr,
            ),
            self.find_clusters(net, cells, seed),
        ]

    def learn(self, net: nn.Module, cells: Cells, batch: Batch, same: views.SameLabel | None) -> dict[str, Tensor]:
        """Loss of one minibatch, zero where it has no triplet."""
        import torch

        from ..distributed import total

        positive = batch.index
        if self.positives != "views":
            positive = views.draw(cells.neighbors[batch.index])
        weights = self.weights(cells, batch)
        if same is not None:
            known = cells.labels[batch.index]
            positive = same.draw(batch.index).where(known >= 0, positive)
            weights = _by_labels(known, weights)
        a, b = (net.project(x) for x in self.views_with(net, cells, batch, positive))
        loss, share = losses.semi_hard(a, b, margin=self.margin, weights=weights)
        here = torch.stack([torch.ones_like(share), (share == 0).to(share)])
        net.n_batches += total(here.detach().to(net.n_batches))
        return {"triplet": loss}

    def weights(self, cells: Cells, batch: Batch) -> Tensor | None:
        """How much each cell of a minibatch is a negative of each other; None for all alike."""
        if self.negatives == "all":
            return None
        if self.negatives == "not_neighbors":
            return losses.not_among(batch.index, cells.neighbors[batch.index])
        return losses.unlike(batch.target, self.reach)

    def report(self, net: nn.Module, cells: Cells) -> dict[str, Any]:
        """Whether labels were used, and how often there was something to learn."""
        n_batches, n_without = net.n_batches.tolist()
        if n_batches and n_without == n_batches:
            msg = (
                "In no minibatch did a cell have a negative within the margin, so nothing was learned; raise margin or "
                "batch_size, or lower reach."
            )
            warnings.warn(msg, UserWarning, stacklevel=2)
        share = n_without / max(n_batches, 1)
        found = {**super().report(net, cells), "batches_without_triplet": share}
        if cells.labels is not None:
            found |= {"used_labels": self.labels_key, "n_labelled": int((cells.labels >= 0).sum())}
        return found


def _by_labels(known: Tensor, weights: Tensor | None) -> Tensor:
    """Weights of negatives, decided by labels where both cells have one."""
    both = (known[:, None] >= 0) & (known >= 0)
    differ = (known[:, None] != known).float()
    return differ.where(both, 1.0 if weights is None else weights)
