from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from . import _figure, _tree
from ._color import Coloring

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

Panel = Literal["clusters", "pseudotime", "tree"]
PANELS: tuple[Panel, ...] = ("clusters", "pseudotime", "tree")
SIDE, ROW = 3.6, 0.32  # of a panel and of a row of the tree, in inches
ON_CELLS = 4.0  # radius of a node, in points
FEW_LOST = 0.25  # share of the names: if no more find no room, the others are written in spite of the legend
LONGEST = 44  # of what the key says, in letters


def lineage(
    adata: AnnData,
    *,
    key: str = "lineage",
    color: str | None = None,
    layer: str | None = None,
    panels: Sequence[Panel] = PANELS,
    size: float | None = None,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
    show: bool | None = None,
    save: bool | str | os.PathLike | None = None,
) -> np.ndarray | None:
    """Plot the tree of clusters that :func:`scdeepclust.tl.lineage` found, on the cells and from left to right.

    On the left, the UMAP with its cells by cluster, and the tree over them: a node at the cell in the middle (nearest the median) of each
    cluster, and arrows that lead away from the root, as wide as PAGA is confident of them; broken ones come from a second earlier
    cluster that hands on at least a third of what a cluster gets, which then may come of either. Beside it, pseudotime on the
    same UMAP; where a hundredth of the cells is far later than all others, they have the colour of the latest of these.
    Below, the tree alone: each cluster at the median of its pseudotime, with as much area as it has cells. The arrows say what is linked and where the root is; that one cluster becomes the other is a hypothesis.

    Parameters
    ----------
    adata
        Cells with a lineage.
    key
        Where in `uns` it is: its `key_added`.
    color
        Column of `obs`, or gene, to colour cells by; a node then has the colour of the commonest category, or of the
        median, of its cells, for a gene of the mean. None colours by cluster. Categories have the colours of `uns[column + "_colors"]` where these are.
    layer
        Layer with the values of a gene. None takes `"denoised"` where there is such a layer, else `X`, of which counts are
        log-normalised.
    panels
        Which panels to draw.
    size
        Area of a cell in points squared; None goes by the number of cells.
    axes
        Axes to draw in, one a panel; None makes a figure.
    show
        Whether to show the figure; None does what `scanpy.settings.autoshow` says.
    save
        Whether to save the figure in `scanpy.settings.figdir`; text is appended to its name `"lineage"`, and may end
        with `.pdf`, `.png` or `.svg`. A :class:`pathlib.Path`, or an absolute path, is the file itself.

    Returns
    -------
    `None`, or with `show=False` the axes.

    Raises
    ------
    KeyError
        There is no such key, column or gene; the message lists those that are, and the genes of nearest name.
    ValueError
        What is there is no lineage or is one of other clusters, a cluster of the tree has no cells any more, there is no such panel, or there are too many or few
        axes.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_lineage(n_obs=300, n_vars=100, n_branches=2)
    >>> sdc.tl.deepclust(adata, n_clusters=5, pretrain_steps=50, cluster_steps=20, progress=False)
    >>> sdc.tl.lineage(adata, root={"cell_type": "S0"}, fates=None)
    >>> axes = sdc.pl.lineage(adata, show=False)
    >>> [ax.get_title("left") for ax in axes]
    ['deepclust', 'pseudotime', 'tree']
    """
    from ..data.checks import one_name

    record = read_lineage(adata, key)
    panels = _known(panels)
    reachable = record["clusters"]["reachable"].to_numpy(dtype=bool)
    labels = clusters_of(adata, record, set(record["clusters"].index[reachable]))
    record = _drawn(record, labels)
    coloring = Coloring.of(adata, labels.name, clusters=True)
    one_name("color", color)
    named = color in {None, labels.name}  # by the nodes, so that no legend is needed
    xy = np.asarray(adata.obsm[f"X_{key}"], dtype=float)
    cells = np.isfinite(xy).all(1)
    coloring = coloring if named else Coloring.named(adata, color, layer=layer, cells=cells)
    tree = _as_tree(record, labels, coloring)
    keys = {name: _key(name, record) for name in panels}
    if "clusters" in keys and "tree" in keys:
        keys["tree"] = keys["tree"][:1]  # the rest is said already
    explained = None if named else next((name for name in ("clusters", "tree") if name in keys), None)
    ax_of = _axes(keys, axes, tree, record["clusters"], beside=coloring.width if explained else 0.0)
    size = _figure.point_size(adata.n_obs) if size is None else size
    for name, ax in ax_of.items():  # first what takes room: names are put where there is some left
        if name == "clusters":
            _cells(ax, xy, coloring, size)
        elif name == "pseudotime":
            time = Coloring.of(adata, f"{key}_pseudotime")
            time = replace(time, title="")
            _cells(ax, xy, time, size)
            time.legend(np.array([[ax]]))
            keys[name] = _mark_root(ax, adata.obs_names, record, xy) + _key_of_time(time, xy)
        else:
            _time_axis(ax, record["clusters"])
        title = f"tree, by {coloring.title}" if name == explained == "tree" else name
        ax.set_title(coloring.title if name == "clusters" else title, **_figure.TITLE)
        if name == explained:
            coloring.legend(np.array([[ax]]))
        _below(ax, keys[name], 34 if name == "tree" else 18)
    legend = {"legend": coloring if named else None, "wider": axes is None}
    if "clusters" in ax_of:
        middles = np.array([_figure.middle(xy[(labels == name).to_numpy()]) for name in tree.names])
        cells = np.random.default_rng(0).permutation(xy[np.isfinite(xy).all(1)])
        _draw(ax_of["clusters"], tree.of_one_size(ON_CELLS), middles, cells, **legend)
    if "tree" in ax_of:
        ax, shown = ax_of["tree"], tree.only(tree.reachable)
        _draw(ax, shown, _from_left_to_right(ax, shown, record["clusters"]), elbows=True, **legend)
    return _figure.finish(np.array([*ax_of.values()]), "lineage", axes, show=show, save=save)


