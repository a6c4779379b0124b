"""The cell at which time starts, from whatever a user calls it."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..data.checks import listing

if TYPE_CHECKING:
    from anndata import AnnData


def find_root(
    adata: AnnData, bare: AnnData, root: str | int | dict[str, str] | None, layer: str | None
) -> tuple[int, str]:
    """Position of the root among the cells of `bare`, and how it was found.

    Raises
    ------
    KeyError
        There is no such cell, cluster, gene or label.
    ValueError
        It may be more than one of these, or none is given.
    """
    if root is None:
        if "iroot" not in adata.uns:
            clusters = listing(bare.obs["cluster"].cat.categories, most=40)
            msg = (
                f"root=None, and adata.uns['iroot'] is not set. Give a cluster ({clusters}), a cell, a gene or a "
                "label of adata.obs as root."
            )
            raise ValueError(msg)
        root = int(adata.uns["iroot"])
    if isinstance(root, numbers.Integral) and not isinstance(root, bool):
        if not 0 <= root < adata.n_obs:
            msg = f"root={root} is not the number of a cell; there are cells 0 to {adata.n_obs - 1}."
            raise KeyError(msg)
        return _cell(adata, bare, adata.obs_names[int(root)])
    kind, name = next(iter(root.items())) if isinstance(root, dict) else (None, root)
    found = _meanings(adata, bare, str(name), kind)
    if kind is not None:
        if kind not in found:
            there = f"; {name!r} is known as {listing(found)}" if found else ""
            msg = f"root={root!r}: there is no {kind} {name!r}{there}. {_known(adata, bare, kind)}"
            raise KeyError(msg)
        found = {kind: found[kind]}
    if not found:
        msg = f"root={root!r} is no cell, cluster, gene or label. {_known(adata, bare, 'cluster')}"
        raise KeyError(msg)
    if len(found) > 1:
        options = ", ".join(f"{{{k!r}: {name!r}}}" for k in found)
        msg = f"root={root!r} is ambiguous; give one of {options}."
        raise ValueError(msg)
    kind = next(iter(found))
    if kind == "cell":
        return _cell(adata, bare, str(name))
    if kind == "gene":
        return _gene(adata, bare, str(name), layer)
    here = bare.obs_names.isin(adata.obs_names[found[kind]])
    if not here.any():
        msg = f"root={root!r}: none of its cells has a cluster."
        raise ValueError(msg)
    return _middle(bare, here), f"{kind} {name}"


def _meanings(adata: AnnData, bare: AnnData, name: str, kind: str | None) -> dict[str, np.ndarray]:
    """What a name may stand for: of each the cells, as booleans."""
    found = {}
    if name in adata.obs_names:
        found["cell"] = np.asarray(adata.obs_names == name)
    if name in bare.obs["cluster"].cat.categories:
        found["cluster"] = adata.obs_names.isin(bare.obs_names[(bare.obs["cluster"] == name).to_numpy()])
    if name in adata.var_names:
        found["gene"] = np.ones(adata.n_obs, dtype=bool)
    for column, values in adata.obs.items():
        if isinstance(values.dtype, pd.CategoricalDtype) and name in {str(c) for c in values.cat.categories}:
            cells = (values.astype(str) == name).to_numpy()
            same = any(np.array_equal(cells, other) for other in found.values())
            if cells.any() and (not same or column == kind):
                found[str(column)] = cells
    return found


def _known(adata: AnnData, bare: AnnData, kind: str) -> str:
    if kind in {"cell", "gene"}:
        names = adata.obs_names if kind == "cell" else adata.var_names
        return f"{kind.capitalize()}s are named like {listing(names[:3])}."
    if kind in adata.obs:
        return f"Labels there are: {listing(adata.obs[kind].astype(str).unique(), most=40)}."
    return f"Clusters there are: {listing(bare.obs['cluster'].cat.categories, most=40)}."


def _cell(adata: AnnData, bare: AnnData, name: str) -> tuple[int, str]:
    if list(adata.obs_names).count(name) > 1:
        msg = f"root={name!r} names several cells; give the cell's number, or call adata.obs_names_make_unique() first."
        raise ValueError(msg)
    where = bare.obs_names.get_indexer([name])[0]
    if where < 0:
        msg = f"root={name!r} has no cluster, so no time can start there."
        raise ValueError(msg)
    return int(where), f"cell {name}"


def _gene(adata: AnnData, bare: AnnData, name: str, layer: str | None) -> tuple[int, str]:
    """The cell where a gene is highest, seen over its neighbours, in the cluster where it is highest on average."""
    column = adata[bare.obs_names, name]
    values = column.X if layer is None else column.layers[layer]
    values = np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=float).ravel()
    if not values.any():
        msg = f"root={name!r}: this gene is zero in every cell; give another."
        raise ValueError(msg)
    graph = bare.obsp["connectivities"]
    smooth = (graph @ values + values) / (np.asarray(graph.sum(1)).ravel() + 1)
    codes = bare.obs["cluster"].cat.codes.to_numpy()
    mean = np.bincount(codes, values) / np.bincount(codes)
    best = np.flatnonzero(mean == mean.max())
    if len(best) > 1:
        names = bare.obs["cluster"].cat.categories[best]
        msg = f"root={name!r}: the gene is equally high in clusters {listing(names)}; give one of these as root."
        raise ValueError(msg)
    return int(np.where(codes == best[0], smooth, -np.inf).argmax()), f"gene {name}"


def _middle(bare: AnnData, here: np.ndarray) -> int:
    """The cell in the middle of a group: one at its edge would make half of the group go back in time."""
    x = bare.obsm["X_diffmap"][:, 1:]
    distance = ((x - x[here].mean(0)) ** 2).sum(1)
    return int(np.where(here, distance, np.inf).argmin())
