"""Panels of the losses by which neighbours were chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    Points = Mapping[str, Mapping[str, Any]]

MOST_LINES = 8
FEW_POINTS = 15  # below, each is drawn
HEADROOM = 5.0  # how far up a panel goes, in medians of what the points lose: a single neighbour would flatten the rest
ROOM = 1.6  # or in what the worst number of PCs loses at its best


def varies(column: pd.Series) -> bool:
    """Whether there is more than one value."""
    return len(column.unique()) > 1


def words(point: Mapping[str, Any], table: pd.DataFrame) -> str:
    """What was chosen, as far as there was a choice."""
    said = f"chosen: {point['n_pcs']} PCs, {point['n_neighbors']} neighbours"
    more = [f"{point['weights']} weights"] if varies(table["weights"]) else []
    if varies(table["n_steps"]):
        more.append(f"{point['n_steps']} step{'s' if point['n_steps'] > 1 else ''}")
    return said + (f"\n{', '.join(more)}" if more else "")


def by_neighbors(ax: Axes, table: pd.DataFrame, points: Points, mean: float | None) -> None:
    """One line for each number of PCs, with the loss of the mean of all cells."""
    pcs = np.unique(table["n_pcs"])
    colors = zip(pcs, _figure.shades(len(pcs)), strict=True)
    lines = [_line(ax, table[table["n_pcs"] == n], "n_neighbors", color, f"{n}") for n, color in colors]
    ax.set(xscale="log", xlabel="neighbours")
    _figure.plain_log(ax.xaxis)
    for name, point in points.items():
        _mark(ax, name, point, "n_neighbors", table[table["n_pcs"] == point["n_pcs"]])
    _limit(ax, table, points, mean)
    _figure.beside(ax, "PCs", lines)


def by_pcs(ax: Axes, table: pd.DataFrame, points: Points) -> None:
    """The least loss of each number of PCs."""
    best = table.loc[table.groupby("n_pcs")["loss"].idxmin()]
    style = {"color": _figure.QUIET, "marker": ".", "linewidth": 1.2, "capsize": 2}
    ax.errorbar(best["n_pcs"], best["loss"], best["loss_se"], **style)
    ax.set(xscale="log", xlabel="PCs")
    ax.set_title("each with its best number of neighbours", **_figure.TITLE)
    _figure.plain_log(ax.xaxis, best["n_pcs"])
    for name, point in points.items():
        _mark(ax, name, point, "n_pcs", best)
    ax.legend(fontsize="small", frameon=False)


def by_steps(ax: Axes, table: pd.DataFrame, points: Points) -> None:
    """One line for each number of neighbours, of the PCs and weights with which several steps were tried."""
    tried = table.groupby(["n_pcs", "weights"], observed=True)["n_steps"].nunique()
    settings = [(point["n_pcs"], point["weights"]) for point in points.values()]
    n_pcs, weights = next((each for each in settings if tried.get(each, 0) > 1), tried.idxmax())
    rows = table[(table["n_pcs"] == n_pcs) & (table["weights"] == weights)]
    rows = rows[rows.groupby("n_neighbors")["n_steps"].transform("nunique") > 1]
    here = {name: p for name, p in points.items() if (p["n_pcs"], p["weights"]) == (n_pcs, weights)}
    numbers = _few(np.unique(rows["n_neighbors"]), [p["n_neighbors"] for p in here.values()])
    colors = zip(numbers, _figure.shades(len(numbers), "cividis"), strict=True)
    lines = [_line(ax, rows[rows["n_neighbors"] == n], "n_steps", color, f"{n}") for n, color in colors]
    for name, point in here.items():
        _mark(ax, name, point, "n_steps", rows[rows["n_neighbors"] == point["n_neighbors"]])
    ax.set(xlabel="steps of diffusion", xticks=np.unique(rows["n_steps"]))
    ax.set_title(f"{n_pcs} PCs, {weights} weights", **_figure.TITLE)
    _figure.beside(ax, "neighbours", lines)


def _few(values: np.ndarray, kept: Sequence[int]) -> np.ndarray:
    """At most so many that their lines can be told apart."""
    if len(values) <= MOST_LINES:
        return values
    kept = np.intersect1d(kept, values)
    spread = values[np.linspace(0, len(values) - 1, MOST_LINES - len(kept)).astype(int)]
    return np.union1d(spread, kept)


def _line(ax: Axes, rows: pd.DataFrame, x: str, color: Any, label: str) -> Line2D:
    rows = rows.sort_values(x)
    marker = "." if len(rows) < FEW_POINTS else None
    _figure.band(ax, rows[x], rows["loss"], rows["loss_se"], color)
    return ax.plot(rows[x], rows["loss"], color=color, label=label, marker=marker, linewidth=1.4)[0]


def _mark(ax: Axes, name: str, point: Mapping[str, Any], x: str, line: pd.DataFrame) -> None:
    """A point, with a thread to the line that it belongs to where other weights or more steps put it elsewhere."""
    for loss in line.loc[line[x] == point[x], "loss"]:
        ax.plot([point[x]] * 2, [loss, point["loss"]], color="black", linestyle=":", linewidth=1, label="_thread")
    draw = _figure.chosen if name == "chosen" else _figure.ring
    draw(ax, point[x], point["loss"], name)


def _limit(ax: Axes, table: pd.DataFrame, points: Points, mean: float | None) -> None:
    """End the panel where losses stop to matter, and draw or tell the loss of the mean of all cells."""
    loss, n = table["loss"], table["n_neighbors"]
    low = min(loss.min(), *(point["loss"] for point in points.values()))
    high = max(point["loss"] for point in points.values())
    even = loss[n.isin(np.geomspace(n.min(), n.max(), 20).round())]  # as the axis is logarithmic
    room = max(HEADROOM * (even.median() - low), ROOM * (loss.groupby(table["n_pcs"]).min().max() - low))
    top = max(min(loss.max(), low + room), high)
    if mean is not None:
        drawn = top >= mean > high
        top = mean if drawn else top
        _figure.note(ax, "mean of all cells" if drawn else f"mean of all cells: {mean:.4g}", 1, data=False)
        if drawn:
            ax.axhline(mean, color=_figure.QUIET, linestyle="--", linewidth=1.2, label="_mean")
    if top > low:
        ax.set_ylim(low - 0.07 * (top - low), top + 0.02 * (top - low))
