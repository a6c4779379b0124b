"""The cell at which time starts, from whatever a user calls it."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..data.checks import listing
from ..data.expression import log_normalised, nearest, need_genes

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

logger = logging.getLogger(__name__)

OWN = ("cell", "cluster", "gene")  # what a name may be besides a label in a column of obs
SURE = 2.0  # standard errors by which a gene has to differ between two clusters
MOST_SAID = 10  # clusters
HIGHEST = 0.25  # share of a cluster's cells, those where a gene is highest, in one of which time may start
NEARLY_FIRST = 0.05  # below the best chance that the cells of a group come before others
MOST_COMPARED = 2_000  # cells, of any group
MOST_LABELS = 1_000  # of a column that holds labels, and not something else for each cell


def find_root(
    adata: AnnData,
    bare: AnnData,
    where: np.ndarray,
    root: str | int | dict[str, str | Sequence[str]] | None,
    *,
    layer: str | None,
    key: str,
) -> Callable[[], tuple[int, str]]:
    """What gives, once `bare` has its graph, the root's position among the cells with a cluster, and how it was found.

    What `root` stands for is looked up at once, so that a wrong one is refused before any work. The cells are `bare`, at
    `where` in `adata`.

    Raises
    ------
    KeyError
        There is no such cell, cluster, gene or label.
    ValueError
        It may be more than one of these, or none is given.
    """
    if root is None:
        if "iroot" not in adata.uns:
            msg = (
                f"root=None, and adata.uns['iroot'] is not set. Give a cluster ({_clusters(bare)}), a cell, a gene or a "
                "label of adata.obs as root."
            )
            raise ValueError(msg)
        root = adata.uns["iroot"]
        root = root.item() if np.ndim(root) == 0 and hasattr(root, "item") else root  # as files have numbers
        if not isinstance(root, numbers.Integral):
            msg = f"adata.uns['iroot'] is {root!r}, and not the number of a cell; give root."
            raise ValueError(msg)
    if isinstance(root, numbers.Integral) and not isinstance(root, bool):
        if not 0 <= root < adata.n_obs:
            msg = f"root={root} is not the number of a cell; there are cells 0 to {adata.n_obs - 1}."
            raise KeyError(msg)
        cell = _cell(adata, where, int(root))
        return lambda: cell
    if isinstance(root, dict) and len(root) != 1:
        msg = f"root={root!r} must name one thing, such as {{'cluster': '3'}}."
        raise ValueError(msg)
    kind, name = next(iter(root.items())) if isinstance(root, dict) else (None, root)
    kind = "cluster" if kind == key else kind
    if kind == "gene" and (genes := _several(adata, name)):
        return partial(_highest, bare, _expressed(adata, where, genes, layer), genes)
    name = str(name)
    kind, cells = _meaning(adata, bare, where, name, kind, root=root)
    if kind == "cell":
        cell = _cell(adata, where, *np.flatnonzero(cells))
        return lambda: cell
    if kind == "gene":
        return partial(_highest, bare, _expressed(adata, where, [name], layer), [name])
    here = cells[where]
    if not here.any():
        msg = f"root={root!r}: none of its cells has a cluster."
        raise ValueError(msg)
    named = f"{kind} {name}"
    return lambda: (_first(bare, _in_one_cluster(bare, here, named)), named)


def _in_one_cluster(bare: AnnData, here: np.ndarray, name: str) -> np.ndarray:
    """Those of the cells that are in the cluster of most: labels are wrong now and then, and time starts from one cell."""
    codes = bare.obs["cluster"].cat.codes.to_numpy()
    most = np.bincount(codes[here]).argmax()
    inside = here & (codes == most)
    if inside.sum() < here.sum():
        there = bare.obs["cluster"].cat.categories[most]
        logger.info("%d of %d cells of %s are in cluster %s: time starts there", inside.sum(), here.sum(), name, there)
    return inside


def _meaning(
    adata: AnnData, bare: AnnData, where: np.ndarray, name: str, kind: str | None, *, root: object
) -> tuple[str, np.ndarray]:
    """What a name stands for, and the cells; refuse what stands for nothing, or for more than one thing."""
    found = _meanings(adata, bare, where, name, kind)
    if kind is not None:
        if kind not in found:
            there = f"; {name!r} is known as {listing(found)}" if found else ""
            msg = f"root={root!r}: there is no {kind} {name!r}{there}. {_known(adata, bare, kind, name)}"
            raise KeyError(msg)
        found = {kind: found[kind]}
    if not found:
        genes = f" Several genes are {{'gene': {name!r}}}." if "," in name else ""
        msg = f"root={root!r} is no cell, cluster, gene or label.{genes} {_known(adata, bare, 'cluster', name)}"
        raise KeyError(msg)
    if len(found) > 1:
        options = ", ".join(f"{{{k!r}: {name!r}}}" for k in found)
        msg = f"root={root!r} is ambiguous; give one of {options}."
        raise ValueError(msg)
    return next(iter(found.items()))


def _meanings(adata: AnnData, bare: AnnData, where: np.ndarray, name: str, kind: str | None) -> dict[str, np.ndarray]:
    """What a name may stand for: of each the cells, as booleans."""
    found = {}
    if name in adata.obs_names:
        found["cell"] = np.asarray(adata.obs_names == name)
    if name in bare.obs["cluster"].cat.categories:
        found["cluster"] = np.zeros(adata.n_obs, dtype=bool)
        found["cluster"][where] = (bare.obs["cluster"] == name).to_numpy()
    if name in adata.var_names:
        found["gene"] = np.ones(adata.n_obs, dtype=bool)
    derived = _derived(adata)
    for column, values in adata.obs.items():
        if (
            column in OWN
            or (column in derived and column != kind)
            or (pd.api.types.is_float_dtype(values.dtype) and column != kind)
            or values.nunique() > MOST_LABELS
        ):
            continue
        cells = _called(values, name)
        same = any(np.array_equal(cells, other) for other in found.values())
        if cells.any() and (not same or column == kind):
            found[str(column)] = cells
    return found


def _called(values: pd.Series, name: str) -> np.ndarray:
    """Cells whose label is a name; of numbers that may be missing, which are floats, however it is written."""
    if not pd.api.types.is_float_dtype(values.dtype):
        return (values.notna() & (values.astype(str) == name)).to_numpy()
    try:
        return (values == float(name)).to_numpy(dtype=bool, na_value=False)
    except ValueError:
        return np.zeros(len(values), dtype=bool)


def _derived(adata: AnnData) -> set[str]:
    """Columns in which earlier runs named cells after clusters: by stretches of a tree, and before clusters were joined."""
    records = {name: record for name, record in adata.uns.items() if isinstance(record, Mapping)}
    segments = {f"{name}_segment" for name, record in records.items() if "branches" in record}
    return segments | {f"{name}_fine" for name, record in records.items() if "joins" in record}


def _clusters(bare: AnnData) -> str:
    return listing(bare.obs["cluster"].cat.categories, most=40)


def _known(adata: AnnData, bare: AnnData, kind: str, name: str) -> str:
    if kind == "gene":
        return f"Of genes, {nearest(name, adata.var_names)}."
    if kind == "cell":
        return f"Cells are named like {listing(adata.obs_names[:3])}."
    if kind in adata.obs and kind not in OWN:
        return f"Labels there are: {listing(adata.obs[kind].astype(str).unique(), most=40)}."
    return f"Clusters there are: {_clusters(bare)}."


def _cell(adata: AnnData, where: np.ndarray, *positions: int) -> tuple[int, str]:
    name = adata.obs_names[positions[0]]
    if len(positions) > 1:
        msg = (
            f"root={name!r} names {len(positions)} cells; give the number of one of them: {list(map(int, positions))}."
        )
        raise ValueError(msg)
    at = np.flatnonzero(where == positions[0])
    if not len(at):
        msg = f"root={name!r} has no cluster, so no time can start there."
        raise ValueError(msg)
    return int(at[0]), f"cell {name}"


def _several(adata: AnnData, names: object) -> list[str]:
    """Genes of a sequence, or between commas; none where it is the name of one."""
    if not isinstance(names, str):
        return list(map(str, names)) if isinstance(names, Iterable) else []
    if names in adata.var_names or "," not in names:
        return []
    return [part.strip() for part in names.split(",") if part.strip()]


def _expressed(adata: AnnData, where: np.ndarray, genes: list[str], layer: str | None) -> np.ndarray:
    """Expression of genes in the cells with a cluster.

    Of several the mean, each in units of its standard deviation, lest the most expressed one decide.
    """
    need_genes("root", genes, adata.var_names)
    values = log_normalised(adata, genes, layer, "layer")[0][where]
    for gene, column in zip(genes, values.T, strict=True):
        if not column.any():
            msg = f"root={gene!r}: this gene is zero in every cell; give another."
            raise ValueError(msg)
    if len(genes) > 1:
        spread = values.std(0)
        differs = spread > 1e-6 * values.max(0)  # a gene that is the same in all cells says nothing
        values = values / np.where(differs, spread, np.inf)
    return values.mean(1)


def _highest(bare: AnnData, values: np.ndarray, genes: list[str]) -> tuple[int, str]:
    """A cell of those where values are highest, seen over its neighbours, in the cluster where they are highest on average."""
    name = ", ".join(genes)
    graph = bare.obsp["connectivities"]
    smooth = (graph @ values + values) / (np.asarray(graph.sum(1)).ravel() + 1)
    codes = bare.obs["cluster"].cat.codes.to_numpy()
    mean = np.bincount(codes, values) / np.bincount(codes)
    best = np.flatnonzero(mean == mean.max())
    if len(best) > 1:
        names = bare.obs["cluster"].cat.categories[best]
        msg = f"root={name!r}: equally high in clusters {listing(names)}; give one of these as root."
        raise ValueError(msg)
    shown = f"the mean of {name}" if len(genes) > 1 else name
    _say_how_sure(shown, values, codes, mean, [str(c) for c in bare.obs["cluster"].cat.categories])
    here = codes == best[0]
    high = here & (smooth >= np.quantile(smooth[here], 1 - HIGHEST))
    return _first(bare, here, high), f"gene{'s' if len(genes) > 1 else ''} {name}"


def _say_how_sure(name: str, values: np.ndarray, codes: np.ndarray, mean: np.ndarray, clusters: list[str]) -> None:
    """Log where a gene is highest; warn where the next cluster is within two standard errors of it."""
    first, second = np.argsort(-mean, kind="stable")[:2]
    logger.info("%s is highest in cluster %s: %s", name, clusters[first], _listed(mean, clusters))
    error = np.sqrt(sum(values[codes == k].var() / (codes == k).sum() for k in (first, second)))
    if mean[first] - mean[second] < SURE * error:
        logger.warning(
            "%s hardly differs between clusters %s and %s (mean %.2f and %.2f): check the root, or name a cluster as root.",
            *(name, clusters[first], clusters[second], mean[first], mean[second]),
        )


def _listed(mean: np.ndarray, clusters: list[str]) -> str:
    order = np.argsort(-mean, kind="stable")
    return ", ".join(f"{clusters[k]} {mean[k]:.2f}" for k in order[:MOST_SAID])


def _first(bare: AnnData, group: np.ndarray, candidates: np.ndarray | None = None) -> int:
    """The cell of a group that is farthest from all others, of those from which the group comes first.

    In the coordinates of diffusion pseudotime. From the middle of a group half of it would go back in time; from a cell that
    is no part of it but by name, all of it would be late.
    """
    from scipy.spatial.distance import cdist
    from scipy.stats import rankdata

    values = np.asarray(bare.uns["diffmap_evals"], dtype=float)
    slow = values < 0.9994  # as scanpy's pseudotime does: the first component, and those of islands, say nothing
    x = bare.obsm["X_diffmap"][:, slow] * (values[slow] / (1 - values[slow]))
    able = np.flatnonzero(group if candidates is None else candidates)
    if group.all() or not slow.any():
        return int(able[0])
    able, own, others = (_some(cells) for cells in (able, np.flatnonzero(group), np.flatnonzero(~group)))
    to_others = cdist(x[able], x[others])
    ranks = rankdata(np.hstack([cdist(x[able], x[own]), to_others]), axis=1)[:, : len(own)]
    # The chance that a cell of the group is nearer than another: the area under the curve of ranks.
    first = 1 - (ranks.mean(1) - (len(own) + 1) / 2) / len(others)
    farness = np.where(first >= first.max() - NEARLY_FIRST, to_others.min(1), -1.0)
    return int(able[farness.argmax()])


def _some(cells: np.ndarray) -> np.ndarray:
    return cells[np.linspace(0, len(cells) - 1, min(len(cells), MOST_COMPARED)).astype(int)]
