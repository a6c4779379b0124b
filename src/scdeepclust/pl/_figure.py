"""What all plots share: panels, marks, and showing, saving or returning as scanpy does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.lines import Line2D
    from numpy.typing import ArrayLike

# Okabe and Ito (2008), told apart by the colour-blind; in grey too, as lightness differs. Black is for text.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
# Petroff (2021, arXiv 2107.02270), for more.
PETROFF = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
CHOSEN, CURVE, QUIET = "#D55E00", "#0072B2", "0.45"
TITLE = {"fontsize": "medium", "loc": "left", "pad": 14}
ROOM = 0.07  # of a logarithmic axis, that numbers on it take
EXTENSIONS = (".pdf", ".png", ".svg")
MISSING = "#D0D0D0"
LARGEST, INK = 9.0, 20_000.0  # points squared: of one point, and of all together
DOTS_PER_INCH = (
    300  # of saved points, unless the user has set it: text and lines stay vectors where the format has them
)


def panels(
    names: Sequence[str], axes: Axes | ArrayLike | None, *, n_rows: int = 1, size: tuple[float, float] = (3.7, 3.3)
) -> np.ndarray:
    """Axes to draw in, n_rows x columns: the user's, or those of a new figure.

    Raises
    ------
    ValueError
        As many axes as panels are needed, and there are not.
    """
    import matplotlib.pyplot as plt

    ncols = len(names) // n_rows
    if axes is None:
        width, height = size
        shape = {"figsize": (width * ncols, height * n_rows), "layout": "constrained"}
        return plt.subplots(n_rows, ncols, squeeze=False, **shape)[1]
    check_axes(names, axes)
    return np.array(axes, dtype=object).reshape(n_rows, ncols)


def check_axes(names: Sequence[str], axes: Axes | ArrayLike | None, ncols: int = 1) -> None:
    """Refuse, before any work, other axes than one for each panel, and panels in rows of none.

    Raises
    ------
    ValueError
        There are more axes, or fewer, or no columns.
    """
    from ..data.checks import whole_number

    whole_number("ncols", ncols)
    n_given = len(names) if axes is None else np.array(axes, dtype=object).size
    if n_given != len(names):
        msg = (
            f"axes holds {n_given}, but {len(names)} are needed ({', '.join(names)}); give so many, or leave axes out."
        )
        raise ValueError(msg)


def wrapped(names: Sequence[str], axes: Axes | ArrayLike | None, ncols: int, size: tuple[float, float]) -> np.ndarray:
    """Axes to draw in, one after the other; those of a new figure in rows of ncols, of which the last may be short.

    Raises
    ------
    ValueError
        As many axes as panels are needed, and there are not.
    """
    check_axes(names, axes, ncols)
    if axes is not None:
        return panels(names, axes)[0]
    ncols = min(int(ncols), len(names))
    n_rows = -(-len(names) // ncols)
    drawn = panels([*names, *[""] * (n_rows * ncols - len(names))], None, n_rows=n_rows, size=size).ravel()
    for ax in drawn[len(names) :]:
        ax.remove()
    return drawn[: len(names)]


def widen(drawn: np.ndarray, inches: float) -> None:
    """Make a figure wider, for what stands beside its panels."""
    figure = drawn.flat[0].figure.canvas.figure
    figure.set_figwidth(figure.get_figwidth() + inches)


def point_size(n: int) -> float:
    """Area of one point of so many, in points squared."""
    return min(LARGEST, INK / max(n, 1))


def finish(
    drawn: np.ndarray, name: str, axes: object, *, show: bool | None, save: bool | str | os.PathLike | None
) -> np.ndarray | None:
    """Save and show as scanpy's settings say, and return what was drawn in unless it was shown."""
    import matplotlib.pyplot as plt
    from scanpy import settings

    for ax in drawn.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(visible=False)  # as set_figure_params of scanpy would have it, across points and numbers
    show = settings.autoshow if show is None else show
    save = settings.autosave if save is None else save
    figure = drawn.flat[0].figure.canvas.figure  # of a subfigure, the whole
    if save is not False:
        _write(figure, name, save=save)
    if show:
        plt.show()
    if save is not False and axes is None:
        plt.close(figure)
    return None if show else drawn


