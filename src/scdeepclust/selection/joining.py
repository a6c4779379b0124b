"""Joins of clusters that differ least, without the shifts that recur between them, and every join in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..diffusion import shifts
from ..diffusion import signal as signals


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
