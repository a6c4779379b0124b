from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from . import _figure

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

COLUMNS = {"head", "cluster", "annotation", "category", "n_both", "n_cluster", "log_odds", "q_value"}
LARGEST = 150.0  # points squared, of the most significant
MOST_SIGNIFICANT = 10.0  # orders of magnitude; what is rarer is drawn as large
MOST_ODDS = 5.0  # to base 2
THICKEST = 2.6  # outline, in points, of a category that is the whole cluster
WIDTH, HEIGHT, LETTER = 0.32, 0.28, 0.085  # inches of a column, of a row, and of a letter
BESIDE = 2.3  # inches of the bar and the legends
LEAST_HEIGHT = 1.9  # inches, in which the legend has room


def enrichment(
    adata: AnnData,
    key: str = "deepclust",
    *,
    annotations: str | Sequence[str] | None = None,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
    show: bool | None = None,
    save: bool | str | os.PathLike | None = None,
) -> np.ndarray | None:
    """Plot which categories each cluster holds more, or fewer, of than chance: one panel a head.

    Colour is the log odds (red for more, blue for fewer), size the significance after adjustment, and the thickness of
    the outline the share of the cluster's cells that are of the category. Combinations that are not significant (5 %)
    are small and have no outline.

    Parameters
    ----------
    adata
        Cells after :func:`scdeepclust.tl.enrichment`.
    key
        Name of the clusters, as given there, or of the table in `uns`.
    annotations
        Which of the annotations tested to show; None shows all.
    axes
        Axes to draw in, one for each head; None makes a figure.
    show
        Whether to show the figure; None does what `scanpy.settings.autoshow` says.
    save
        Whether to save the figure in `scanpy.settings.figdir`; text is appended to its name `"enrichment"`, and may
        end with `.pdf`, `.png` or `.svg`. A :class:`pathlib.Path`, or an absolute path, is the file itself.

    Returns
    -------
    `None`, or with `show=False` the axes.

    Raises
    ------
    KeyError
        There is no such table, or no such annotation in it.
    ValueError
        What is there is no table of :func:`scdeepclust.tl.enrichment`, or there are too many or few axes.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.enrichment(adata, "cell_type", "cell_type")
    >>> axes = sdc.pl.enrichment(adata, "cell_type", show=False)
    >>> axes[0].get_title(loc="left")
    'cell_type'
    """
    table = _table(adata, key, annotations)
    heads = list(table["head"].unique())
    columns = table[["annotation", "category"]].drop_duplicates().reset_index(drop=True)
    rows = {head: list(table.loc[table["head"] == head, "cluster"].unique()) for head in heads}
    longest = columns["category"].str.len().max()
    tallest = max(LEAST_HEIGHT, HEIGHT * max(map(len, rows.values())))
    size = (1.1 + WIDTH * len(columns), 0.6 + LETTER * longest + tallest)
    drawn = _figure.panels(heads, axes, size=size)
    if axes is None:
        _figure.widen(drawn, BESIDE)
    limit = float(np.clip(np.abs(table["log_odds"]).max(), 1, MOST_ODDS))
    for ax, head in zip(drawn[0], heads, strict=True):
        dots = _dots(ax, table[table["head"] == head], columns, rows[head], limit)
        ax.set_title(head, **_figure.TITLE | {"pad": _figure.TITLE["pad"] * _figure.of_usual_size()})
    drawn[0, 0].set_ylabel("cluster")
    extend = "both" if np.abs(table["log_odds"]).max() > limit else "neither"
    where = {"shrink": 0.6, "aspect": 15, "pad": 0.02, "extend": extend}
    bar = _figure.bar(drawn[0, -1].figure, dots, ax=list(drawn[0]), **where)
    bar.set_label("log2 odds ratio", fontsize="small")
    _legend(drawn[0, -1])
    found = _figure.finish(drawn, "enrichment", axes, show=show, save=save)
    return None if found is None else found[0]


