from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _figure
from ._color import Coloring
from ._lineage import clusters_of, read_lineage

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

FEWEST = 5.0  # cells' weight on which a curve may rest: with less it has a gap
FURTHEST = 0.85  # bandwidths that their middle may be away: it is 0.8 at a sharp end, and more beyond
SAME = 0.97  # of the weight that is of cells of another branch too: there the two are one
TRUNK = "black"
REACH = 4.0  # bandwidths from which on cells weigh nothing
WIDE = 1.96  # standard errors to both sides that hold 95 % of what they should
ROW = 0.2  # of a heatmap, in inches
LONGEST = 20  # title of a heatmap, in letters
LETTER, FEW_LETTERS = 4.5, 4  # width of a small one, in points; so many may be wider than what they name
MOST_LINES = 8  # in a column of the legend


def trends(
    adata: AnnData,
    genes: str | Sequence[str],
    *,
    key: str = "lineage",
    branches: str | Sequence[str] | None = None,
    layer: str | None = None,
    bandwidth: float = 0.06,
    n_points: int = 200,
    heatmap: bool = False,
    sort: bool = True,
    ncols: int = 4,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
    show: bool | None = None,
    save: bool | str | os.PathLike | None = None,
) -> np.ndarray | None:
    """Plot genes along the branches that :func:`scdeepclust.tl.lineage` found.

    One panel a gene, and in it one curve a branch, from the root to a tip and in the colour that the tip has in
    :func:`scdeepclust.pl.lineage`, but black where it shares its cells with other branches. All are over the same
    pseudotime. A curve is a local linear fit to the cells of the branch, with Gaussian weights, and has a gap where
    there are hardly any; the band is its 95 % confidence interval. It takes cells for independent: those of one animal
    are not, and denoised ones still less, so that it is too narrow.

    Parameters
    ----------
    adata
        Cells with a lineage.
    genes
        Names of genes.
    key
        Where in `uns` the lineage is: its `key_added`.
    branches
        Which branches to draw, by the cluster at their tip; None draws all.
    layer
        Layer with the values. None takes `"denoised"` where there is such a layer, else `X`, of which counts are
        normalised to the median depth and logarithmised for the plot.
    bandwidth
        Standard deviation of the weights, as a share of the pseudotime that is drawn: more is smoother.
    n_points
        Points of a curve.
    heatmap
        Draw one panel a branch instead, with a row a gene: its curve, from its least (0) to its greatest value (1) on
        all branches that are drawn. The bar on top is the cluster that most cells there belong to.
    sort
        Whether genes of a heatmap are put together by the branch where they are highest, and there in the order in which
        they peak; otherwise they are as given.
    ncols
        Panels in a row.
    axes
        Axes to draw in, one a gene, or one a branch for heatmaps; None makes a figure.
    show
        Whether to show the figure; None does what `scanpy.settings.autoshow` says.
    save
        Whether to save the figure in `scanpy.settings.figdir`; text is appended to its name `"trends"`, and may end
        with `.pdf`, `.png` or `.svg`. A :class:`pathlib.Path`, or an absolute path, is the file itself.

    Returns
    -------
    `None`, or with `show=False` the axes, one a gene or, for heatmaps, one a branch.

    Raises
    ------
    KeyError
        There is no such key, branch, layer or gene; the message lists those that are.
    ValueError
        There are no genes, or a gene's name repeats in `var_names`; what is there is no lineage, or one of other
        clusters; no cell of the branches has a pseudotime; values are missing or not finite; a number is out of bounds;
        or there are too many or few axes.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_lineage(n_obs=300, n_vars=100, n_branches=2)
    >>> sdc.tl.deepclust(adata, n_clusters=5, pretrain_steps=50, cluster_steps=20, progress=False)
    >>> sdc.tl.lineage(adata, root={"cell_type": "S0"}, fates=None)
    >>> axes = sdc.pl.trends(adata, ["gene0", "gene1"], show=False)
    >>> [ax.get_title("left") for ax in axes]
    ['gene0', 'gene1']
    """
    from ..data.checks import several_names
    from ..data.expression import need_genes, to_be_drawn

    record = read_lineage(adata, key)
    genes = list(dict.fromkeys(several_names("genes", genes)))
    _check(genes, bandwidth, n_points)
    need_genes("genes", genes, adata.var_names)
    columns = _branches(adata, record, key, branches)
    names = list(columns)
    clusters = clusters_of(adata, record, {name for column in columns.values() for name in record["branches"][column]})
    coloring = Coloring.of(adata, clusters.name, clusters=True)
    time = adata.obs[f"{key}_pseudotime"].to_numpy(dtype=float)
    along = adata.obsm[f"{key}_branches"]
    cells = {name: along[column].notna().to_numpy() & np.isfinite(time) for name, column in columns.items()}
    _figure.check_axes(names if heatmap else genes, axes, ncols)
    drawn_cells = np.any([*cells.values()], axis=0)
    _need_cells(drawn_cells, key, names)
    values, unit = to_be_drawn(adata, genes, layer, cells=drawn_cells)
    spread = time[drawn_cells]
    grid = np.linspace(spread.min(), spread.max(), n_points)
    width = max(bandwidth * np.ptp(spread), 1e-9)
    curves = {name: smooth(time[here], values[here], grid, width) for name, here in cells.items()}
    ncols = ncols if axes is None else 1
    if heatmap:
        drawn = _figure.wrapped(names, axes, ncols, (3.0, max(1.2 + ROW * len(genes), 2.4)))
        means = {name: mean for name, (mean, _) in curves.items()}
        order = _by_peak(means) if sort else np.arange(len(genes))
        _heatmaps(drawn, [genes[i] for i in order], grid, {name: mean[:, order] for name, mean in means.items()}, ncols)
        strips = {name: _strip(time[here], clusters[here], grid, width) for name, here in cells.items()}
        # How wide things are is known once the figure is laid out.
        drawn[0].figure.canvas.figure.draw_without_rendering()
        for ax, strip in zip(drawn, strips.values(), strict=True):
            _bar(ax, strip, grid, coloring)
    else:
        drawn = _figure.wrapped(genes, axes, ncols, (2.6, 2.2))
        shared = _shared(time, cells, grid, width)
        for i, (ax, gene) in enumerate(zip(drawn, genes, strict=True)):
            for name, (mean, error) in curves.items():
                _curve(ax, grid, mean[:, i], error[:, i], color=coloring.colors[name], name=name, shared=shared[name])
            _limits(ax, values[drawn_cells, i])
            ax.set(xlim=(grid[0] - 0.03 * (grid[-1] - grid[0]), grid[-1] + 0.03 * (grid[-1] - grid[0])))
            ax.set_title(gene, **_figure.TITLE | {"pad": 6})
        last = min(ncols, len(drawn)) if axes is None else len(drawn)  # the user's may be in one row
        _legend(drawn[last - 1], wider=axes is None)
    for i, ax in enumerate(drawn):
        below = i + ncols >= len(drawn) or ncols == 1
        ax.set(xlabel="pseudotime" if below else "", ylabel="" if heatmap or i % ncols else unit)
    return _figure.finish(drawn, "trends", axes, show=show, save=save)


