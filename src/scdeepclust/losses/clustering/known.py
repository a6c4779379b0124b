"""Known clusters: memberships are held to the clusters that some cells are known to belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor


def cross_entropy(log_q: Tensor, labels: Tensor) -> Tensor:
    r"""Mean over cells of :math:`-\log q` of each cell's known cluster, in nats; nothing for cells without one.

    Parameters
    ----------
    log_q
        Log of the soft assignment, cells x clusters.
    labels
        Known cluster of each cell; -1 for none.
    """
    return F.nll_loss(log_q, labels, ignore_index=-1, reduction="sum") / len(labels)
