from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _figure

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

MOST_ROWS = 500  # cells whose embedding is shown, drawn evenly from the sorted ones
CLIP = 2.5  # standard deviations


def heads(
    adata: AnnData,
    key: str = "deepclust",
    *,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
    show: bool | None = None,
    save: bool | str | os.PathLike | None = None,
) -> np.ndarray | None:
    """Plot what the heads of a method with several partitions do, and whether they agree.

    Above, for each head, the embedding of cells (rows, sorted by the head's clusters, which lines separate; columns are
    dimensions, each z-scored), and how far heads agree: adjusted mutual information of their clusters, 0 for heads that
    tell nothing of each other. Below, the share of cells in each cluster of a head.

    Parameters
    ----------
    adata
        Cells with a result of several heads.
    key
        Name of the result.
    axes
        Axes to draw in, two for each head and one; None makes a figure.
    show
        Whether to show the figure; None does what `scanpy.settings.autoshow` says.
    save
        Whether to save the figure in `scanpy.settings.figdir`; text is appended to its name `"heads"`, and may
        end with `.pdf`, `.png` or `.svg`. A :class:`pathlib.Path`, or an absolute path, is the file itself.

    Returns
    -------
    `None`, or with `show=False` the axes: embeddings, agreement, uses.

    Raises
    ------
    KeyError
        There is no such result.
    ValueError
        It has one head only, or there are too many or few axes.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> few = {"n_clusters": 3, "n_heads": 2, "pretrain_steps": 20, "cluster_steps": 20}
    >>> sdc.tl.deepclust(adata, "deepwak", **few, progress=False)
    >>> len(sdc.pl.heads(adata, show=False))
    5
    """
    partitions, x = _result(adata, key)
    names = list(partitions)
    panels = [*(f"embedding of {n}" for n in names), "agreement", *(f"use of {n}" for n in names)]
    drawn = _figure.wrapped(panels, axes, len(names) + 1, (2.7, 2.5))
    n_latent = adata.uns.get(key, {}).get("params", {}).get("n_latent", x.shape[1] // len(names))
    parts = np.split(x, len(names), axis=1) if x.shape[1] == len(names) * n_latent else [x] * len(names)
    for a, name in enumerate(names):
        clusters = partitions[name]
        _values(drawn[a], parts[a], clusters, name)
        _use(drawn[len(names) + 1 + a], clusters)
    drawn[0].set_ylabel("cells, by cluster")
    drawn[len(names) + 1].set_ylabel("share of cells")
    _agreement(drawn[len(names)], partitions)
    return _figure.finish(drawn, "heads", axes, show=show, save=save)


def _result(adata: AnnData, key: str) -> tuple[dict[str, pd.Series], np.ndarray]:
    from .. import results
    from ..data.checks import check_anndata, need_key

    check_anndata(adata)
    partitions = results.partitions(adata, key)
    if len(partitions) < 2:
        msg = f"{key!r} has a single partition; heads are compared where a method was run with several (n_heads=...)."
        raise ValueError(msg)
    need_key("key", f"X_{key}", adata.obsm, "adata.obsm")
    known = next(iter(partitions.values())).notna().to_numpy()
    return {name: column[known] for name, column in partitions.items()}, np.asarray(adata.obsm[f"X_{key}"])[known]


def _values(ax: Axes, x: np.ndarray, clusters: pd.Series, name: str) -> None:
    codes = clusters.cat.codes.to_numpy()
    order = np.argsort(codes, kind="stable")
    order = order[np.linspace(0, len(order) - 1, min(MOST_ROWS, len(order))).astype(int)]
    spread = x.std(0)
    shown = ((x - x.mean(0)) / np.where(spread > 0, spread, 1))[order]
    ax.imshow(shown, aspect="auto", cmap="RdBu_r", vmin=-CLIP, vmax=CLIP, interpolation="nearest", rasterized=True)
    for border in np.flatnonzero(np.diff(codes[order])):
        ax.axhline(border + 0.5, color="black", linewidth=0.7)
    ax.set(xlabel="dimension", yticks=[])
    ax.set_title(name, **_figure.TITLE | {"pad": 6})


def _use(ax: Axes, clusters: pd.Series) -> None:
    share = clusters.value_counts(sort=False, normalize=True)
    ax.bar(range(len(share)), share, color=_figure.CURVE)
    step = -(-len(share) // 12)
    ax.set_xticks(range(0, len(share), step), share.index[::step], fontsize="small")
    ax.set_xlabel("cluster")


def _agreement(ax: Axes, partitions: dict[str, pd.Series]) -> None:
    from ..metrics import ami

    names = list(partitions)
    table = [[ami(one.astype(str), other.astype(str)) for other in partitions.values()] for one in partitions.values()]
    ax.imshow(table, cmap="Greys", vmin=0, vmax=1)
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            ax.text(
                j,
                i,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize="small",
                color="white" if value > 0.5 else "black",
            )
    ax.set_xticks(range(len(names)), names, fontsize="small", rotation=45)
    ax.set_yticks(range(len(names)), names, fontsize="small")
    ax.set_title("agreement (AMI)", **_figure.TITLE | {"pad": 6})
    ax.tick_params(length=0)