def smooth(time: np.ndarray, values: np.ndarray, grid: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Local linear fit with Gaussian weights, grid x genes, and its standard error (of unequal variances).

    The slope is shrunk as by a few cells without one, and the fit is NaN where cells weigh less than a few or are to
    one side: what is drawn rests on cells that are there.
    """
    order = np.argsort(time, kind="stable")
    time, values = time[order], values[order]
    mean, error = np.full((2, len(grid), values.shape[1]), np.nan)
    first, last = np.searchsorted(time, [grid - REACH * width, grid + REACH * width])
    for i, at in enumerate(grid):
        t, y = (time[first[i] : last[i]] - at) / width, values[first[i] : last[i]]
        weight = np.exp(-0.5 * t**2)
        total = float(weight.sum())
        middle = float(weight @ t) / max(total, 1e-12)
        beyond = min(weight[t < 0].sum(), weight[t > 0].sum())
        if total < FEWEST or (abs(middle) > FURTHEST and beyond < FEWEST):
            continue
        around = weight * (t - middle)
        slope_of = around / (around @ (t - middle) + FEWEST)
        share = weight / total - middle * slope_of
        mean[i] = share @ y
        error[i] = np.sqrt(share**2 @ (y - mean[i] - t[:, None] * (slope_of @ y)) ** 2)
    return np.clip(mean, values.min(0, initial=np.inf), values.max(0, initial=-np.inf)), error


def _shared(
    time: np.ndarray, cells: Mapping[str, np.ndarray], grid: np.ndarray, width: float
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Where the curve of each branch and that of another rest on the same cells, and where it is the first of these."""
    branches = np.stack([*cells.values()], axis=1).astype(float)
    shares = np.stack([smooth(time[here], branches[here], grid, width)[0] for here in cells.values()])
    same = np.minimum(shares, shares.transpose(2, 1, 0)) > SAME  # branch x point x branch; NaN is not
    same[np.arange(len(cells)), :, np.arange(len(cells))] = False
    return {name: (same[i].any(1), ~same[i, :, :i].any(1)) for i, name in enumerate(cells)}


def _check(genes: Sequence[str], bandwidth: float, n_points: int) -> None:
    from ..data.checks import whole_number

    if not genes:
        msg = "genes is empty; name one or more."
        raise ValueError(msg)
    if not 0 < bandwidth <= 1:
        msg = f"bandwidth={bandwidth!r} must be a share of pseudotime: above 0, and at most 1."
        raise ValueError(msg)
    whole_number("n_points", n_points, 2)


def _branches(
    adata: AnnData, record: Mapping[str, Any], key: str, branches: str | Sequence[str] | None
) -> dict[str, str]:
    """Column of each branch, by the cluster at its tip: h5ad cannot store a "/" in the name of the one."""
    from ..data.checks import need_key, several_names

    need_key("key", f"{key}_branches", adata.obsm, "adata.obsm")
    there = list(adata.obsm[f"{key}_branches"].columns)
    names = there if branches is None else several_names("branches", branches)
    columns = [str(name).replace("/", "|") for name in names]
    for column in columns:
        need_key("branches", column, there, f"adata.obsm['{key}_branches']")
    if not names:
        msg = "branches is empty; name one or more, or give None for all."
        raise ValueError(msg)
    return {str(record["branches"][column][-1]): column for column in columns}


def _need_cells(cells: np.ndarray, key: str, names: Sequence[str]) -> None:
    from ..data.checks import listing

    if not cells.any():
        msg = (
            f"No cell on the branches to {listing(names)} has a pseudotime in adata.obs['{key}_pseudotime']; give more "
            "cells, or run sdc.tl.lineage again."
        )
        raise ValueError(msg)


def _curve(
    ax: Axes,
    grid: np.ndarray,
    mean: np.ndarray,
    error: np.ndarray,
    *,
    color: Any,
    name: str,
    shared: tuple[np.ndarray, np.ndarray],
) -> None:
    """A curve with its band, and what is common to several branches once, on top, in black."""
    common, first = shared
    ax.plot(grid, mean, color=color, linewidth=1.6, label=name)
    _figure.band(ax, grid, np.where(_wider(~common), mean, np.nan), WIDE * error, color)
    if (common & first).any():
        trunk = common & first
        line = np.where(_wider(trunk), mean, np.nan)
        ax.plot(grid, line, color=TRUNK, linewidth=2.0, label="_several", zorder=3)
        _figure.band(ax, grid, np.where(trunk, mean, np.nan), WIDE * error, TRUNK)


def _wider(here: np.ndarray) -> np.ndarray:
    """Stretches with one more point at their ends, for two to meet."""
    return here | np.append(here[1:], False) | np.append(False, here[:-1])


def _legend(ax: Axes, *, wider: bool) -> None:
    """Which line is which, in a figure that becomes wider for it."""
    lines = [line for line in ax.lines if line.get_label() != "_several"]
    several = [line for line in ax.lines if line.get_label() == "_several"]
    if several:
        from matplotlib.lines import Line2D

        lines.append(Line2D([], [], color=TRUNK, linewidth=2.0, label="several"))
    _figure.beside(ax, "branch to", lines, n_rows=MOST_LINES)
    if wider:
        _figure.widen(np.array(ax), 0.6 * (-(-len(lines) // MOST_LINES)))


def _limits(ax: Axes, values: np.ndarray) -> None:
    """From zero for values that start there, and not from nothing to nothing."""
    ax.autoscale_view()
    high = ax.get_ylim()[1]
    if values.min() >= 0:
        ax.set_ylim(0, high if values.any() and high > 0 else 1)


def _by_peak(means: Mapping[str, np.ndarray]) -> np.ndarray:
    """Genes by branch and time of their peak."""
    heights = np.stack([np.where(np.isfinite(mean), mean, -np.inf) for mean in means.values()])
    peaks = heights.argmax(1)  # branch x gene
    highest = heights.max(1).argmax(0)
    return np.lexsort((peaks[highest, np.arange(len(highest))], highest))


def _heatmaps(
    drawn: np.ndarray, genes: Sequence[str], grid: np.ndarray, means: Mapping[str, np.ndarray], ncols: int
) -> None:
    import matplotlib as mpl

    everywhere = np.concatenate([*means.values()])
    everywhere = everywhere[np.isfinite(everywhere).all(1)]
    low, high = everywhere.min(0, initial=np.inf), everywhere.max(0, initial=-np.inf)
    span = np.maximum(high - low, 1e-12)
    cmap, step = mpl.colormaps["magma"].with_extremes(bad=_figure.MISSING), (grid[1] - grid[0]) / 2
    for i, (ax, (name, mean)) in enumerate(zip(drawn, means.items(), strict=True)):
        there = grid[np.isfinite(mean).all(1)]
        extent = (grid[0] - step, grid[-1] + step, len(genes) - 0.5, -0.5)
        style = {"cmap": cmap, "vmin": 0, "vmax": 1, "interpolation": "nearest", "aspect": "auto"}
        image = ax.imshow(((mean - low) / span).T, extent=extent, **style)
        if len(there):
            ax.set_xlim(there[0] - step, there[-1] + step)
        named = genes if i % ncols == 0 else []
        ax.set_yticks(range(len(named)), named, fontsize="small")
        ax.tick_params(axis="y", length=0)
        ax.set_title(f"branch to {_figure.short(name, LONGEST)}", **_figure.TITLE | {"pad": 26})
        ax.spines["left"].set_visible(False)
    label = "expression\n(least to greatest)"
    shrink = 1 if len(drawn) <= ncols or ncols == 1 else 0.5
    _figure.bar(drawn[0].figure, image, ax=list(drawn), label=label, aspect=25 * shrink, shrink=shrink)


def _strip(time: np.ndarray, clusters: pd.Series, grid: np.ndarray, width: float) -> np.ndarray:
    """The cluster that most cells at each time belong to; empty where there are none."""
    names = clusters.cat.categories
    member = (clusters.to_numpy()[:, None] == names.to_numpy()).astype(float)
    shares, _ = smooth(time, member, grid, width)
    return np.where(np.isfinite(shares).all(1), names.to_numpy()[np.nan_to_num(shares).argmax(1)], "")


def _bar(ax: Axes, strip: np.ndarray, grid: np.ndarray, coloring: Coloring) -> None:
    """Colours of clusters on top of a heatmap, with the names that find room."""
    from matplotlib.transforms import blended_transform_factory, offset_copy

    above = blended_transform_factory(ax.transData, ax.transAxes)
    changes = np.flatnonzero(strip[1:] != strip[:-1]) + 1
    step = (grid[1] - grid[0]) / 2
    limits = ax.get_xlim()
    used = -np.inf
    for run in np.split(np.arange(len(strip)), changes):
        name, left, right = strip[run[0]], max(grid[run[0]] - step, limits[0]), min(grid[run[-1]] + step, limits[1])
        if not name:
            continue
        line = {"color": coloring.colors[name], "linewidth": 5, "solid_capstyle": "butt", "clip_on": False}
        ax.plot([left, right], [1, 1], transform=offset_copy(above, ax.figure, 0, 4.5, units="points"), **line)
        at = offset_copy(above, ax.figure, 0, 8, units="points")
        width = np.diff(ax.transData.transform([(left, 1), (right, 1)])[:, 0])[0] * 72 / ax.figure.dpi
        shown = _figure.short(name, max(int(width / LETTER), FEW_LETTERS))
        text = ax.text((left + right) / 2, 1, shown, transform=at, ha="center", va="bottom", fontsize="x-small")
        box = text.get_window_extent()
        if box.x0 < used:
            text.remove()
        else:
            used = box.x1 + 2
    ax.set_xlim(limits)
