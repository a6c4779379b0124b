from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import _figure

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

FEW_EPOCHS = 15  # below, each is drawn


def history(
    adata: AnnData,
    *,
    key: str = "deepclust",
    ncols: int = 4,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
    show: bool | None = None,
    save: bool | str | os.PathLike | None = None,
) -> np.ndarray | None:
    """Plot how the training went: every term of the loss by epoch, a line a phase.

    Parameters
    ----------
    adata
        Cells that :func:`scdeepclust.tl.deepclust` has clustered.
    key
        Where in `uns` its record is: its `key_added`.
    ncols
        Panels in a row.
    axes
        Axes to draw in, one a term; None makes a figure.
    show
        Whether to show the figure; None does what `scanpy.settings.autoshow` says.
    save
        Whether to save the figure in `scanpy.settings.figdir`; text is appended to its name `"history"`, and may end
        with `.pdf`, `.png` or `.svg`. A :class:`pathlib.Path`, or an absolute path, is the file itself.

    Returns
    -------
    `None`, or with `show=False` the axes.

    Raises
    ------
    KeyError
        There is no such key; the message lists those that are.
    ValueError
        What is there has no history, as of a method that trains nothing, or there are too many or few axes.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, n_clusters=3, progress=False)
    >>> axes = sdc.pl.history(adata, show=False)
    >>> axes[0].get_xlabel()
    'epoch'
    """
    table = _table(adata, key)
    terms = [name for name in table.columns if name not in {"phase", "epoch"} and table[name].notna().any()]
    drawn = _figure.wrapped(terms, axes, ncols, (3.3, 2.7))
    phases = {name: f"C{i % 10}" for i, name in enumerate(table["phase"].unique())}  # the same in all panels
    for ax, term in zip(drawn, terms, strict=True):
        for phase, rows in table.groupby("phase", sort=False, observed=True):
            known = rows[term].dropna()
            if len(known):
                marker = "." if len(known) < FEW_EPOCHS else None
                ax.plot(known.index, known, marker=marker, color=phases[phase], label=str(phase))
        ax.set_title(term.replace("_", " "), **_figure.TITLE | {"pad": 6})
        ax.set_xlabel("epoch")
        ax.legend(frameon=False, fontsize="small", handlelength=1.5)
    found = _figure.finish(drawn.reshape(1, -1), "history", axes, show=show, save=save)
    return None if found is None else found[0]


def _table(adata: AnnData, key: str) -> pd.DataFrame:
    from ..data.checks import check_anndata, need_key

    check_anndata(adata)
    need_key("key", key, adata.uns, "adata.uns", first="sdc.tl.deepclust(adata)")
    record = adata.uns[key]
    table = record.get("history") if isinstance(record, Mapping) else None
    if table is None or not len(table) or set(table.columns) <= {"phase", "epoch"}:
        msg = f"adata.uns[{key!r}] holds no history of a training; name the key_added of sdc.tl.deepclust."
        raise ValueError(msg)
    return table.reset_index(drop=True)