def _draw(
    ax: Axes,
    tree: _tree.Tree,
    xy: np.ndarray,
    cells: np.ndarray | None = None,
    *,
    legend: Coloring | None,
    wider: bool,
    elbows: bool = False,
) -> None:
    """The tree with its names, and, where there is no room for all, a legend, for which the figure becomes wider."""
    edges = _tree.draw(ax, tree, xy, elbows=elbows)
    texts, lost = _tree.name(ax, tree, xy, edges, cells)
    if not lost:
        return
    if legend is None:
        _figure.note(ax, f"no room for {len(lost)} of {len(tree.names)} names", 1, data=False)
        return
    for text in texts:
        text.remove()
    if wider:
        _figure.widen(np.array(ax), legend.width)
    legend.legend(np.array([[ax]]))
    if len(lost) <= FEW_LOST * len(tree.names):
        _tree.name(ax, tree, xy, edges, cells)  # there may be less room now


def read_lineage(adata: AnnData, key: str) -> Mapping[str, Any]:
    """What `tl.lineage` left in `uns`.

    Raises
    ------
    KeyError
        There is no such key.
    ValueError
        What is there is something else.
    """
    from ..data.checks import check_anndata, need_key

    check_anndata(adata)
    need_key("key", key, adata.uns, "adata.uns", first="sdc.tl.lineage(adata)")
    record = adata.uns[key]
    parts = {"tree", "clusters", "branches", "root", "params"}
    if not isinstance(record, Mapping) or not parts <= set(record) or "other" not in record["tree"]:
        msg = (
            f"adata.uns[{key!r}] holds no lineage; run sdc.tl.lineage(adata, root=..., key_added={key!r}), or name the "
            "key that it was given."
        )
        raise ValueError(msg)
    need_key("key", f"X_{key}", adata.obsm, "adata.obsm")
    need_key("key", f"{key}_pseudotime", adata.obs, "adata.obs")
    return record


def clusters_of(adata: AnnData, record: Mapping[str, Any], drawn: set[str]) -> pd.Series:
    """The cluster of each cell, as text; those that are to be drawn need cells.

    Raises
    ------
    KeyError
        There is no such column any more.
    ValueError
        The clusters are not those that the lineage was made of.
    """
    from .. import results
    from ..data.checks import listing, need_key

    key = record["params"]["key"]
    need_key("the clusters of this lineage: key", key, adata.obs, "adata.obs")
    labels = results.clusters(adata, key).astype("category").cat
    labels = labels.rename_categories([str(name) for name in labels.categories])
    sizes = labels.value_counts().reindex(record["clusters"].index, fill_value=0)
    now, then = set(labels.dropna().unique()), set(record["clusters"].index)
    if new := now - then:
        msg = (
            f"adata.obs[{key!r}] has changed since the lineage was found, or its clusters were renamed (new are "
            f"{listing(sorted(new))}, gone {listing(sorted(then - now))}); run sdc.tl.lineage again."
        )
        raise ValueError(msg)
    if (sizes > record["clusters"]["n_cells"]).any():  # cells may be left out, and none come
        msg = f"adata.obs[{key!r}] has changed since the lineage was found: there are other cells in its clusters; run sdc.tl.lineage again."
        raise ValueError(msg)
    if lost := drawn - now:
        msg = f"Clusters {listing(sorted(lost))} of the lineage have no cells here; run sdc.tl.lineage(adata) again."
        raise ValueError(msg)
    return labels


