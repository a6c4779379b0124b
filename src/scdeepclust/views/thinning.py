"""Count thinning: a view is what would have been seen of the cell with fewer molecules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from ..losses.representation.reconstruction import Counts


def thin(
    counts: Counts, size: Tensor, depth: float, *, generator: torch.Generator | None = None
) -> tuple[tuple[Counts, Tensor], tuple[Counts, Tensor]]:
    r"""Two views that share no molecule, both brought to a common depth.

    Each molecule goes to the first view with probability p, to the second with the same, and is left out otherwise, with
    :math:`p = \min(1/2, d / s)` for a cell of size factor s and a wanted depth d. Poisson counts so thinned are
    independent given the cell's rates (Batson, Royer, Webber 2019, doi 10.1101/786269). Views of the same depth d leave
    the library size no way to tell cells apart; a cell with less than twice the depth is halved, and keeps its own.

    Parameters
    ----------
    counts
        Non-zero counts of a minibatch, integers.
    size
        Size factors, cells x 1.
    depth
        Size factor of the views; infinity halves every cell.
    generator
        Of random numbers; None takes torch's.

    Returns
    -------
    Twice the counts (zeros may be stored among them) and their size factors. These are the expected ones, as the
    molecules of genes that are not used are not there to be thinned.
    """
    share = (depth / size).clamp(max=0.5)
    if counts.value.device.type == "cpu":
        first, second, many = _drawn(counts, share[:, 0], generator)
    else:
        first, second = torch.empty_like(counts.value), torch.empty_like(counts.value)
        many = slice(None)
    value, p = counts.value[many], share[:, 0][counts.row[many]]
    first[many] = torch.binomial(value, p, generator=generator)
    second[many] = torch.binomial(value - first[many], p / (1 - p), generator=generator)
    size = size * share
    return (counts._replace(value=first), size), (counts._replace(value=second), size)


def _drawn(counts: Counts, share: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
    """Parts of the counts of a few molecules, and which counts are of many."""
    from ._molecules import MOST, two_parts

    seed = int(torch.randint(2**62, (), generator=generator))
    first, second = torch.empty_like(counts.value), torch.empty_like(counts.value)
    two_parts(*(part.numpy() for part in (counts.value, counts.row, share)), seed, first.numpy(), second.numpy())
    return first, second, (counts.value > MOST).nonzero()[:, 0]
