"""Two views of the same cells with independent noise, drawn anew for every minibatch: molecules, genes or axes.

A network that reads one and explains the other cannot gain by copying noise: noise2self (Batson and Royer, ICML 2019,
arXiv 1901.11365) and, for molecules, count splitting (Batson, Royer, Webber 2019, doi 10.1101/786269).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .reconstruction import Counts

TURNED = 64  # leading axes that are turned at random before they are split; more would cost more than they matter
MOST_BITS = 62  # that a signed integer of 64 holds, and their number


class Halves(NamedTuple):
    """What a network reads, and how far its prediction is from what it did not."""

    seen: Tensor  # features of what is read, cells x features
    error: Callable[[Tensor], Tensor]  # of predicted features (cells x features): each cell's mean squared error


def squared_error(target: Tensor, weight: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """Each cell's mean squared difference to a target, weighted."""

    def error(prediction: Tensor) -> Tensor:
        squared = (prediction - target).square()
        return (squared if weight is None else squared * weight).mean(1)

    return error


def coin_tosses(n: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Heads among so many tosses of a coin: of random bits, as many as asked for are counted.

    Several times faster than :func:`torch.binomial`, which serves above 62.

    Parameters
    ----------
    n
        How many, whole numbers of any dtype.
    generator
        None takes torch's own.
    """
    bits = torch.empty_like(n, dtype=torch.int64).random_(generator=generator)
    bits &= (1 << n.clamp(max=MOST_BITS).long()) - 1
    bits = bits - ((bits >> 1) & 0x5555555555555555)  # ones in each two bits, then in each four, in each eight
    bits = (bits & 0x3333333333333333) + ((bits >> 2) & 0x3333333333333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F0F0F0F0F
    found = ((bits * 0x0101010101010101) >> 56).to(n.dtype)
    many = (n > MOST_BITS).nonzero()[:, 0]
    tosses = n[many].float()
    found[many] = torch.binomial(tosses, torch.full_like(tosses, 0.5), generator=generator).to(n.dtype)
    return found


def of_molecules(
    rows: Counts,
    size: Tensor,
    median_total: Tensor,
    features: Callable[[Counts, Tensor], Tensor],
    generator: torch.Generator | None = None,
) -> Halves:
    """Send each molecule to one of two halves by the toss of a coin, those of genes that are not used too.

    Either half has a depth of its own: that of the whole cell would tell one half of the other.

    Parameters
    ----------
    rows
        Counts of a minibatch.
    size
        Size factor of each cell, cells x 1.
    median_total
        Counts of a cell of size factor one.
    features
        Features of counts and size factors.
    generator
        Of the coins; None takes torch's own.
    """
    used = size.new_zeros(len(size)).index_add_(0, rows.row, rows.value)
    rest = (size[:, 0] * median_total - used).round().clamp_min(0)
    first, rest_first = coin_tosses(rows.value, generator), coin_tosses(rest, generator)
    views = []
    for value, others in ((first, rest_first), (rows.value - first, rest - rest_first)):
        total = others.index_add(0, rows.row, value).clamp_min(1)
        views.append(features(rows._replace(value=value), total[:, None] / median_total))
    return Halves(views[0], squared_error(views[1]))


def of_genes(
    rows: Counts,
    size: Tensor | None,
    features: Callable[..., Tensor],
    *,
    projected: bool,
    generator: torch.Generator | None = None,
) -> Halves:
    """Read half of the genes, at random, and explain the others; genes that are not read stand at their mean.

    Parameters
    ----------
    rows, size, features
        As in :func:`of_molecules`; `features` also takes which genes are `kept`.
    projected
        Whether features are components of genes, of which either half gives an estimate, or the genes themselves.
    generator
        Of the draw.
    """
    seen = torch.rand(rows.shape[1], generator=generator, device=rows.value.device) < 0.5
    a = features(rows, size, kept=seen[None])
    if projected:
        return Halves(a, squared_error(features(rows, size, kept=~seen[None])))
    return Halves(a, squared_error(features(rows, size), 2.0 * ~seen))


def of_axes(x: Tensor, generator: torch.Generator | None = None) -> Halves:
    """Read half of the axes of a representation, after a random turn, and explain the others.

    Parameters
    ----------
    x
        Principal axes, cells x features, the most important first.
    generator
        Of the turn and the draw.
    """
    n = min(TURNED, x.shape[1])
    turn = torch.linalg.qr(torch.randn(n, n, generator=generator, device=x.device, dtype=x.dtype))[0]
    # Of the turned axes exactly half are read, as near as can be; of the others each by a coin.
    order = torch.randperm(n, generator=generator, device=x.device)
    coins = torch.rand(x.shape[1] - n, generator=generator, device=x.device) < 0.5
    seen = torch.cat([order < (n + 1) // 2, coins])

    def turned(values: Tensor, matrix: Tensor) -> Tensor:
        return torch.cat([values[:, :n] @ matrix, values[:, n:]], 1)

    target = turned(x, turn)
    by_axes = squared_error(target, x.shape[1] / (~seen).sum().clamp_min(1) * ~seen)
    a = turned(target * (x.shape[1] / seen.sum()) * seen, turn.T)
    return Halves(a, lambda prediction: by_axes(turned(prediction, turn)))