def _drawn(record: Mapping[str, Any], labels: pd.Series) -> dict[str, Any]:
    """What is drawn of it: the sizes that clusters have now, no unreached ones without cells, second origins that are near."""
    from ..tl._tree import NEARLY

    sizes = labels.value_counts()
    there = record["clusters"][record["clusters"].index.isin(sizes.index[sizes > 0])]
    tree = record["tree"]
    return {
        **record,
        "clusters": there.assign(n_cells=sizes[there.index].to_numpy()),
        "tree": tree.assign(other=tree["other"].where(tree["other_share"] >= NEARLY, "")),
    }


def _known(panels: Sequence[str]) -> list[str]:
    from ..data.checks import several_names

    panels = several_names("panels", panels)
    if not panels or not set(panels) <= set(PANELS) or len(set(panels)) < len(panels):
        msg = f"panels={panels!r}: give one or more of {', '.join(map(repr, PANELS))}, each once."
        raise ValueError(msg)
    return panels


def _axes(
    keys: Mapping[str, list], axes: object, tree: _tree.Tree, clusters: pd.DataFrame, *, beside: float
) -> dict[str, Axes]:
    """The user's, or those of a new figure: UMAPs side by side, on top of the tree."""
    import matplotlib.pyplot as plt

    panels = list(keys)
    if axes is not None:
        return dict(zip(panels, _figure.panels(panels, axes)[0], strict=True))
    crowd = _tree.crowd(len(tree.names))
    side, top = SIDE * (1 + 0.15 * crowd), [name for name in panels if name != "tree"]
    width = side * max(len(top), 1.6) + beside
    rows, heights = [top] if top else [], [side + 0.4] if top else []
    if "tree" in panels:
        n_rows = np.ptp(_rows(tree.only(tree.reachable), clusters, 72 * width * 0.9)) + 1
        rows.append(["tree"] * max(len(top), 1))
        heights.append(
            (0.9 + 0.2 * len(keys["tree"])) * _figure.of_usual_size() + ROW * (1 - 0.25 * crowd) * max(n_rows, 5)
        )
    figure = plt.figure(figsize=(width, sum(heights)), layout="constrained")
    found = figure.subplot_mosaic(rows, height_ratios=heights)
    return {name: found[name] for name in panels}


def _as_tree(record: Mapping[str, Any], labels: pd.Series, coloring: Coloring) -> _tree.Tree:
    clusters = record["clusters"]
    names = list(clusters.index)
    colors = [coloring.of_group((labels == name).to_numpy()) for name in names]
    n_cells = clusters["n_cells"].to_numpy()
    radii = _tree.radii_of(n_cells, n_cells.max(), len(names))
    return _tree.Tree(
        names, colors, radii, clusters["reachable"].to_numpy(dtype=bool), record["tree"], record["root"]["cluster"]
    )


def _cells(ax: Axes, xy: np.ndarray, coloring: Coloring, size: float) -> None:
    """Cells in random order, so that no category hides the others, on those without a value."""
    order = np.random.default_rng(0).permutation(len(xy))
    order = coloring.upwards(order[np.isfinite(xy[order]).all(1)])
    ax.scatter(*xy[order].T, s=size, linewidths=0, rasterized=True, **coloring.style(order))
    ax.set(xticks=[], yticks=[], box_aspect=1)
    ax.margins(0.06)
    ax.autoscale_view()
    for spine, axis, (low, high) in zip(
        ("bottom", "left"), (ax.xaxis, ax.yaxis), (ax.get_xlim(), ax.get_ylim()), strict=True
    ):
        ax.spines[spine].set_bounds(low, low + 0.25 * (high - low))  # a stub: these axes have no unit
        axis.set_label_text(f"UMAP {1 + (spine == 'left')}", fontsize="small")
    ax.xaxis.label.set(x=0, horizontalalignment="left")
    ax.yaxis.label.set(y=0, horizontalalignment="left")


