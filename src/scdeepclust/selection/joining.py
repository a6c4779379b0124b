"""Joins of clusters that differ least, without the shifts that recur between them, and every join in words."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ..diffusion import shifts
from ..diffusion import signal as signals
from .evidence import alike_in_depth, reproducible, stability, sums

if TYPE_CHECKING:
    from .evidence import Evidence
    from .halves import Halves

MIN_ERRORS = 3.0  # standard errors above zero that the gain over a single cluster must be
# Adjusted Rand index of the clusters that two halves of a cell's molecules put it in, which clusters must reach. Where all
# signal is weak, a share of it is mostly noise. (Halves of genes or of features agree less, and by their number.)
STABLE = 0.55


@dataclass(frozen=True)
class Rules:
    """How clusters are found, compared and joined.

    Parameters
    ----------
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
    """

    scheme: str = "auto"
    min_signal: float = 0.065
    resolution: float = 1.0
    join_shifted: bool = True
    n_splits: int = 3


class Joined(NamedTuple):
    """A partition of joined clusters, why so many, the splits that they were compared by, tables and figures for `uns`."""

    labels: np.ndarray
    chosen_by: str
    splits: list[Halves]
    record: dict[str, Any]


def joined(evidence: Evidence, fine: np.ndarray, rules: Rules, seed: int) -> Joined:
    """Join clusters that do not differ by signal, or that a cell's two halves do not agree on."""
    splits, rng = evidence.splits, deepcopy(evidence.rng)  # what is known of cells serves several partitions
    by_molecules = rules.scheme == "count_split"
    if by_molecules:
        splits = [alike_in_depth(halves, evidence.few, fine) for halves in splits]
    structured = evidence.gain > MIN_ERRORS * evidence.error
    path, n_joins, found = joins_of(
        [view for halves in splits for view in sums(halves, fine, rng)],
        fine,
        float(np.mean([reproducible(halves, seed) for halves in splits])),
        rules.min_signal,
        join_shifted=rules.join_shifted and structured,
    )
    chosen_by = "signal share"
    if not structured:
        n_joins, chosen_by = len(path), "no cluster tells more than a single one does"
    labels = signals.by_size(signals.after(fine, path[:n_joins]))
    while by_molecules and n_joins < len(path) and stability(splits, labels) < STABLE:
        n_joins, chosen_by = n_joins + 1, "agreement of halves"
        labels = signals.by_size(signals.after(fine, path[:n_joins]))
    record = {
        "joins": table_of(fine, path, n_joins),
        "shifts": found,
        "stability": stability(splits, labels),
        "stability_fine": stability(splits, fine),
    }
    return Joined(labels, chosen_by, splits, record)


def joins_of(
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
            found = pd.DataFrame(
                rows, columns=["shift", "cluster", "shifted", "cosine"], index=pd.RangeIndex(len(rows))
            )
            return path, n_joins, found.astype({"shift": np.int64, "cosine": np.float64})
        names = _names(signals.after(fine, path[:n_joins]), fine)
        rows += [(n, names[i], names[j], shift.cosine) for i, j in shift.pairs]
        views, n = shifts.without(views, joined, shift), n + 1


def _names(labels: np.ndarray, fine: np.ndarray) -> list[str]:
    """Clusters by the fine ones that they consist of."""
    return ["+".join(map(str, np.unique(fine[labels == k]))) for k in range(labels.max() + 1)]


def table_of(fine: np.ndarray, path: list[signals.Join], n_joins: int) -> pd.DataFrame:
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
