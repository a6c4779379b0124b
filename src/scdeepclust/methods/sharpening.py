"""What methods share whose encoder is trained to sharpen its own soft clusters: target, phase, lost clusters."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

from .. import losses, networks
from ..schedule import Phase
from .base import Method

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from ..data import Batch, Cells

TO_UPDATE = 20_000  # cells that an update of the target looks at: clusters' shares of more are the same
MAX_REVIVALS = 3  # a cluster that vanishes again and again has no cells to live on


@dataclass(frozen=True, kw_only=True)
class SharpeningMethod(Method, abstract=True):
    """Parameters of every method with a stage of cluster assignment hardening.

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
        The stage ends when an update changes the label of no larger a share of the cells that it looks at, 20,000 at most.
    cluster_lr
        Learning rate of Adam in the clustering stage.
    """

    alpha: Annotated[float, Gt(0)] = 1.0
    target_power: Annotated[float, Ge(1)] = 2.0
    frequency_power: Annotated[float, Ge(0)] = 1.0
    cluster_steps: Annotated[int, Ge(0)] = 1000
    update_interval: Annotated[int, Ge(1)] = 100
    tolerance: Annotated[float, Ge(0)] = 1e-3
    cluster_lr: Annotated[float, Gt(0)] = 1e-3

    def encoder(self, net: nn.Module) -> nn.Module:
        """The part of a network that embeds features."""
        return net.encoder

    def attach_target(self, net: nn.Module) -> nn.Module:
        """Give a network with an encoder and centres the target that these are trained towards."""
        net.target = networks.SharpenedTarget(
            self.encoder(net),
            net.centroids,
            alpha=self.alpha,
            power=self.target_power,
            frequency_power=self.frequency_power,
        )
        return net

    def sharpen(
        self, net: nn.Module, cells: Cells, *, loss: Callable[[Batch], dict[str, Tensor]], start: Callable[[], None]
    ) -> Phase:
        """The phase that places centres, then sharpens the clusters around them."""
        return Phase(
            "cluster",
            # A single cluster has nothing to sharpen: the rest of the loss would go on alone, past where pretraining ended.
            epochs=0 if cells.n_chosen == 1 else cells.n_epochs(self.cluster_steps),
            loss=loss,
            start=start,
            refresh=lambda: self.refresh(net, cells),
            every=max(1, round(self.update_interval / cells.n_batches())),
            tolerance=self.tolerance,
            sharpens=True,
            recordable=True,
            lr=self.cluster_lr,
        )

    def refresh(self, net: nn.Module, cells: Cells) -> float:
        """Update the target; put clusters that vanished back where cells are badly served."""
        encoder = self.encoder(net)
        some = cells.sample(TO_UPDATE)
        changed, sizes = net.target.refresh(encoder, net.centroids, cells.chunks(some))
        lost = losses.collapsed(net.centroids.weight, sizes)
        if lost.any():  # of those looked at: a cluster of a few cells may have others
            lost = losses.collapsed(net.centroids.weight, net.target.sizes(cells.chunks()))
        if lost.any() and int(net.target.n_revivals) < MAX_REVIVALS:
            net.target.n_revivals += 1
            net.centroids.weight[lost] = networks.farthest(
                encoder, net.centroids.weight[~lost], int(lost.sum()), cells.chunks()
            )
            msg = (
                f"{int(lost.sum())} of {len(lost)} clusters had become empty or equal to another; their centres were "
                "placed anew at the cells farthest from any centre. Should this come back, ask for fewer clusters or "
                "lower cluster_lr."
            )
            warnings.warn(msg, losses.CollapseWarning, stacklevel=2)
            net.target.refresh(encoder, net.centroids, cells.chunks(some))
            return 1.0
        return float(changed / sizes.sum())

    def hardening(self, net: nn.Module, batch: Batch, log_q: Tensor) -> Tensor:
        """Divergence of soft assignments, given in logs, from their target."""
        return losses.hardening(net.target(batch.x), log_q)

    def log_student_t(self, net: nn.Module, z: Tensor) -> Tensor:
        """Log of Student t memberships in the clusters around the centres."""
        return losses.student_t(z, net.centroids.weight, self.alpha)
