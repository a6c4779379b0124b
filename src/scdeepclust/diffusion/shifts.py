"""Shifts: one and the same displacement between clusters of several kinds of cells, as a batch or a treatment makes it."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .signal import Sums

# Least cosine of every two displacements, by the number of pairs: clusters that lie at random have three of 0.8, four of 0.7
# or five of 0.6 hardly ever, three of 0.6 often. Where one shift is found, three pairs of 0.6 are enough for another.
ALIKE = {3: 0.8, 4: 0.7, 5: 0.6}
ALIKE_THEN = {3: 0.6}


class Shift(NamedTuple):
    """Pairs of clusters, the second of each displaced from the first as in the others; mean cosine of the displacements."""

    pairs: list[tuple[int, int]]
    cosine: float


def recurring(views: list[Sums], alike: Mapping[int, float] = ALIKE) -> Shift | None:
    r"""The shortest displacement that recurs between several pairs of clusters, no two of which share one.

    Of clusters i and j, and k and l, with noise-free means :math:`\mu`, it recurs if :math:`\mu_j - \mu_i` and
    :math:`\mu_l - \mu_k` have a large cosine and are both shorter than :math:`\mu_k - \mu_i` and
    :math:`\mu_l - \mu_j`: the clusters of a pair are the same kind of cells, and those of two pairs are not. Kinds of cells
    on either side of a large difference (lymphoid and myeloid) are displaced alike, too, but by more than kinds on one side.

    Parameters
    ----------
    views
        Sums over the clusters.
    alike
        The least cosine of every two displacements, by the least number of pairs.
    """
    products = _products(views)
    own = np.diag(products)
    squared = own[:, None] + own[None] - 2 * products
    found, shortest = None, np.inf
    for first in combinations(range(len(squared)), 2):
        cosines = _alike(products, squared, *first)
        for fewest, least in alike.items():
            pairs = _like(products, squared, first, cosines, least)
            if len(pairs) < fewest:
                continue
            length = float(np.mean([np.sqrt(squared[pair]) for pair in pairs]))
            if length < shortest:
                between = [_alike(products, squared, *a)[b] for a, b in combinations(pairs, 2)]
                found, shortest = Shift(pairs, float(np.mean(between))), length
    return found


def without(views: list[Sums], joined: list[Sums], shift: Shift) -> list[Sums]:
    """Sums over finer clusters with the direction of a shift taken away, which is that of the `joined` ones' means."""
    first, second = map(list, zip(*shift.pairs, strict=True))
    changed = []
    for view, whole in zip(views, joined, strict=True):
        means = sum(_means(whole))
        along = (means[second] - means[first]).mean(0)
        along /= np.linalg.norm(along)
        x, y = (part - np.outer(part @ along, along) for part in (view.x, view.y))
        changed.append(view._replace(x=x, y=y))
    return changed


def _like(
    products: np.ndarray, squared: np.ndarray, first: tuple[int, int], cosines: np.ndarray, least: float
) -> list[tuple[int, int]]:
    """A pair of clusters and all that are displaced like it, the most alike first, as far as they are like each other."""
    pairs = [first]
    places = np.argwhere(cosines >= least)
    for place in places[np.argsort(-cosines[tuple(places.T)], kind="stable")]:
        pair = tuple(int(n) for n in place)
        if all(_alike(products, squared, *taken)[pair] >= least for taken in pairs[1:]):
            pairs.append(pair)
    return pairs


def _alike(products: np.ndarray, squared: np.ndarray, i: int, j: int) -> np.ndarray:
    """Cosine of the displacement of j from i and that of each l from each k; -1 where the two pairs are not two kinds."""
    towards = products[i] - products[j]
    dots = towards[:, None] - towards[None]
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = dots / np.sqrt(squared[i, j] * squared)
    across = np.minimum(squared[i][:, None], squared[j][None])
    kinds = (squared > 0) & (np.maximum(squared, squared[i, j]) < across)
    return np.where(kinds & (squared[i, j] > 0), cosines, -1.0)


def _products(views: list[Sums]) -> np.ndarray:
    """Products of the clusters' means, clusters x clusters, free of noise; mean over views."""
    found = 0.0
    for view in views:
        x, y = _means(view)
        found = found + (x @ y.T + y @ x.T) / 2
    return found / len(views)


def _means(view: Sums) -> tuple[np.ndarray, np.ndarray]:
    return view.x / np.maximum(view.n_x, 1)[:, None], view.y / np.maximum(view.n_y, 1)[:, None]