def _write(figure: Any, name: str, *, save: bool | str | os.PathLike) -> None:
    """A path is the file, as is text from the root; other text, as in scanpy, is what its name in `figdir` ends with."""
    import matplotlib as mpl
    from scanpy import settings

    if isinstance(save, os.PathLike) or Path(save if isinstance(save, str) else "").is_absolute():
        path = Path(save)
    else:
        ending = save if isinstance(save, str) else ""
        extension = next((e for e in EXTENSIONS if ending.endswith(e)), f".{settings.file_format_figs}")
        path = Path(settings.figdir) / f"{name}{ending.removesuffix(extension)}{settings.plot_suffix}{extension}"
    path.parent.mkdir(parents=True, exist_ok=True)
    dpi = mpl.rcParams["savefig.dpi"]
    with mpl.rc_context({"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}):  # text stays text
        figure.savefig(path, dpi=DOTS_PER_INCH if dpi == "figure" else dpi, bbox_inches="tight")


def bar(figure: Any, mappable: Any, **where: Any) -> Any:
    """A bar of colours, without a frame."""
    found = figure.colorbar(mappable, **where)
    found.outline.set_visible(False)
    found.ax.grid(visible=False)
    return found


def of_usual_size() -> float:
    """How large letters are that the user has set, in those of matplotlib's default."""
    import matplotlib as mpl

    return mpl.rcParams["font.size"] / 10


def middle(xy: np.ndarray) -> np.ndarray:
    """Of a group of cells, one that is in the middle: the median of a bent group lies where it has none."""
    known = xy[np.isfinite(xy).all(1)]
    if not len(known):
        return np.full(2, np.nan)
    return known[np.square(known - np.median(known, axis=0)).sum(1).argmin()]


def short(text: str, most: int) -> str:
    """A name with as many letters as fit."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def shades(n: int, name: str = "viridis") -> list:
    """So many colours from dark to light; the lightest are left out, as they would vanish on white."""
    import matplotlib as mpl

    return list(mpl.colormaps[name](np.linspace(0, 0.88, n)))


def chosen(ax: Axes, x: float, y: float, label: str = "chosen") -> None:
    """Mark what was chosen."""
    style = {"color": CHOSEN, "markersize": 9, "markeredgecolor": "white", "linestyle": "none"}
    ax.plot(x, y, marker="o", label=label, zorder=5, **style)


def ring(ax: Axes, x: float, y: float, label: str) -> None:
    """Mark something of note, visible around a chosen point too."""
    style = {"markerfacecolor": "none", "markeredgecolor": "black", "markersize": 13, "linestyle": "none"}
    ax.plot(x, y, marker="o", label=label, zorder=6, **style)


def note(ax: Axes, text: str, y: float, *, data: bool = True) -> None:
    """Small words at the right end of a horizontal line, or above the panel."""
    where = {"xycoords": ("axes fraction", "data" if data else "axes fraction"), "textcoords": "offset points"}
    ax.annotate(text, (1, y), (0, 1), color=QUIET, fontsize="small", ha="right", va="bottom", **where)


def band(ax: Axes, x: ArrayLike, y: ArrayLike, error: ArrayLike, color: Any) -> None:
    """One standard error to both sides."""
    x, y, error = (np.asarray(v, dtype=float) for v in (x, y, error))
    ax.fill_between(x, y - error, y + error, color=color, alpha=0.18, linewidth=0)


def beside(ax: Axes, title: str, lines: list[Line2D], *, n_rows: int = 100) -> None:
    """A legend of the lines to the right of the panel, where it hides nothing; in columns of so many."""
    style = {
        "ncols": -(-len(lines) // n_rows),
        "columnspacing": 1.0,
        "loc": "upper left",
        "bbox_to_anchor": (1.0, 1.03),
        "borderaxespad": 0.2,
        "handlelength": 1.3,
    }
    ax.legend(handles=lines, title=title, fontsize="small", title_fontsize="small", frameon=False, **style)


def plain_log(axis: Axis, values: ArrayLike | None = None) -> None:
    """Numbers without powers on a logarithmic axis: round ones, or these values as far as there is room."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

    axis.set_minor_locator(NullLocator())
    low, high = axis.get_data_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 7)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if values is not None:
        values = np.unique(np.asarray(values, dtype=float))
        gap, shown = ROOM * np.log(values[-1] / values[0]), list(values[[0, -1]])
        for value in values[1:-1]:
            shown += [value] if np.abs(np.log(value / shown)).min() > gap else []
        axis.set_major_locator(FixedLocator(shown))
