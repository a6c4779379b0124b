from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import _figure
from ._losses import by_neighbors, by_pcs, by_steps, varies, words

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData
    from matplotlib.axes import Axes


def denoise(
    adata: AnnData,
    *,
    key: str = "n2s",
    axes: Sequence[Axes] | np.ndarray | None = None,
    show: bool | None = None,
    save: bool | str | os.PathLike | None = None,
) -> np.ndarray | None:
    """Plot how well averages over neighbours predict what they have not seen, and what was chosen by that.

    The loss of :func:`scdeepclust.pp.neighbors` against the number of neighbours, one line for each number of PCs,
    with bands of one standard error over splits; the least of each line against the number of PCs; and, where several
    steps of diffusion were tried, the loss against them. Both are of the chosen weights, and the first two of one step:
    where what is marked has other weights or more steps, a thread ties it to its line. A dashed line is the loss of
    predicting every cell by the mean of all; what loses more is cut off.

    Parameters
    ----------
    adata
        Cells of which :func:`scdeepclust.pp.neighbors` has chosen the neighbours.
    key
        Where in `uns` it left its table: its `key_added`.
    axes
        Axes to draw in, two or, with steps, three; None makes a figure.
    show
        Whether to show the figure; None does what `scanpy.settings.autoshow` says.
    save
        Whether to save the figure in `scanpy.settings.figdir`; text is appended to its name `"denoise"`, and may end
        with `.pdf`, `.png` or `.svg`. A :class:`pathlib.Path`, or an absolute path, is the file itself.

    Returns
    -------
    `None`, or with `show=False` the axes.

    Raises
    ------
    KeyError
        There is no such key; the message lists those that are.
    ValueError
        What is there has no table of losses, or there are too many or few axes.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.pp.neighbors(adata, progress=False)
    >>> axes = sdc.pl.denoise(adata, show=False)
    >>> axes[0].get_xlabel()
    'neighbours'
    """
    record = _record(adata, key)
    table, points = record["loss"], {"chosen": record["choice"], "minimum": record["minimum"]}
    names = ["neighbours", "PCs", "steps"][: 2 + varies(table["n_steps"])]
    drawn = _figure.panels(names, axes, size=(4.0, 3.3))
    one = table[table["weights"] == points["chosen"]["weights"]]
    one = one[one["n_steps"] == one["n_steps"].min()]
    by_neighbors(drawn[0, 0], one, points, record.get("references", {}).get("mean"))
    drawn[0, 0].set_title(words(points["chosen"], table), **_figure.TITLE)
    by_pcs(drawn[0, 1], one, points)
    for ax in drawn[0, 2:]:
        by_steps(ax, table, points)
    for ax in drawn[0]:
        ax.set_ylabel("held-out loss")
    found = _figure.finish(drawn, "denoise", axes, show=show, save=save)
    return None if found is None else found[0]


def _record(adata: AnnData, key: str) -> Mapping[str, Any]:
    from ..data.checks import check_anndata, need_key

    check_anndata(adata)
    need_key("key", key, adata.uns, "adata.uns", first="sdc.pp.neighbors(adata)")
    record = adata.uns[key]
    if not isinstance(record, Mapping) or not {"loss", "choice", "minimum"} <= set(record):
        msg = (
            f"adata.uns[{key!r}] holds no table of losses; let sdc.pp.neighbors(adata, key_added={key!r}) choose the "
            "neighbours first, or name the key that it was given."
        )
        raise ValueError(msg)
    return record
