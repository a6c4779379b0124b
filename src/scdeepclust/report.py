"""A page of HTML, all in one file, that says what was done with some cells and what came out."""

from __future__ import annotations

import base64
import io
import shlex
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files as resources
from inspect import signature
from numbers import Number
from typing import TYPE_CHECKING, Any

from .described import front, public
from .files import whole
from .options import about, readable
from .results import sizes, versions

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

TEMPLATE = "report.html.jinja"
DPI = 110
N_MARKERS, MOST_CELLS = 5, 5_000  # genes named for each cluster, and cells in which they are looked for


def write(
    adata: AnnData, path: str | os.PathLike, *, command: Sequence[str], cells: str, seconds: float | None = None
) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    adata
        Cells with results; every record in `uns` that a function of `scdeepclust.pl` can draw is shown.
    path
        Where to.
    command
        The words of the command that was run.
    cells
        What the cells are called.
    seconds
        How long it took.
    """
    from jinja2 import Environment

    environment = Environment(autoescape=True, keep_trailing_newline=True)
    template = environment.from_string(resources(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8"))
    run = {"file": cells, "cells × genes": f"{adata.n_obs:,} × {adata.n_vars:,}"}
    run |= {} if seconds is None else {"seconds": f"{seconds:.1f}"}
    run["written"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    run["versions"] = ", ".join(f"{name} {number}" for name, number in versions().items())
    page = template.render(
        title=f"scdeepclust: {cells}",
        command=shlex.join(command),
        run=run,
        cells=adata.n_obs,
        results=list(_results(adata)),
    )
    with whole(path) as new:
        new.write_text(page, encoding="utf-8")


def _results(adata: AnnData) -> Iterator[dict[str, Any]]:
    """What there is to say of each record in `uns`, in the order in which they were made."""
    for key, record in adata.uns.items():
        if not isinstance(record, Mapping):
            continue
        drawn = list(_figures(adata, key))
        cells = sizes(adata, key)
        if not drawn and not cells:
            continue
        yield {
            "id": f"result-{len(key)}-{'-'.join(key.split())}",
            "key": key,
            "sizes": cells,
            "most": max(cells.values(), default=1),
            "membership": _membership(adata, key),
            "markers": _markers(adata, key) if cells else {},
            "figures": drawn,
            "facts": dict(_facts(record)),
        }


def _membership(adata: AnnData, key: str) -> dict[str, str]:
    """How sure cells of each cluster are of it, on average."""
    memberships = adata.obsm.get(f"{key}_proba")
    if key not in adata.obs or not hasattr(memberships, "columns"):  # none, or not ours
        return {}
    sure = memberships.max(axis=1)
    means = sure.groupby(adata.obs[key].to_numpy(), observed=False).mean()
    return {str(name): f"{mean:.2f}" for name, mean in means.items()}


def _markers(adata: AnnData, key: str) -> dict[str, str]:
    """Genes that tell each cluster from all others most (Welch's t, log-normalised values, a sample of many cells)."""
    import numpy as np
    import scanpy as sc
    from anndata import AnnData

    from .data.checks import looks_like_counts

    if adata.X is None:
        return {}
    labels = adata.obs[key]
    known = np.flatnonzero(labels.notna())
    if len(known) > MOST_CELLS:
        known = np.sort(np.random.default_rng(0).choice(known, MOST_CELLS, replace=False))
    sizes = labels.iloc[known].value_counts()
    known = known[labels.iloc[known].isin(sizes.index[sizes > 1])]  # one cell has no variance
    groups, values = labels.iloc[known].astype(str).astype("category"), adata.X[known]
    if len(groups.cat.categories) < 2 or values.min() < 0:
        return {}
    bare = AnnData(values, obs={"cluster": groups.to_numpy()}, var={"name": adata.var_names.to_numpy()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if looks_like_counts(bare.X):
            sc.pp.normalize_total(bare)
            sc.pp.log1p(bare)
        sc.tl.rank_genes_groups(bare, "cluster", method="t-test", n_genes=min(N_MARKERS, bare.n_vars))
    found = bare.uns["rank_genes_groups"]["names"]
    return {str(k): ", ".join(bare.var.loc[list(found[k]), "name"]) for k in found.dtype.names}


def _figures(adata: AnnData, key: str) -> Iterator[dict[str, str]]:
    """Every plot that can be made of what is stored under a key."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    of_cells = {"color": [key, *_batch(adata, key)]}
    for name in sorted(public("pl"), key=lambda name: name != "umap"):  # the cells first
        function = front("pl", name)
        known = signature(function).parameters
        others = [p for p in list(known.values())[1:] if p.default is p.empty]
        if "key" not in known or others:
            continue
        open_before = set(plt.get_fignums())
        try:
            axes = function(adata, key=key, show=False, save=False, **(of_cells if name == "umap" else {}))
            said = readable(about(function).partition("\n")[0]).removeprefix("Plot ")
            yield {"alt": said[:1].upper() + said[1:], "data": _png(axes)}
        # It is no record of the kind that this function draws.
        except (AttributeError, LookupError, TypeError, ValueError):
            continue
        finally:
            for number in set(plt.get_fignums()) - open_before:
                plt.close(number)


def _batch(adata: AnnData, key: str) -> list[str]:
    """The column of batches that a result was corrected for: whether they are mixed should be seen."""
    params = adata.uns[key].get("params")  # which of another tool may be anything
    name = params.get("batch_key") if isinstance(params, Mapping) else None
    return [name] if isinstance(name, str) and name in adata.obs else []


def _png(axes: Any) -> str:
    import numpy as np

    figure = np.ravel(axes)[0].figure.canvas.figure
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=DPI, bbox_inches="tight")
    return base64.b64encode(image.getvalue()).decode()


def _facts(record: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """The plain values of a record, table by table; those at its top first."""
    top = {name: _said(value) for name, value in record.items() if _is_plain(value)}
    if top:
        yield "record", top
    for name, value in record.items():
        if isinstance(value, Mapping) and name != "sizes":
            flat = {key: _said(each) for key, each in _flat(value) if _is_plain(each)}
            if flat:
                yield name, flat


def _flat(record: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _is_plain(value: Any) -> bool:
    few = isinstance(value, list | tuple) or getattr(value, "ndim", None) == 1
    return isinstance(value, str | Number) or (few and len(value) <= 10 and all(map(_is_plain, value)))


def _said(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Number):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    return ", ".join(map(_said, value))
