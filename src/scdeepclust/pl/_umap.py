from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from . import _figure, _labels
from ._color import Coloring

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

N_NEIGHBORS = 15
PANEL = 3.6  # inches


def umap(
    adata: AnnData,
    color: str | Sequence[str] | None = None,
    *,
    key: str = "deepclust",
    basis: str | None = None,
    layer: str | None = None,
    legend_loc: Literal["right margin", "on data"] | None = "right margin",
    size: float | None = None,
    ncols: int = 2,
    random_state: int | np.random.Generator | None = 0,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
    show: bool | None = None,
    save: bool | str | os.PathLike | None = None,
) -> np.ndarray | None:
    """Plot cells in two dimensions: a UMAP of the learned embedding, by cluster, columns of `obs` or genes.

    The UMAP is made for the plot and not kept: 15 neighbours, and UMAP by scanpy. Distances between clusters on it mean
    little; for lineages see :func:`scdeepclust.pl.lineage`.

    Parameters
    ----------
    adata
        Cells with clusters, as :func:`scdeepclust.tl.deepclust` leaves them.
    color
        Columns of `obs` or genes to colour cells by, one panel each; None colours by cluster. Categories have the colours
        of `uns[column + "_colors"]` where these are. Where a hundredth of the cells is far above all others in a number, they
        have the last colour, and the bar an arrow.
    key
        Which clusters: their `key_added`.
    basis
        Key of `obsm` whose first two columns are drawn instead of a new UMAP, such as `"X_umap"` or `"X_lineage"`.
    layer
        Layer with the values of genes. None takes `"denoised"` where there is such a layer, else `X`, of which counts are
        log-normalised.
    legend_loc
        Where the names of categories are: beside the panel, on the cells, or nowhere.
    size
        Area of a cell in points squared; None goes by the number of cells.
    ncols
        Panels in a row.
    random_state
        Seed of the UMAP.
    axes
        Axes to draw in, one for each of `color`; None makes a figure.
    show
        Whether to show the figure; None does what `scanpy.settings.autoshow` says.
    save
        Whether to save the figure in `scanpy.settings.figdir`; text is appended to its name `"umap"`, and may end with
        `.pdf`, `.png` or `.svg`. A :class:`pathlib.Path`, or an absolute path, is the file itself.

    Returns
    -------
    `None`, or with `show=False` the axes.

    Raises
    ------
    KeyError
        There is no such key, column or gene; the message lists columns, and the genes of nearest name.
    ValueError
        There are too few cells for a UMAP, a gene's name repeats, `basis` has one column, or there are too many or few axes.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, n_clusters=3, progress=False)
    >>> axes = sdc.pl.umap(adata, ["deepclust", "cell_type"], show=False)
    >>> [ax.get_title("left") for ax in axes]
    ['deepclust', 'cell_type']
    """
    from .. import results
    from ..data.checks import check_anndata, need_key, one_of, several_names

    check_anndata(adata)
    colors = [key] if color is None else several_names("color", color)
    if not colors:
        msg = "color is empty; name one or more columns of obs or genes, or leave it out."
        raise ValueError(msg)
    if color is None:
        need_key("key", key, adata.obs, "adata.obs")
    one_of("legend_loc", legend_loc, ["right margin", "on data", None])
    rep = results.embedding_key(adata, key, basis, "basis")
    x = np.asarray(adata.obsm[rep], dtype=np.float32)
    cells = np.isfinite(x.reshape(len(x), -1)[:, : None if basis is None else 2]).all(1)
    colorings = [Coloring.named(adata, name, clusters=name == key, layer=layer, cells=cells) for name in colors]
    _figure.check_axes(colors, axes, ncols)
    xy = _coordinates(x, cells, rep, made=basis is None, random_state=random_state)
    room = max(0.0 if coloring.colors and legend_loc != "right margin" else coloring.width for coloring in colorings)
    drawn = _figure.wrapped(colors, axes, ncols, (PANEL + room, PANEL))
    size = _figure.point_size(adata.n_obs) if size is None else size
    # Shuffled, so that no cluster hides another.
    order = np.random.default_rng(0).permutation(np.flatnonzero(np.isfinite(xy).all(1)))
    for ax, coloring in zip(drawn, colorings, strict=True):
        shown = coloring.upwards(order)
        ax.scatter(*xy[shown].T, **coloring.style(shown), s=size, linewidths=0, rasterized=True)
        ax.set(xticks=[], yticks=[], xlabel="UMAP 1" if basis is None else f"{rep} 1", aspect="equal")
        ax.set_ylabel("UMAP 2" if basis is None else f"{rep} 2")
        ax.set_title(coloring.title, **_figure.TITLE | {"pad": 6})
        if coloring.colors is None or legend_loc == "right margin":
            replace(coloring, title="").legend(np.array([[ax]]))
        elif legend_loc == "on data":
            _labels.on_cells(ax, xy, adata.obs[coloring.title])
    found = _figure.finish(np.atleast_2d(drawn), "umap", axes, show=show, save=save)
    return None if found is None else found[0]


def _coordinates(
    x: np.ndarray, known: np.ndarray, rep: str, *, made: bool, random_state: int | np.random.Generator | None
) -> np.ndarray:
    """Two numbers for each cell, NaN where it has no embedding."""
    if not made:
        if x.ndim != 2 or x.shape[1] < 2:
            msg = f"basis={rep!r} has no two columns to draw; name another key of adata.obsm."
            raise ValueError(msg)
        return x[:, :2]
    import scanpy as sc
    from anndata import AnnData

    from .. import results
    from ..arguments import resolve_seed
    from ..data.raw import spread
    from ..train import kept_threads

    seed = resolve_seed(random_state)
    if known.sum() <= N_NEIGHBORS:
        msg = f"adata.obsm[{rep!r}] has values for {known.sum()} cells; a UMAP needs more than {N_NEIGHBORS}."
        raise ValueError(msg)
    bare = AnnData(obsm={"rep": x[known]})
    with kept_threads():
        results.write_neighbors(bare, N_NEIGHBORS, use_rep="rep", random_state=seed)
        sc.tl.umap(bare, random_state=seed)
    return spread(bare.obsm["X_umap"], known, len(x))
