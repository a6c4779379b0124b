"""How many clusters the data support: more than enough are found, and those joined that do not differ by signal."""

from __future__ import annotations

import logging
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata

from .. import diffusion
from ..data.inputs import CPU
from ..data.raw import spread
from ..diffusion import prediction, shifts
from ..diffusion import signal as signals
from .halves import cells_to_split, features, halve, need_labelled, resolve_scheme

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..data import Inputs, Raw
    from .halves import Halves

logger = logging.getLogger(__name__)

MOST_CELLS = 20_000  # a random sample of more: the number hardly depends on them
GUARD_RESOLUTIONS = (0.25, 0.5, 1.0)
MOST_CLUSTERS = 50
LONGEST = 3.0  # typical lengths of a cell's features
MIN_ERRORS = 3.0  # standard errors above zero that the gain over a single cluster must be
NO_DOUBT = 10.0  # standard errors from which no further split is asked
# Adjusted Rand index of the clusters that two halves of a cell's molecules put it in, which clusters must reach. Where all
# signal is weak, a share of it is mostly noise. (Halves of genes or of features agree less, and by their number.)
STABLE = 0.55


@dataclass(frozen=True)
class Choice:
    """A partition that the data support, and how it came about.

    Parameters
    ----------
    labels
        Cluster of each cell from 0, the largest first; -1 for cells that are too shallow to have a say. Where a sample
        of the cells had the say, others are in the cluster whose mean is nearest.
    fine
        The partition from which clusters were joined.
    record
        Tables and figures for `uns`.
    """

    labels: np.ndarray
    fine: np.ndarray
    record: dict[str, Any] = field(repr=False)

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return int(self.labels.max()) + 1

    def announce(self) -> None:
        """Log what was chosen, and warn of what a user might not expect."""
        logger.info("number of clusters: %d (%s)", self.record["n_clusters"], self.record["chosen_by"])
        for _, pairs in self.record["shifts"].groupby("shift"):
            apart = ", ".join(f"{a} from {b}" for a, b in zip(pairs["cluster"], pairs["shifted"], strict=True))
            logger.warning(
                "Before joining, one and the same shift tells clusters apart (%s), as a batch or a treatment does; they are "
                "compared without it. If a column of obs names it, give batch_key; to keep such clusters apart, give "
                "join_shifted=False.",
                apart,
            )
        if self.n_clusters == 1:
            logger.warning("Nothing suggests more than one cluster; give n_clusters to have more.")


@dataclass(frozen=True)
class _Evidence:
    """What is found of cells whatever their labels: splits, how much clusters predict at all, and the generator after them."""

    few: Raw
    splits: list[Halves]
    gain: float
    error: float
    rng: np.random.Generator


