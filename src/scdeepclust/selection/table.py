"""The losses of a search as a table, and what is chosen from it."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd


def table_of(points: list[tuple[int, str]], losses: np.ndarray, of_cells: np.ndarray) -> pd.DataFrame:
    """A row for each number of neighbours of each point, with standard errors over splits and over cells."""
    table = rows_of([(d, j + 1, w, 1) for (d, w), j in product(points, range(losses.shape[2]))], losses)
    flat = of_cells.reshape(-1, of_cells.shape[-1])
    return table.join(excess_of(flat, flat[int(table["loss"].idxmin())]))


def rows_of(points: list[tuple[int, int, str, int]], losses: np.ndarray) -> pd.DataFrame:
    """A row for each combination, with the mean loss and its standard error over splits (the first axis)."""
    table = pd.DataFrame(points, columns=["n_pcs", "n_neighbors", "weights", "n_steps"])
    table["loss"] = losses.mean(0).ravel()
    table["loss_se"] = losses.std(0, ddof=1).ravel() / np.sqrt(len(losses)) if len(losses) > 1 else np.nan
    return table


def excess_of(of_cells: np.ndarray, best: np.ndarray) -> pd.DataFrame:
    """How much higher than the best a loss is, with the standard error of that difference over cells."""
    mean, error = np.empty((2, len(of_cells)))
    for i, loss in enumerate(of_cells):
        difference = (loss - best).astype(np.float64)
        mean[i], error[i] = difference.mean(), difference.std() / np.sqrt(len(difference))
    return pd.DataFrame({"excess": mean, "excess_se": error})


def with_steps(table: pd.DataFrame, more: pd.DataFrame, excess: np.ndarray) -> pd.DataFrame:
    """Both tables as one; where more steps are better, all are compared with their best."""
    lowest = int(more["loss"].idxmin())
    gain = -float(excess[lowest].mean())
    if gain > 0:
        error = float(excess_of(excess[[lowest]], np.zeros(excess.shape[1]))["excess_se"].iloc[0])
        excess = excess - excess[lowest]
        table = table.assign(excess=table["excess"] + gain, excess_se=np.hypot(table["excess_se"], error))
    return pd.concat([table, more.join(excess_of(excess, np.zeros(excess.shape[1])))], ignore_index=True)


def chosen(table: pd.DataFrame, rule: str) -> dict[str, Any]:
    """The combination that a rule takes."""
    near = table[table["excess"] <= table["excess_se"]] if rule == "one_se" else table.loc[[table["loss"].idxmin()]]
    order = near.sort_values(["n_pcs", "n_steps", "n_neighbors", "loss"], ascending=[True, True, False, True])
    row = order.iloc[0]
    whole = {name: int(row[name]) for name in ("n_pcs", "n_neighbors", "n_steps")}
    return {**whole, "weights": str(row["weights"]), "loss": float(row["loss"])}
