"""The joins of clusters that do not differ by signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

MOST_MEMBERS = 3  # of a joined cluster that are named


def draw_joins(ax: Axes, record: Mapping[str, Any]) -> None:
    """Signal that each join loses against the number of clusters it leaves."""
    joins, least = record["joins"], record.get("params", {}).get("min_signal")
    least = least if least is not None and least > 0 else None  # 0 is nowhere on a logarithmic axis
    ax.set(xlabel="clusters left by the join\n(numbers: clusters before joining)", ylabel="share of signal lost")
    if not len(joins):
        ax.text(0.5, 0.5, "nothing to join", transform=ax.transAxes, ha="center", color=_figure.QUIET)
        ax.set(xticks=[], yticks=[])
        return
    x, y, done = joins["n_clusters"].to_numpy(), joins["signal"].to_numpy(), joins["done"].to_numpy(dtype=bool)
    ax.plot(x, y, color="0.75", linewidth=1, zorder=1)
    style = {"color": _figure.CURVE, "marker": "o", "markersize": 6, "linestyle": "none"}
    for rows, fill, name in ((done, _figure.CURVE, "joined"), (~done, "white", "kept apart")):
        if rows.any():
            ax.plot(x[rows], y[rows], markerfacecolor=fill, label=name, **style)
    if least is not None:
        ax.axhline(least, color=_figure.CHOSEN, linestyle="--", linewidth=1.2, zorder=0, label="_min_signal")
    _scale(ax, y, least)
    above = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2, "borderaxespad": 0, "handletextpad": 0.1}
    ax.legend(fontsize="small", frameon=False, **above)
    _names(ax, joins, least)


def _scale(ax: Axes, signal: np.ndarray, least: float | None) -> None:
    """Logarithmic, but linear around zero where there are values that noise has made negative."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    if signal.min() > 0:
        ax.set_yscale("log")
        _figure.plain_log(ax.yaxis)
    else:
        ax.set_yscale("symlog", linthresh=least or max(signal.max(), 1e-3))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(x=0.1, y=0.12)


def _names(ax: Axes, joins: pd.DataFrame, least: float | None) -> None:
    """Which clusters are joined, where there is room: first those nearest to the threshold."""
    threshold = [] if least is None else [_threshold(ax, least)]
    figure = ax.figure.canvas.figure
    figure.draw_without_rendering()  # where things are is known once the figure is laid out
    taken, frame = [text.get_window_extent() for text in threshold], ax.get_window_extent()
    points = ax.transData.transform(joins[["n_clusters", "signal"]].to_numpy(dtype=float))
    far = np.abs(points[:, 1] - ax.transData.transform((0, least or 0))[1])
    for row in np.argsort(far, kind="stable"):
        text = _name(ax, joins.iloc[row])
        box = text.get_window_extent().padded(3)
        inside = frame.y0 <= box.y0 and box.x1 <= frame.x1 + 0.1 * frame.width and box.y1 <= frame.y1
        if not inside or box.count_overlaps(taken) or box.count_contains(np.delete(points, row, axis=0)):
            text.remove()
        else:
            taken.append(box)


def _threshold(ax: Axes, least: float) -> Annotation:
    where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    style = {"color": _figure.CHOSEN, "fontsize": "small", "va": "top"}
    return ax.annotate(f"min_signal = {least:g}", (0.02, least), (0, -2), **where, **style)


def _name(ax: Axes, join: pd.Series) -> Annotation:
    from matplotlib.patheffects import withStroke

    names = " | ".join(map(_short, (str(join["cluster"]), str(join["joined"]))))
    style = {"fontsize": "x-small", "ha": "left", "va": "bottom"}
    halo = [withStroke(linewidth=2.5, foreground="white")]
    where = {"xytext": (3, 3), "textcoords": "offset points"}
    return ax.annotate(names, (join["n_clusters"], join["signal"]), **where, **style, path_effects=halo)


def _short(name: str) -> str:
    """A cluster that was joined from many, by the first of them."""
    members = name.split("+")
    return name if len(members) <= MOST_MEMBERS else f"{'+'.join(members[: MOST_MEMBERS - 1])}+…"