def _table(adata: AnnData, key: str, annotations: str | Sequence[str] | None) -> pd.DataFrame:
    from ..data.checks import check_anndata, need_key, several_names

    check_anndata(adata)
    name = key if key in adata.uns and isinstance(adata.uns[key], pd.DataFrame) else f"{key}_enrichment"
    need_key("key", name, adata.uns, "adata.uns", first="sdc.tl.enrichment(adata)")
    table = adata.uns[name]
    if not isinstance(table, pd.DataFrame) or not set(table.columns) >= COLUMNS:
        msg = f"adata.uns[{name!r}] is no table of enrichment; run sdc.tl.enrichment(adata, {key!r}, ...) first."
        raise ValueError(msg)
    if annotations is None:
        return table
    wanted = several_names("annotations", annotations)
    if not wanted:
        msg = "annotations is empty; name annotations that were tested, or leave it out for all."
        raise ValueError(msg)
    for annotation in wanted:
        need_key("annotations", annotation, list(table["annotation"].unique()), f"adata.uns[{name!r}]")
    return table[table["annotation"].isin(wanted)]


def _area(q: np.ndarray) -> np.ndarray:
    """Of a dot, by its significance."""
    orders = np.clip(-np.log10(np.maximum(q, 1e-300)), 0, MOST_SIGNIFICANT)
    return LARGEST * (0.06 + 0.94 * orders / MOST_SIGNIFICANT)


def _dots(ax: Axes, table: pd.DataFrame, columns: pd.DataFrame, clusters: list[str], limit: float) -> object:
    place = {pair: i for i, pair in enumerate(columns.itertuples(index=False, name=None))}
    x = [place[pair] for pair in table[["annotation", "category"]].itertuples(index=False, name=None)]
    y = table["cluster"].map({cluster: i for i, cluster in enumerate(clusters)})
    share = (table["n_both"] / table["n_cluster"].clip(lower=1)).to_numpy()
    outline = np.where(table["q_value"] < 0.05, THICKEST * share, 0)
    dots = ax.scatter(
        x,
        y,
        c=table["log_odds"].clip(-limit, limit),
        s=_area(table["q_value"].to_numpy()),
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        linewidths=outline,
        edgecolors="black",
    )
    ax.set_xticks(range(len(columns)), columns["category"], rotation=90, fontsize="small")
    ax.set_yticks(range(len(clusters)), clusters, fontsize="small")
    ax.set(xlim=(-0.7, len(columns) - 0.3), ylim=(len(clusters) - 0.4, -0.6))
    starts = columns.index[columns["annotation"] != columns["annotation"].shift()]
    for i, start in enumerate(starts):
        if i:
            ax.axvline(start - 0.5, color=_figure.QUIET, linewidth=0.8)
        where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        name = columns["annotation"][start]
        ax.annotate(name, (start - 0.4, 1), (0, 2), color=_figure.QUIET, fontsize="small", ha="left", **where)
    ax.tick_params(length=0)
    return dots


def _legend(ax: Axes) -> None:
    """What sizes and outlines mean."""
    from matplotlib.lines import Line2D

    style = {"linestyle": "none", "marker": "o", "markerfacecolor": "0.8"}
    sizes = [
        Line2D([], [], markersize=float(np.sqrt(_area(np.array(q)))), label=label, markeredgewidth=0, **style)
        for q, label in ((1.0, "1"), (1e-5, "1e-5"), (10.0**-MOST_SIGNIFICANT, f"1e-{MOST_SIGNIFICANT:.0f} or less"))
    ]
    outlines = [
        Line2D([], [], markersize=9, markeredgecolor="black", markeredgewidth=THICKEST * share, label=label, **style)
        for share, label in ((0.25, "a quarter"), (1.0, "all"))
    ]
    common = {
        "fontsize": "small",
        "title_fontsize": "small",
        "frameon": False,
        "borderaxespad": 0.0,
        "loc": "upper left",
    }
    first = ax.legend(handles=sizes, title="adjusted p-value", bbox_to_anchor=(1.02, 1.0), alignment="left", **common)
    ax.add_artist(first)
    ax.legend(handles=outlines, title="cells of the cluster", bbox_to_anchor=(1.02, 0.42), alignment="left", **common)
