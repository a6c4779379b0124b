"""What halves of cells, or of genes, say of clusters: whether there are any at all, how far apart they are, how sure they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from .. import diffusion
from ..diffusion import prediction
from ..diffusion import signal as signals
from .halves import halve

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from ..data import Inputs, Raw
    from .halves import Halves

GUARD_RESOLUTIONS = (0.25, 0.5, 1.0)
LONGEST = 3.0  # typical lengths of a cell's features
NO_DOUBT = 10.0  # standard errors from which no further split is asked


@dataclass(frozen=True)
class Evidence:
    """What is found of cells whatever their labels: splits, how much clusters predict at all, and the generator after them."""

    few: Raw
    splits: list[Halves]
    gain: float
    error: float
    rng: np.random.Generator


def evidence_of(
    few: Raw, inputs: Inputs, scheme: str, rng: np.random.Generator, *, n_splits: int, seed: int, device: torch.device
) -> Evidence:
    """Split cells, and see whether there are clusters at all."""

    def split(how: str) -> Iterator[Halves]:
        return (halve(few, how, inputs, rng, seed=seed, device=device) for _ in range(n_splits))

    splits = list(split(scheme))
    gain, error = gain_over_one(split("gene_split"), few, seed, device)
    return Evidence(few, splits, gain, error, rng)


def gain_over_one(splits: Iterator[Halves], raw: Raw, seed: int, device: torch.device) -> tuple[float, float]:
    """The most that clusters by half of the genes say of the other half, and its standard error over cells.

    It is the mean over splits, of which no more are drawn once there is no doubt that it is above zero.

    Genes that vary each on its own, however much, say nothing of others; nor does depth say anything of the shares
    that genes have of a cell's counts. Features do depend on depth, so that is regressed out where they are compared.
    """
    total, gain, error = np.zeros(len(raw)), 0.0, 0.0
    for n, halves in enumerate(splits, 1):
        best = np.zeros(len(raw))
        alike = alike_in_depth(halves, raw) if raw.kind == "lognorm" else halves
        for labels in diffusion.communities_at(alike.x, GUARD_RESOLUTIONS, random_state=seed, device=device):
            if not labels.any():
                continue
            if raw.kind == "counts":
                found = prediction.poisson_gain(halves.b.values, labels)
            else:
                y, one = _bounded(alike.y), np.zeros_like(labels)
                found = prediction.held_out_loss(y, one) - prediction.held_out_loss(y, labels)
            best = found if found.mean() > best.mean() else best
        total += best
        gain, error = float(total.mean() / n), float(total.std() / n / np.sqrt(len(total)))
        if gain > NO_DOUBT * error:
            break
    return gain, error


def _bounded(y: np.ndarray) -> np.ndarray:
    """Features with those of outlying cells shortened, lest a single one decide."""
    length = np.linalg.norm(y, axis=1, keepdims=True)
    return y * np.minimum(LONGEST * np.median(length) / np.maximum(length, 1e-12), 1)


def alike_in_depth(halves: Halves, raw: Raw, labels: np.ndarray | None = None) -> Halves:
    """The same halves with what depth explains of their features taken away: both halves of a cell share its depth.

    Square roots and logarithms of normalised counts still depend on it, the more so the shallower the cells. Types differ
    in depth too, and that is no artefact: where there are `labels`, the slope is that within clusters.
    """
    x, y = (_without_depth(values, raw.totals, labels) for values in (halves.x, halves.y))
    return replace(halves, x=x, y=y)


def _without_depth(x: np.ndarray, depth: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """What a cubic in the rank of a cell's depth leaves of its features, its slopes taken within clusters."""
    rank = rankdata(depth) / len(depth)  # equal depths are equal, whatever the order of the cells
    design = np.vander(rank, 4)[:, :3].astype(x.dtype)
    labels = np.zeros(len(x), dtype=np.int64) if labels is None else labels
    within, inside = (v - diffusion.means(v, labels)[labels] for v in (design, x))
    return x - (design - design.mean(0)) @ np.linalg.lstsq(within, inside, rcond=None)[0]


def sums(halves: Halves, labels: np.ndarray, rng: np.random.Generator) -> list[signals.Sums]:
    """Sums over clusters of two views of each cell, or, where genes were split, of two halves of the cells.

    Genes that helped to find a cluster flatter it; so a half of the genes is judged by clusters that the other half
    tells apart.
    """
    if halves.same_axes:
        return [signals.sums(halves.x, halves.y, labels)]
    found, n = [], labels.max() + 1
    for x, y in ((halves.x, halves.y), (halves.y, halves.x)):
        groups = diffusion.nearest_mean(x, labels)
        of_x = rng.permuted(np.arange(len(labels)) % 2 == 0)
        found.append(signals.sums(y, y, groups, of_x=of_x, n_clusters=n))
    return found


def reproducible(halves: Halves, seed: int) -> float:
    """Reproducible variance of all cells: of two halves of molecules, or as neighbours in half of the genes predict it."""
    if halves.same_axes:
        return float((halves.x * halves.y).sum(1).mean())
    found = []
    for x, y in ((halves.x, halves.y), (halves.y, halves.x)):
        indices, _ = diffusion.neighbors(x, 10, random_state=seed)
        found.append((y[indices].mean(1) * y).sum(1).mean())
    return float(np.mean(found))


def stability(splits: list[Halves], labels: np.ndarray) -> float:
    """Adjusted Rand index of the clusters that a cell's two halves, each alone, put it in."""
    from sklearn.metrics import adjusted_rand_score

    pairs = [(diffusion.nearest_mean(s.x, labels), diffusion.nearest_mean(s.y, labels)) for s in splits]
    return float(np.mean([adjusted_rand_score(*pair) for pair in pairs]))
