"""DINO = student and teacher x self-distillation over gene crops x prototypes as over-clusters x learn, then join."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from .. import clustering, losses, networks
from ..schedule import Phase
from .views import NeighborViewMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..data import Batch, Cells, Inputs

CENTRE_MOMENTUM = 0.9  # of the running mean that the teacher's logits are centred by, as in the paper
ALL_IN_ONE, ALL_EQUAL = 1.5, 0.9  # prototypes in use, and share of prototypes that a cell belongs to: both collapses


@dataclass(frozen=True, kw_only=True)
class DINO(NeighborViewMethod):
    """Self-distillation (DINO): a student tells of a few genes of a cell what its teacher tells of most of them.

    Use it where cells are well covered and you want the states themselves, without negatives: prototypes are
    over-clusters, and their joins the clusters.

    Caron et al., ICCV 2021, arXiv 2104.14294. As in the paper: two views for the teacher and more, smaller ones for
    the student, centring and sharpening, a teacher that is the student's running average and embeds in the end.
    Differently: crops are subsets of genes (of a representation, noisy copies), tens of prototypes instead of 65,536,
    a constant momentum, Adam, and no schedules of weight decay and temperature.

    Both ways to collapse are watched: `uns` tells how many prototypes are in use (`prototypes_used`, the exponential of
    the entropy of their mean share), how many a cell belongs to (`prototypes_per_cell`, that of the mean entropy), and the
    effective rank of the embedding. One prototype for all cells, or all prototypes for each cell, is warned of.

    Parameters
    ----------
    cluster
        `"prototypes"` joins prototypes by Ward's rule in the embedding until `n_clusters` are left; others as elsewhere
        (`"kmeans"`, `"gmm"`, `"leiden"`, `"agglomerative"`, `"kmedoids"`, `"hdbscan"`).
    views
        What makes a view of a cell, one after the other: `"thin"` (of counts: a part of the molecules, at a common depth),
        `"mask"` (of genes: some are hidden), `"noise"` (Gaussian), `"neighbors"` (the second of the teacher's is of a mutual
        nearest neighbour) and `"mixup"` (each is moved towards such a neighbour). None takes thinning and masking of
        counts, masking of log-normalised values, noise and neighbours of a representation.
    mask_rate
        Share of genes that the teacher's views hide.
    local_mask_rate
        Share of genes that the student's own views hide.
    n_local
        How many of these there are.
    n_prototypes
        Directions that student and teacher tell cells by; several for each cluster.
    student_temperature, teacher_temperature
        Of their softmax. The teacher's is lower, which sharpens; above 0.07 the paper found it unstable.
    teacher_momentum
        Share of the teacher that stays at each step.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, "dino", n_clusters=3, pretrain_steps=20, progress=False)
    >>> adata.uns["deepclust"]["prototypes_used"] > 1.5
    True
    """

    cluster: Literal["prototypes", "kmeans", "gmm", "leiden", "agglomerative", "kmedoids", "hdbscan"] = "prototypes"
    projection: tuple[Annotated[int, Ge(1)], ...] = (64, 32)
    local_mask_rate: Annotated[float, Gt(0), Lt(1)] = 0.7
    n_local: Annotated[int, Ge(0)] = 2
    n_prototypes: Annotated[int, Ge(2)] = 64
    student_temperature: Annotated[float, Gt(0)] = 0.1
    teacher_temperature: Annotated[float, Gt(0)] = 0.04
    teacher_momentum: Annotated[float, Ge(0), Lt(1)] = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_clusters is not None and self.n_clusters > self.n_prototypes:
            msg = f"n_clusters={self.n_clusters} is more than n_prototypes={self.n_prototypes}, of which clusters are made; raise n_prototypes."
            raise ValueError(msg)

    def views_of(self, kind: str) -> tuple[str, ...]:
        """Crops where there are genes."""
        if self.views is not None:
            return self.views
        return {"counts": ("thin", "mask"), "lognorm": ("mask",), "rep": ("noise", "neighbors")}[kind]

    def projector(self, inputs: Inputs) -> nn.Module:
        """Student and teacher."""
        n_in = self.projection[-1] if self.projection else self.n_latent
        return networks.SelfDistilled(super().projector(inputs), networks.Prototypes(n_in, self.n_prototypes))

    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """Distil, then join prototypes."""
        return [
            Phase(
                "distil",
                epochs=cells.n_epochs(self.pretrain_steps),
                loss=lambda batch: self.learn(net, cells, batch),
                after=lambda: net.follow(self.teacher_momentum),
                max_norm=3.0,  # as in the paper
                recordable=True,
                lr=self.lr,
            ),
            self.find_clusters(net, cells, seed),
        ]

    def learn(self, net: nn.Module, cells: Cells, batch: Batch) -> dict[str, Tensor]:
        """Loss of one minibatch."""
        crops = list(self.two_views(net, cells, batch))
        told = [net.told(net.encode(x)) for x in crops]
        targets = [losses.centred(logits, net.centre, self.teacher_temperature) for logits in told]
        self.recentre(net, told)
        for i in range(self.n_local):
            if i % 2 == 0:
                more = self.seen(net, cells, batch, mask_rate=self.local_mask_rate)
            crops.append(next(more))
        student = [net.learned(x) for x in crops]
        return {"distillation": losses.self_distillation(student, targets, temperature=self.student_temperature)}

    def recentre(self, net: nn.Module, told: list[Tensor]) -> None:
        """Move the centre towards the mean of what the teacher told, over all processes."""
        from ..distributed import total

        n = total(net.centre.new_full((1,), sum(len(logits) for logits in told)))
        mean = total(sum(logits.detach().sum(0) for logits in told)) / n
        net.centre.lerp_(mean, 1 - CENTRE_MOMENTUM)

    def _find(self, net: nn.Module, cells: Cells, seed: int) -> None:
        if self.cluster != "prototypes":
            super()._find(net, cells, seed)
            return
        from ..distributed import from_rank_zero, gathered

        z = gathered(networks.embed(net, cells))
        n_clusters = self.n_clusters or from_rank_zero(lambda: int(cells.partition.max()) + 1)
        found = from_rank_zero(lambda: self._joined(net, z, n_clusters))
        if found is None:
            many = n_clusters > self.n_prototypes  # the data have chosen more than there can be
            what = f"n_prototypes={self.n_prototypes} are fewer than the {n_clusters} clusters chosen"
            used = f"Fewer prototypes are in use than there are clusters ({n_clusters}), the teacher has collapsed"
            msg = (
                f"{what if many else used}: clusters are those of k-means in the embedding. "
                f"{'Raise n_prototypes' if many else 'Train longer, or lower teacher_temperature'}."
            )
            warnings.warn(msg, losses.CollapseWarning, stacklevel=2)
            self.place(net, *self.clusters(net, cells, seed, "kmeans"), seed)
            return
        net.merged.copy_(net.merged.new_tensor(found))

    def _joined(self, net: nn.Module, z: Tensor, n_clusters: int) -> np.ndarray | None:
        """Cluster of each prototype, or None where too few are in use; one without cells goes with the one most like it."""
        used, of_cell = self.prototypes(net, z).argmax(1).unique(return_inverse=True)
        if len(used) < n_clusters:
            return None
        of_cell = of_cell.cpu().numpy()
        labels = clustering.joined(z.cpu().numpy(), of_cell, n_clusters)
        of_used = np.zeros(len(used), dtype=np.int64)
        of_used[of_cell] = labels
        similarity = net.teacher["prototypes"].similarity
        return of_used[similarity[:, used].argmax(1).cpu().numpy()]

    def prototypes(self, net: nn.Module, z: Tensor) -> Tensor:
        """Probabilities of prototypes for embedded cells, cells x prototypes."""
        return losses.centred(net.told(z), net.centre, self.teacher_temperature)

    def log_soft_assign(self, net: nn.Module, z: Tensor) -> Tensor:
        """Sums over the prototypes of each cluster, or what the algorithm that found clusters says."""
        if (net.merged < 0).any():
            return super().log_soft_assign(net, z)
        p = self.prototypes(net, z)
        of_clusters = p.new_zeros(len(p), int(net.merged.max()) + 1).index_add(1, net.merged, p)
        return of_clusters.clamp_min(1e-30).log()

    def report(self, net: nn.Module, cells: Cells) -> dict[str, Any]:
        """Whether student and teacher collapsed."""
        import torch

        mean, entropy, n = 0.0, 0.0, 0
        for batch in cells.chunks():
            p = self.prototypes(net, net.encode(batch.x)).double()
            mean, n = mean + p.sum(0), n + len(p)
            entropy += float(torch.special.entr(p).sum())
        used, each = math.exp(float(torch.special.entr(mean / n).sum())), math.exp(entropy / n)
        if used < ALL_IN_ONE or each > ALL_EQUAL * self.n_prototypes:
            what = (
                "nearly all cells have one prototype" if used < ALL_IN_ONE else "cells belong to all prototypes alike"
            )
            msg = f"Self-distillation collapsed: {what}. Train longer, or change teacher_temperature ({self.teacher_temperature})."
            warnings.warn(msg, losses.CollapseWarning, stacklevel=2)
        return {**super().report(net, cells), "prototypes_used": used, "prototypes_per_cell": each}