def _key(panel: str, record: Mapping[str, Any]) -> list[list[Line2D]]:
    """Rows of marks that say what is drawn in a panel of the tree."""
    if panel == "pseudotime":
        return []
    root, clusters = record["root"], record["clusters"]
    how = "" if root["found_by"] == f"cluster {root['cluster']}" else f" ({root['found_by']})"
    rows = [[_tree.root_mark(_figure.short(f"root: {root['cluster']}{how}", LONGEST))], _tree.edge_marks()]
    if (record["tree"]["other"] != "").any():
        rows.append([_tree.maybe_mark("other origin: hands on a third or more")])
    lost = clusters[~clusters["reachable"].to_numpy(dtype=bool)]
    if len(lost):
        n_cells = f"({lost['n_cells'].sum():,} cells)"
        rows.append([_tree.hollow_mark(f"not reached from the root: {_some(lost.index)} {n_cells}")])
    return ([_tree.size_marks(clusters["n_cells"].to_numpy())] if panel == "tree" else []) + rows


def _some(names: Sequence[str]) -> str:
    """As many names as fit."""
    text = ", ".join(names)
    if len(text) <= LONGEST // 2:
        return text
    shown = [name for i, name in enumerate(names) if len(", ".join(names[: i + 1])) <= LONGEST // 3]
    return ", ".join([*shown, f"{len(names) - len(shown)} more"])


def _mark_root(ax: Axes, cells: pd.Index, record: Mapping[str, Any], xy: np.ndarray) -> list[list[Line2D]]:
    """Mark the cell where time starts, if it is still there."""
    root = record["root"]["cell"]
    style = {"marker": "*", "markersize": 11, "markerfacecolor": "white", "markeredgecolor": "black", "zorder": 6}
    label = _figure.short(f"root: {root}", LONGEST)
    return [
        ax.plot(*xy[i], linestyle="none", label=label, gid="root cell", **style)
        for i in np.flatnonzero(cells == root)[:1]
    ]


def _key_of_time(time: Coloring, xy: np.ndarray) -> list[list[Line2D]]:
    """Say that cells without a time are grey."""
    from matplotlib.lines import Line2D

    n_grey = int((~time.known & np.isfinite(xy).all(1)).sum())
    style = {"marker": "o", "linestyle": "none", "color": _figure.MISSING, "markersize": 6, "markeredgewidth": 0}
    return [[Line2D([], [], label=f"not reached from the root ({n_grey:,} cells)", **style)]] if n_grey else []


def _time_limits(clusters: pd.DataFrame) -> tuple[float, float]:
    time = clusters["pseudotime"].to_numpy(dtype=float)
    low, high = np.nanmin(time), np.nanmax(time)
    return low - 0.06 * (high - low or 1), high + 0.08 * (high - low or 1)


def _time_axis(ax: Axes, clusters: pd.DataFrame) -> None:
    ax.set(xlabel="pseudotime (median of the cluster)", yticks=[], xlim=_time_limits(clusters))
    ax.spines["left"].set_visible(False)


def _rows(tree: _tree.Tree, clusters: pd.DataFrame, width: float) -> np.ndarray:
    """Row of each cluster in a panel of this width, in points."""
    low, high = _time_limits(clusters)
    time = clusters.loc[tree.names, "pseudotime"].to_numpy(dtype=float)
    return _tree.from_left_to_right(tree, (time - low) / (high - low) * width)


def _from_left_to_right(ax: Axes, tree: _tree.Tree, clusters: pd.DataFrame) -> np.ndarray:
    """Where the nodes are: to the right, their time."""
    ax.figure.canvas.figure.draw_without_rendering()
    scale = 72 / ax.figure.dpi
    rows = _rows(tree, clusters, ax.get_window_extent().width * scale)
    ax.set_ylim(rows.max() + 0.7, rows.min() - 0.7)
    time = clusters.loc[tree.names, "pseudotime"].to_numpy(dtype=float)
    points = ax.transData.transform(np.stack([time, rows], axis=1)) * scale
    return ax.transData.inverted().transform(_tree.apart(points, tree.radii) / scale)


def _below(ax: Axes, rows: Sequence[Sequence[Line2D]], first: float) -> None:
    """Rows of a key under the axes, the first so many points below them, by letters of the usual size."""
    from matplotlib.legend import Legend
    from matplotlib.transforms import offset_copy

    for i, row in enumerate(rows):
        at = offset_copy(ax.transAxes, ax.figure, 0, -(first + 13 * i) * _figure.of_usual_size(), units="points")
        style = {"fontsize": "small", "frameon": False, "handletextpad": 0.5, "columnspacing": 1.2, "borderpad": 0}
        style |= {"handlelength": 2.0, "numpoints": 1}
        where = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": at, "borderaxespad": 0}
        legend = Legend(ax, row, [mark.get_label() for mark in row], ncols=len(row), **style, **where)
        ax.add_artist(legend).set_clip_on(False)
