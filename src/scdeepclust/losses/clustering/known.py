"""Known clusters: memberships are held to the clusters that some cells are known to belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    own = log_q.gather(1, labels.clamp_min(0)[:, None])[:, 0]
    return -own.where(labels >= 0, 0).mean()
