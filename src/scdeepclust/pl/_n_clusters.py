from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _figure
from ._joins import draw_joins

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

MANY_TIMES = 3.0  # from this ratio of the largest to the smallest loss on, a linear axis would flatten the end


def n_clusters(
    adata: AnnData,
    *,
    key: str | None = None,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
    show: bool | None = None,
    save: bool | str | os.PathLike | None = None,
) -> np.ndarray | None:
    """Plot how the number of clusters was chosen.

    Held-out loss and stability of k-means with every number of clusters, which decide nothing but show how far the
    data go; and the joins, from right to left, of the clusters that were too many: two are joined as long as what
    tells them apart is less than `min_signal` of the reproducible signal; all are, where no clusters tell more than a
    single one (three standard errors).

    Parameters
    ----------
    adata
        Cells for which :func:`scdeepclust.tl.n_clusters` or :func:`scdeepclust.tl.deepclust` chose the number.
    key
        Where in `uns` the record is: the `key_added` of either. None takes `"n_clusters"`, else the only record there
        is. That of `deepclust` has the joins alone. Its numbers are those of the clusters before joining
        (`obs[key + "_fine"]`).
    axes
        Axes to draw in, three or, for the joins alone, one; None makes a figure.
    show
        Whether to show the figure; None does what `scanpy.settings.autoshow` says.
    save
        Whether to save the figure in `scanpy.settings.figdir`; text is appended to its name `"n_clusters"`, and may
        end with `.pdf`, `.png` or `.svg`. A :class:`pathlib.Path`, or an absolute path, is the file itself.

    Returns
    -------
    `None`, or with `show=False` the axes.

    Raises
    ------
    KeyError
        There is no such key; the message lists those that are.
    ValueError
        What is there does not say how a number was chosen, several records do and `key` names none, or there are too
        many or few axes.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.n_clusters(adata)
    >>> axes = sdc.pl.n_clusters(adata, show=False)
    >>> [ax.get_ylabel() for ax in axes]
    ['held-out loss', 'stability (ARI)', 'share of signal lost']
    """
    record = _record(adata, key)
    curve = ["loss", "stability"] if "curve" in record else []
    drawn = _figure.panels([*curve, "joins"], axes)
    if curve:
        _loss(drawn[0, 0], record)
        _stability(drawn[0, 1], record)
    draw_joins(drawn[0, -1], record)
    drawn[0, 0].set_title(_words(record), **_figure.TITLE | {"pad": 20})
    found = _figure.finish(drawn, "n_clusters", axes, show=show, save=save)
    return None if found is None else found[0]


def _record(adata: AnnData, key: str | None) -> Mapping[str, Any]:
    from ..data.checks import check_anndata, listing, need_key

    check_anndata(adata)
    there = [name for name, record in adata.uns.items() if _choice(record) is not None]
    if key is None and len(there) > 1 and "n_clusters" not in there:
        msg = f"Several records in adata.uns say how a number of clusters was chosen, {listing(there)}; give key=."
        raise ValueError(msg)
    if key is None and there:
        key = "n_clusters" if "n_clusters" in there else there[0]
    if key is not None:
        need_key("key", key, adata.uns, "adata.uns", first="sdc.tl.n_clusters(adata)")
    if key not in there:
        msg = (
            f"{'adata.uns' if key is None else f'adata.uns[{key!r}]'} does not say how a number of clusters was chosen, "
            "perhaps because it was given; run sdc.tl.n_clusters(adata), or name the key that it was given."
        )
        raise ValueError(msg)
    return _choice(adata.uns[key])


def _choice(record: Any) -> Mapping[str, Any] | None:
    """How a number was chosen, if a record tells."""
    if isinstance(record, Mapping) and isinstance(record.get("n_clusters"), Mapping):
        record = record["n_clusters"]
    return record if isinstance(record, Mapping) and "joins" in record else None


def _words(record: Mapping[str, Any]) -> str:
    n = int(record["n_clusters"])
    said = f"{'taken by the user' if _by_user(record) else 'chosen'}: {n} cluster{'s' if n > 1 else ''}"
    if "chosen" in record:
        said += f" ({record['chosen']})"
    elif record.get("chosen_by") == "agreement of halves":
        said += ", on which the halves of cells agree"  # the joins go beyond min_signal
    if len(record.get("shifts", ())):
        said += ", compared without a shift that recurs"
    gain, error = record.get("gain"), record.get("gain_se")
    if gain is None or not error:
        return said
    return f"{said}\ngain over a single one: {gain / error:.2g} standard errors"


def _by_user(record: Mapping[str, Any]) -> bool:
    return record.get("chosen_by") == "user"


def _loss(ax: Axes, record: Mapping[str, Any]) -> None:
    curve, knee = record["curve"], int(record["knee"])
    x, loss = curve["n_clusters"].to_numpy(), curve["loss"].to_numpy()
    ax.plot(x, loss, color=_figure.CURVE, linewidth=1.6, label="k-means")
    _figure.band(ax, x, loss, curve["loss_se"], _figure.CURVE)
    for null in loss[x == 1]:
        ax.axhline(null, color=_figure.QUIET, linestyle="--", linewidth=1.2, label="_null")
        _figure.note(ax, "a single cluster", null)
    for height in loss[x == knee]:
        _figure.ring(ax, knee, height, "knee of the curve")
    for height in loss[x == record["n_clusters"]]:
        _figure.chosen(ax, record["n_clusters"], height)
    ax.set(xlabel="clusters", ylabel="held-out loss")
    if loss.min() > 0 and loss.max() > MANY_TIMES * loss.min():
        ax.set_yscale("log")
        _figure.plain_log(ax.yaxis)
    ax.legend(fontsize="small", frameon=False)


def _stability(ax: Axes, record: Mapping[str, Any]) -> None:
    curve = record["curve"][record["curve"]["n_clusters"] > 1]  # a single cluster is always found again
    ax.plot(curve["n_clusters"], curve["stability"], color=_figure.CURVE, linewidth=1.6, label="k-means")
    if np.isfinite(record.get("stability", np.nan)) and not _by_user(record):  # it is that of what was chosen before
        _figure.chosen(ax, record["n_clusters"], record["stability"], "chosen partition")
    ax.set(xlabel="clusters", ylabel="stability (ARI)", ylim=(min(0, curve["stability"].min()), 1.04))
    ax.legend(fontsize="small", frameon=False)