def choose_n_clusters(  # noqa: PLR0913 each of these changes the choice
    raw: Raw,
    inputs: Inputs,
    *,
    scheme: str = "auto",
    min_signal: float = 0.065,
    resolution: float = 1.0,
    join_shifted: bool = True,
    n_splits: int = 3,
    curve: bool = True,
    seed: int = 0,
    device: torch.device = CPU,
    start: np.ndarray | None = None,
    known: dict[bytes, _Evidence] | None = None,
) -> Choice:
    """Choose a number of clusters, and a partition into as many.

    Parameters
    ----------
    raw
        What was read.
    inputs
        How features are derived.
    scheme
        `"count_split"`, `"gene_split"` or `"auto"`.
    min_signal
        Share of the reproducible signal (square-root form) that two clusters must differ by.
    resolution
        Of the Leiden communities to start from.
    join_shifted
        Whether what differs by a shift that recurs between clusters is joined, as if the shift were not there.
    n_splits
        Independent splits.
    curve
        Whether to add loss, stability and knee of every number of clusters, which decide nothing.
    seed
        Seed.
    device
        Where components and neighbours are computed; all else is the processor's.
    start
        A partition to start from instead, -1 for cells without a label.
    known
        Where what was found of cells is kept, for other partitions of the same.
    """
    scheme = resolve_scheme(scheme, raw)
    rng = np.random.default_rng(seed)
    everyone = cells = cells_to_split(raw, scheme)
    if start is not None:
        everyone = cells = np.intersect1d(cells, np.flatnonzero(start >= 0))
    if len(cells) > MOST_CELLS:
        cells = np.sort(rng.choice(cells, MOST_CELLS, replace=False))
    known = {} if known is None else known
    if cells.tobytes() not in known:
        known[cells.tobytes()] = _evidence(
            raw.cells(cells), inputs, scheme, rng, n_splits=n_splits, seed=seed, device=device
        )
    evidence = known[cells.tobytes()]
    few, splits, gain, error, rng = evidence.few, evidence.splits, evidence.gain, evidence.error, deepcopy(evidence.rng)
    if start is None:
        fitted, x = features(inputs, few, seed, device)
        fine = diffusion.communities(torch.as_tensor(x, device=device), resolution=resolution, random_state=seed)
    else:
        fine = np.unique(start[cells], return_inverse=True)[1]
    fine = signals.by_size(fine)
    if scheme == "count_split":
        splits = [_alike_in_depth(halves, few, fine) for halves in splits]
    structured = gain > MIN_ERRORS * error
    path, n_joins, found = _joins(
        [view for s in splits for view in _sums(s, fine, rng)],
        fine,
        float(np.mean([_signal(s, seed) for s in splits])),
        min_signal,
        join_shifted=join_shifted and structured,
    )
    n_joins = n_joins if structured else len(path)
    chosen_by = "signal share" if structured else "no cluster tells more than a single one does"
    labels = signals.by_size(signals.after(fine, path[:n_joins]))
    while scheme == "count_split" and n_joins < len(path) and _stability(splits, labels) < STABLE:
        chosen_by = "agreement of halves"
        n_joins += 1
        labels = signals.by_size(signals.after(fine, path[:n_joins]))
    record = {
        "n_clusters": int(labels.max()) + 1,
        "chosen_by": chosen_by,
        "params": {
            "scheme": scheme,
            "min_signal": min_signal,
            "resolution": resolution,
            "join_shifted": join_shifted,
            "n_splits": n_splits,
        },
        "n_cells": len(cells),
        "joins": _table(fine, path, n_joins),
        "shifts": found,
        "stability": _stability(splits, labels),
        "stability_fine": _stability(splits, fine),
        "gain": gain,
        "gain_se": error,
    }
    if curve:
        table = _curve(splits, seed)
        record |= {"curve": table, "knee": prediction.knee(table["n_clusters"].to_numpy(), table["loss"].to_numpy())}
    if len(cells) < len(everyone):
        of_fine = labels[np.unique(fine, return_index=True)[1]]
        if start is None:
            fine = _nearest_known(fitted.project(raw).numpy()[everyone], np.isin(everyone, cells), fine)
        else:
            fine = _looked_up(start[cells], fine, start[everyone])
        labels = np.where(fine >= 0, of_fine[fine], -1)
        labels[labels >= 0] = signals.by_size(labels[labels >= 0])
    return Choice(*(spread(some, everyone, len(raw), missing=-1) for some in (labels, fine)), record)


def choose_partition(
    raw: Raw, inputs: Inputs, partitions: dict[str, np.ndarray], *, min_signal: float, **options: Any
) -> Choice:
    """Choose among given partitions: the finest of which no two clusters would be joined.

    Where joining changes all of them, the one that it changes least (adjusted Rand index) is taken.

    Parameters
    ----------
    raw, inputs
        As in :func:`choose_n_clusters`.
    partitions
        Labels by name, -1 for cells without one.
    min_signal, **options
        As in :func:`choose_n_clusters`.
    """
    from sklearn.metrics import adjusted_rand_score

    found, rows, known = {}, [], {}
    cells = cells_to_split(raw, resolve_scheme(options.get("scheme", "auto"), raw))
    for name, start in partitions.items():
        need_labelled(name, start, cells)
        choice = choose_n_clusters(raw, inputs, start=start, min_signal=min_signal, curve=False, known=known, **options)
        found[name] = choice
        labelled = choice.fine >= 0
        unchanged = adjusted_rand_score(choice.fine[labelled], choice.labels[labelled])
        joins = choice.record["joins"]["signal"]
        least = float(joins.iloc[0]) if len(joins) else np.inf
        rows.append(
            (name, int(choice.fine.max()) + 1, choice.n_clusters, least, unchanged, choice.record["stability_fine"])
        )
    columns = ["partition", "n_clusters", "n_joined", "least_signal", "unchanged", "stability"]
    table = pd.DataFrame(rows, columns=columns)
    best = table.sort_values(["unchanged", "n_clusters"], ascending=False).iloc[0]["partition"]
    choice = found[best]
    how = {"chosen": best, "chosen_by": "changed least by joining", "partitions": table}
    own = {"n_clusters": int(choice.fine.max()) + 1, "joins": choice.record["joins"].assign(done=False)}
    return Choice(choice.fine, choice.fine, {**choice.record, **how, **own})


