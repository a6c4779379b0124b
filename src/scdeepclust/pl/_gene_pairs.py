from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _figure
from ._color import Coloring

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes


def gene_pairs(
    adata: AnnData,
    pairs: Sequence[tuple[str, str]] | tuple[str, str],
    *,
    layer: str = "denoised",
    raw_layer: str | None = None,
    color: str | None = None,
    size: float | None = None,
    axes: Sequence[Axes] | np.ndarray | None = None,
    show: bool | None = None,
    save: bool | str | os.PathLike | None = None,
) -> np.ndarray | None:
    """Plot pairs of genes against each other, before and after denoising.

    One row a pair: log-normalised values on the left, denoised ones on the right, with their Pearson correlation. Genes
    of one programme should come to lie on a curve, markers of different types on the axes. Averages over neighbours
    correlate genes that are not related too: a correlation after denoising is no test.

    Parameters
    ----------
    adata
        Cells x genes.
    pairs
        Names of genes, two by two: first the one drawn across, then the one drawn upwards.
    layer
        Layer with denoised values, or key of the table in `obsm` with those of a few genes, as
        :func:`scdeepclust.pp.denoise` makes it.
    raw_layer
        Layer with the values before; `X` if None. Counts are drawn as log of one plus the counts of a cell of median depth,
        which is what denoised values are.
    color
        Column of `obs` to colour cells by: categories, in the colours of `uns[color + "_colors"]` where these are,
        or numbers; or a gene, by its denoised values where there is such a layer, else as in `X`.
    size
        Area of a point in points squared; None goes by the number of cells.
    axes
        Axes to draw in, two a pair; None makes a figure.
    show
        Whether to show the figure; None does what `scanpy.settings.autoshow` says.
    save
        Whether to save the figure in `scanpy.settings.figdir`; text is appended to its name `"gene_pairs"`, and may
        end with `.pdf`, `.png` or `.svg`. A :class:`pathlib.Path`, or an absolute path, is the file itself.

    Returns
    -------
    `None`, or with `show=False` the axes, pairs x 2.

    Raises
    ------
    KeyError
        A gene, layer or column does not exist; the message lists those that do.
    ValueError
        `pairs` are not pairs, a gene's name repeats, `X` is missing, a gene has no denoised values, or there are too many
        or few axes.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=200, n_vars=50, n_types=2)
    >>> adata.layers["denoised"] = adata.X.toarray()
    >>> axes = sdc.pl.gene_pairs(adata, [("gene0", "gene1")], color="cell_type", show=False)
    >>> axes.shape
    (1, 2)
    """
    from ..data.checks import check_anndata
    from ..data.expression import log_normalised

    check_anndata(adata)
    pairs = _pairs(adata, pairs)
    genes = list(dict.fromkeys(gene for pair in pairs for gene in pair))
    before, unit = log_normalised(adata, genes, raw_layer, "raw_layer")
    tables = [before, _denoised(adata, genes, layer)]
    values = [dict(zip(genes, table.T, strict=True)) for table in tables]
    coloring = Coloring.named(adata, color)
    order = coloring.upwards(np.random.default_rng(0).permutation(adata.n_obs))  # so that no category hides the others
    names = [f"{x} and {y}, {when}" for x, y in pairs for when in ("before", "after")]
    drawn = _figure.panels(names, axes, n_rows=len(pairs), size=(3.2, 3.0))
    size = _figure.point_size(adata.n_obs) if size is None else size
    for row, (x, y) in zip(drawn, pairs, strict=True):
        for ax, found, name in zip(row, values, (unit, layer), strict=True):
            style = {**coloring.style(order), "s": size, "linewidths": 0, "rasterized": True}
            ax.scatter(found[x][order], found[y][order], **style)
            ax.set(xlabel=x, ylabel=y)
            ax.set_title(f"{name}, {_correlation(found[x], found[y])}", fontsize="medium")
    coloring.legend(drawn)
    return _figure.finish(drawn, "gene_pairs", axes, show=show, save=save)


def _denoised(adata: AnnData, genes: Sequence[str], layer: str) -> np.ndarray:
    """Values of a layer, or of a table in `obsm`."""
    from ..data.checks import listing, need_key
    from ..data.expression import columns

    table = adata.obsm.get(layer)
    if layer in adata.layers or not hasattr(table, "columns"):
        found = columns(adata, genes, layer, "layer")
    else:
        for gene in genes:
            need_key("pairs", gene, list(table.columns), f"adata.obsm[{layer!r}]")
        found = table[list(genes)].to_numpy(dtype=float)
    lost = [gene for gene, values in zip(genes, found.T, strict=True) if np.isnan(values).all()]
    if lost:
        msg = (
            f"layer={layer!r} has no value of {listing(lost)} in any cell, as of genes that a training did not use; "
            "denoise with sdc.pp.denoise, or train with mask_var=None."
        )
        raise ValueError(msg)
    return found


def _pairs(adata: AnnData, pairs: Sequence) -> list[tuple[str, str]]:
    if len(pairs) == 2 and all(isinstance(gene, str) for gene in pairs):
        pairs = [pairs]
    pairs = list(pairs)
    wrong = [pair for pair in pairs if isinstance(pair, str) or len(pair) != 2]
    if wrong or not pairs:
        msg = f"pairs holds {wrong[0]!r}" if wrong else "pairs is empty"
        msg += ", but pairs of genes are needed, such as [('CD3D', 'CD3E'), ('CD3D', 'MS4A1')]."
        raise ValueError(msg)
    from ..data.expression import need_genes

    need_genes("pairs", [gene for pair in pairs for gene in pair], adata.var_names)
    return [tuple(pair) for pair in pairs]


def _correlation(x: np.ndarray, y: np.ndarray) -> str:
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if not (len(x) and np.ptp(x) > 0 and np.ptp(y) > 0):
        return "r undefined"
    return f"r = {np.corrcoef(x, y)[0, 1]:.2f}"
