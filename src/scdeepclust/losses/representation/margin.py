"""Triplet loss: a cell is nearer to one like it than to another, by a margin.

Source: Schroff, Kalenichenko, Philbin, "FaceNet", CVPR 2015, arXiv 1503.03832.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor


def semi_hard(
    anchor: Tensor, positive: Tensor, *, margin: float, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Mean over semi-hard triplets of :math:`\lVert a_i - p_i \rVert^2 - \lVert a_i - p_j \rVert^2 + m`.

    A negative j is semi-hard where it is farther than the positive, but within the margin. Nearer ones are left out:
    mined, they pull everything into one point, and without labels most of them are no negatives at all.

    Parameters
    ----------
    anchor, positive
        Cells x dimensions, in the same order; scaled to unit length here.
    margin
        m, in squared distances of unit vectors, which are at most 4.
    weights
        How much the positive of cell j counts as a negative of cell i, cells x cells; the diagonal is not read. None stands for
        ones.

    Returns
    -------
    A scalar, zero where there is no such three; and the share of cells that are anchor of one.
    """
    a, p = F.normalize(anchor, dim=1), F.normalize(positive, dim=1)
    distance = 2 - 2 * a @ p.T
    own = distance.diagonal()[:, None]
    wanted = ((distance > own) & (distance < own + margin)).to(distance)  # never the positive itself
    wanted = wanted if weights is None else weights * wanted
    loss = (wanted * (own - distance + margin)).sum() / wanted.sum().clamp_min(1e-12)
    return loss, (wanted.sum(1) > 0).to(loss.dtype).mean()