def _evidence(
    few: Raw, inputs: Inputs, scheme: str, rng: np.random.Generator, *, n_splits: int, seed: int, device: torch.device
) -> _Evidence:
    def split(how: str) -> Iterator[Halves]:
        return (halve(few, how, inputs, rng, seed=seed, device=device) for _ in range(n_splits))

    splits = list(split(scheme))
    gain, error = _gain(split("gene_split"), few, seed, device)
    return _Evidence(few, splits, gain, error, rng)


def _nearest_known(z: np.ndarray, known: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels of cells that have one, and for the others that of the cluster whose mean is nearest."""
    found = diffusion.nearest_to(z, diffusion.means(z[known], labels))
    found[known] = labels
    return found


def _looked_up(names: np.ndarray, numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Numbers by name; -1 for a name that has none."""
    table = np.full(max(names.max(), wanted.max()) + 1, -1)
    table[names] = numbers
    return table[wanted]


def _alike_in_depth(halves: Halves, raw: Raw, labels: np.ndarray | None = None) -> Halves:
    """The same halves with what depth explains of their features taken away: both halves of a cell share its depth.

    Square roots and logarithms of normalised counts still depend on it, the more so the shallower the cells. Types differ
    in depth too, and that is no artefact: where there are `labels`, the slope is that within clusters.
    """
    x, y = (_without_depth(values, raw.totals, labels) for values in (halves.x, halves.y))
    return replace(halves, x=x, y=y)


def _gain(splits: Iterator[Halves], raw: Raw, seed: int, device: torch.device) -> tuple[float, float]:
    """The most that clusters by half of the genes say of the other half, and its standard error over cells.

    It is the mean over splits, of which no more are drawn once there is no doubt that it is above zero.

    Genes that vary each on its own, however much, say nothing of others; nor does depth say anything of the shares
    that genes have of a cell's counts. Features do depend on depth, so that is regressed out where they are compared.
    """
    total, gain, error = np.zeros(len(raw)), 0.0, 0.0
    for n, halves in enumerate(splits, 1):
        best = np.zeros(len(raw))
        alike = _alike_in_depth(halves, raw) if raw.kind == "lognorm" else halves
        x = torch.as_tensor(alike.x, device=device)
        for labels in diffusion.communities_at(x, GUARD_RESOLUTIONS, random_state=seed):
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


def _without_depth(x: np.ndarray, depth: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """What a cubic in the rank of a cell's depth leaves of its features, its slopes taken within clusters."""
    rank = rankdata(depth) / len(depth)  # equal depths are equal, whatever the order of the cells
    design = np.vander(rank, 4)[:, :3].astype(x.dtype)
    labels = np.zeros(len(x), dtype=np.int64) if labels is None else labels
    within, inside = (v - diffusion.means(v, labels)[labels] for v in (design, x))
    return x - (design - design.mean(0)) @ np.linalg.lstsq(within, inside, rcond=None)[0]


def _joins(
    views: list[signals.Sums], fine: np.ndarray, signal: float, min_signal: float, *, join_shifted: bool
) -> tuple[list[signals.Join], int, pd.DataFrame]:
    """Joins, how many of them are made, and the shifts that were taken away before, each a row for every pair of clusters."""
    sizes, rows, n = np.bincount(fine), [], 0
    while True:
        path = signals.joins(views, sizes, signal)
        n_joins = signals.n_joins([join.share for join in path], min_signal)
        joined = views
        for join in path[:n_joins]:
            joined = [view.joined(join.i, join.j) for view in joined]
        shift = shifts.recurring(joined, shifts.ALIKE_THEN if n else shifts.ALIKE) if join_shifted else None
        if shift is None:
            columns = ["shift", "cluster", "shifted", "cosine"]
            return path, n_joins, pd.DataFrame(rows, columns=columns)
        names = _names(signals.after(fine, path[:n_joins]), fine)
        rows += [(n, names[i], names[j], shift.cosine) for i, j in shift.pairs]
        views, n = shifts.without(views, joined, shift), n + 1


def _names(labels: np.ndarray, fine: np.ndarray) -> list[str]:
    """Clusters by the fine ones that they consist of."""
    return ["+".join(map(str, np.unique(fine[labels == k]))) for k in range(labels.max() + 1)]


def _sums(halves: Halves, labels: np.ndarray, rng: np.random.Generator) -> list[signals.Sums]:
    """Sums over clusters of two views of each cell, or, where genes were split, of two halves of the cells.

    Genes that helped to find a cluster flatter it; so a half of the genes is judged by clusters that the other half
    tells apart.
    """
    if halves.same_axes:
        return [signals.sums(halves.x, halves.y, labels)]
    found, n = [], labels.max() + 1
    for x, y in ((halves.x, halves.y), (halves.y, halves.x)):
        groups = signals.nearest(x, labels)
        of_x = rng.permuted(np.arange(len(labels)) % 2 == 0)
        found.append(signals.sums(y, y, groups, of_x=of_x, n_clusters=n))
    return found


def _signal(halves: Halves, seed: int) -> float:
    """Reproducible variance of all cells: of two halves of molecules, or as neighbours in half of the genes predict it."""
    if halves.same_axes:
        return float((halves.x * halves.y).sum(1).mean())
    found = []
    for x, y in ((halves.x, halves.y), (halves.y, halves.x)):
        indices, _ = diffusion.neighbors(x, 10, random_state=seed)
        found.append((y[indices].mean(1) * y).sum(1).mean())
    return float(np.mean(found))


def _curve(splits: list[Halves], seed: int) -> pd.DataFrame:
    """Held-out loss and stability of k-means for every number of clusters.

    The loss is the squared error, in principal components, of predicting a cell's second half by the mean of the
    others that are in its cluster by their first half; stability is the adjusted Rand index of the clusters of the
    two halves.
    """
    from sklearn.metrics import adjusted_rand_score

    most = max(1, min(MOST_CLUSTERS, len(splits[0].x) // 10))
    losses, stability = np.empty((2, len(splits), most))
    for s, halves in enumerate(splits):
        pairs = zip(_nested(halves.x, most, seed), _nested(halves.y, most, seed), strict=True)
        for n, (by_x, by_y) in enumerate(pairs):
            losses[s, n] = prediction.held_out_loss(halves.y, by_x).mean()
            stability[s, n] = adjusted_rand_score(by_x, by_y)
    error = losses.std(0, ddof=1) / np.sqrt(len(splits)) if len(splits) > 1 else np.full(most, np.nan)
    columns = {"loss": losses.mean(0), "loss_se": error, "stability": stability.mean(0)}
    return pd.DataFrame({"n_clusters": np.arange(1, most + 1), **columns})


def _nested(x: np.ndarray, most: int, seed: int) -> list[np.ndarray]:
    """Partitions into 1, 2, ..., `most` clusters: k-means with the most, joined by Ward's rule."""
    from sklearn.cluster import KMeans

    labels = KMeans(most, n_init=1, random_state=seed).fit_predict(x)
    labels = np.unique(labels, return_inverse=True)[1]  # of equal cells k-means may make fewer clusters
    path = signals.joins([signals.sums(x, x, labels)], np.bincount(labels), 1.0, power=1.0)
    found = [labels] * (most - labels.max())
    for join in path:
        found.append(signals.after(found[-1], [join]))
    return found[::-1]


def _stability(splits: list[Halves], labels: np.ndarray) -> float:
    """Adjusted Rand index of the clusters that a cell's two halves, each alone, put it in."""
    from sklearn.metrics import adjusted_rand_score

    pairs = [(signals.nearest(s.x, labels), signals.nearest(s.y, labels)) for s in splits]
    return float(np.mean([adjusted_rand_score(*pair) for pair in pairs]))


def _table(fine: np.ndarray, path: list[signals.Join], n_joins: int) -> pd.DataFrame:
    """Every join in words: which of the fine clusters are put together, and what it costs."""
    names, sizes = [str(k) for k in range(fine.max() + 1)], list(np.bincount(fine))
    rows = []
    for step, join in enumerate(path):
        rows.append(
            (names[join.i], names[join.j], sizes[join.i], sizes[join.j], join.share, len(names) - 1, step < n_joins)
        )
        names[join.i] = "+".join(sorted([*names[join.i].split("+"), *names[join.j].split("+")], key=int))
        sizes[join.i] += sizes[join.j]
        del names[join.j], sizes[join.j]
    return pd.DataFrame(rows, columns=["cluster", "joined", "n_cluster", "n_joined", "signal", "n_clusters", "done"])
