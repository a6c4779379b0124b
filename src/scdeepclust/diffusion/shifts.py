"""Shifts: one and the same displacement between clusters of several kinds of cells, as a batch or a treatment makes it."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .signal import Sums

    Pair = tuple[int, int]

# Least cosine of every two displacements, by the number of pairs: clusters that lie at random have three of 0.8, four of 0.7
# or five of 0.6 hardly ever, three of 0.6 more often. Where one shift is found, three pairs of 0.6 are enough for another.
ALIKE = {3: 0.8, 4: 0.7, 5: 0.6}
ALIKE_THEN = {3: 0.6}
ALIKE_COUNTED = 0.7  # where a shift and what tells the kinds of cells apart are counted against each other


class Shift(NamedTuple):
    """Pairs of clusters, the second of each displaced from the first as in the others; mean cosine of the displacements."""

    pairs: list[Pair]
    cosine: float


def recurring(views: list[Sums], alike: Mapping[int, float] = ALIKE) -> Shift | None:
    r"""The shortest displacement that recurs between several pairs of clusters, no two of which share one.

    Of clusters i and j, and k and l, with noise-free means :math:`\mu`, it recurs if :math:`\mu_j - \mu_i` and
    :math:`\mu_l - \mu_k` have a large cosine and are both shorter than :math:`\mu_k - \mu_i` and
    :math:`\mu_l - \mu_j`: the clusters of a pair are the same kind of cells, and those of two pairs are not. Kinds of cells
    on either side of a large difference (lymphoid and myeloid) are displaced alike, too, but by more than kinds on one side.

    Where several batches differ by more than kinds of cells do, what tells two kinds apart recurs as well, once in each
    batch, and is shorter. So there is no shift if what leads from one pair to another recurs more often than what leads
    from the first of a pair to the second.

    Parameters
    ----------
    views
        Sums over the clusters.
    alike
        The least cosine of every two displacements, by the least number of pairs.
    """
    places = _Places(views)
    found, shortest = None, np.inf
    for first in combinations(range(len(places.products)), 2):
        cosines = places.cosines(first)
        for fewest, least in alike.items():
            pairs = places.displaced_like(first, least, cosines) if (cosines >= least).sum() >= fewest - 1 else [first]
            if len(pairs) < fewest:
                continue
            length = float(np.mean([np.sqrt(places.squared[pair]) for pair in pairs]))
            if length < shortest:
                cosine = np.mean([places.cosines(one)[other] for one, other in combinations(pairs, 2)])
                found, shortest = Shift(pairs, float(cosine)), length
    if found and places.recur(found.pairs) >= places.recur(list(combinations([i for i, _ in found.pairs], 2))):
        return found
    return None


def without(views: list[Sums], joined: list[Sums], shift: Shift) -> list[Sums]:
    """Sums over finer clusters with the direction of a shift taken away, which is that of the `joined` ones' means."""
    first, second = map(list, zip(*shift.pairs, strict=True))
    changed = []
    for view, whole in zip(views, joined, strict=True):
        means = sum(whole.means())
        along = (means[second] - means[first]).mean(0)
        along /= np.linalg.norm(along)
        x, y = (part - np.outer(part @ along, along) for part in (view.x, view.y))
        changed.append(view._replace(x=x, y=y))
    return changed


class _Places:
    """Where clusters are, relative to each other and free of noise: products and squared distances of their means."""

    def __init__(self, views: list[Sums]) -> None:
        means = [view.means() for view in views]
        self.products = sum((x @ y.T + y @ x.T) / 2 for x, y in means) / len(views)
        own = np.diag(self.products)
        self.squared = own[:, None] + own[None] - 2 * self.products

    def cosines(self, pair: Pair, *, kinds: bool = True) -> np.ndarray:
        """Cosine of the displacement in a pair and that of each l from each k; -1 where these pairs are not two (`kinds`)."""
        i, j = pair
        towards = self.products[i] - self.products[j]
        across = np.minimum(self.squared[i][:, None], self.squared[j][None])
        longest = np.maximum(self.squared, self.squared[pair]) if kinds else 0.0
        with np.errstate(invalid="ignore", divide="ignore"):
            cosines = (towards[:, None] - towards[None]) / np.sqrt(self.squared[pair] * self.squared)
        cosines[j], cosines[:, i] = -1.0, -1.0  # no cluster is in two pairs
        return np.where((across > longest) & (self.squared > 0) & (self.squared[pair] > 0), cosines, -1.0)

    def displaced_like(self, first: Pair, least: float, cosines: np.ndarray, *, kinds: bool = True) -> list[Pair]:
        """A pair and all that are displaced like it, the most alike first, as far as they are like each other."""
        pairs = [first]
        there = np.argwhere(cosines >= least)
        for place in there[np.argsort(-cosines[tuple(there.T)], kind="stable")]:
            pair = tuple(place.tolist())
            if all(self.cosines(taken, kinds=kinds)[pair] >= least for taken in pairs[1:]):
                pairs.append(pair)
        return pairs

    def recur(self, pairs: list[Pair]) -> int:
        """Between how many pairs the displacement in one of these recurs, however long it is; the most of them."""
        like = (self.displaced_like(p, ALIKE_COUNTED, self.cosines(p, kinds=False), kinds=False) for p in pairs)
        return max(map(len, like))
