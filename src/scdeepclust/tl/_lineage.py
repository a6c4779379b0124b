from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)


def lineage(
    adata: AnnData,
    key: str = "deepclust",
    *,
    root: str | int | dict[str, str] | None = None,
    use_rep: str | None = None,
    n_neighbors: int = 15,
    n_dcs: int = 10,
    min_confidence: float = 0.05,
    fates: Literal["auto", "palantir"] | None = "auto",
    layer: str | None = None,
    key_added: str = "lineage",
    random_state: int | np.random.Generator | None = 0,
    copy: bool = False,
) -> AnnData | None:
    """Order cells along a rooted tree of clusters.

    On the learned embedding: nearest neighbours, UMAP, diffusion pseudotime and PAGA, all by scanpy; then the
    spanning tree of PAGA's confidence, cut where that is weak and directed away from the root, with its branches and
    a pseudotime along each. Draw it with :func:`scdeepclust.pl.lineage`. What the tree says is a hypothesis: it has no
    loops, and its direction is that of the root you give.

    Parameters
    ----------
    adata
        Cells with clusters and an embedding, as :func:`scdeepclust.tl.deepclust` leaves them.
    key
        Column of `obs` with clusters.
    root
        Where time starts: a cell (name, or number), a cluster, a gene (of the cluster where it is highest, such as that of
        a stem-cell marker) or a label in any categorical column of `obs`. If a name is more than one of these, say
        which: `{"cluster": "3"}`, `{"gene": "Cd34"}`, `{"cell": "AAAC-1"}` or `{"cell_type": "7MEP"}`. None takes
        `adata.uns["iroot"]`.
    use_rep
        Key of `obsm` in which neighbours are found. None takes the learned embedding: as it was before the clustering
        stage, which pulls clusters apart (`"X_" + key + "_before"`), where that was kept, else `"X_" + key`.
    n_neighbors
        Neighbours of a cell, itself counted, as scanpy does.
    n_dcs
        Diffusion components of the pseudotime.
    min_confidence
        Edges of the tree whose PAGA connectivity (edges between two clusters over those expected by chance, at most 1)
        is lower are cut.
    fates
        `"palantir"` adds probabilities of ending in each tip of the tree (Setty et al. 2019), `"auto"` does where
        palantir is installed, None does not.
    layer
        Layer in which a root gene is looked up; `X` if None.
    key_added
        Under which name results are stored.
    random_state
        Seed.
    copy
        Whether to return a changed copy instead of changing `adata`.

    Returns
    -------
    `None`, or the copy. Sets:

    `adata.obs[key_added + "_pseudotime"]` : :class:`pandas.Series`
        Diffusion pseudotime, 0 at the root, at most 1; NaN for cells that cannot be reached from it.
    `adata.obs[key_added + "_segment"]` : :class:`pandas.Series` (dtype ``category``)
        Stretch of the tree between two forks, named after its last cluster.
    `adata.obsm[key_added + "_branches"]` : :class:`pandas.DataFrame`
        Pseudotime of each cell along each branch (root to tip, named after the tip), scaled to run from 0 to 1 on the branch;
        NaN off the branch.
    `adata.obsm["X_" + key_added]` : :class:`numpy.ndarray`
        UMAP.
    `adata.obsm["X_" + key_added + "_diffmap"]` : :class:`numpy.ndarray`
        Diffusion components.
    `adata.obsm[key_added + "_fates"]` : :class:`pandas.DataFrame`
        Fate probabilities, cells x tips, where asked.
    `adata.uns[key_added]` : :class:`dict`
        `"tree"` (parent, child, confidence of each edge), `"clusters"` (cells, median pseudotime, parent, whether
        reachable), `"branches"` (clusters of each, in order), `"connectivities"` (PAGA, clusters x clusters), `"root"`,
        `"n_unreachable"`, `"params"`.

    Raises
    ------
    KeyError
        There are no such clusters, embedding or root.
    ValueError
        The root is ambiguous (the message lists what it may be), there is one cluster only, or the embedding has values
        that are not finite.
    ImportError
        `fates="palantir"` without palantir.

    Notes
    -----
    Diffusion pseudotime: Haghverdi et al. 2016 (doi 10.1038/nmeth.3971). PAGA: Wolf et al. 2019
    (doi 10.1186/s13059-019-1663-x).

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_lineage(n_obs=300, n_vars=100, n_branches=2)
    >>> sdc.tl.deepclust(adata, n_clusters=5, pretrain_steps=50, cluster_steps=20, progress=False)
    >>> sdc.tl.lineage(adata, root={"cell_type": "S0"})
    >>> list(adata.uns["lineage"]["tree"].columns)
    ['parent', 'child', 'confidence']
    """
    from .. import results
    from ..arguments import resolve_seed
    from ..data.checks import check_anndata, need_key
    from ..train import kept_threads
    from ._root import find_root

    check_anndata(adata)
    results.check_key(key_added)
    need_key("key", key, adata.obs, "adata.obs")
    rep = next((r for r in (use_rep, f"X_{key}_before") if r in adata.obsm), use_rep or f"X_{key}")
    need_key("use_rep", rep, adata.obsm, "adata.obsm")
    seed = resolve_seed(random_state)
    bare = _clustered(adata, key, rep)
    if fates == "palantir" or (fates == "auto" and _has_palantir()):
        _import_palantir()
        fates = "palantir"
    with kept_threads():
        _graph(bare, n_neighbors, n_dcs, seed)
        iroot, how = find_root(adata, bare, root, layer)
        bare.uns["iroot"] = iroot
        tree, clusters, unreachable = _tree(bare, n_dcs, min_confidence)
        branches = _branches(tree, clusters)
        probabilities = _palantir(bare, branches, iroot, n_dcs, seed) if fates == "palantir" else None
    adata = adata.copy() if copy else adata
    time = bare.obs["dpt_pseudotime"].reindex(adata.obs_names)
    adata.obs[f"{key_added}_pseudotime"] = time.to_numpy()
    segments = bare.obs["cluster"].astype(str).map(_segments(tree, clusters))
    adata.obs[f"{key_added}_segment"] = pd.Categorical(segments.reindex(adata.obs_names))
    adata.obsm[f"{key_added}_branches"] = _along(bare, branches).reindex(adata.obs_names)
    for name, values in (("", bare.obsm["X_umap"]), ("_diffmap", bare.obsm["X_diffmap"])):
        spread = np.full((adata.n_obs, values.shape[1]), np.nan, dtype=np.float32)
        spread[adata.obs_names.get_indexer(bare.obs_names)] = values
        adata.obsm[f"X_{key_added}{name}"] = spread
    if probabilities is not None:
        adata.obsm[f"{key_added}_fates"] = probabilities.reindex(adata.obs_names)
    adata.uns[key_added] = {
        "root": {"cell": bare.obs_names[iroot], "cluster": str(bare.obs["cluster"].iloc[iroot]), "found_by": how},
        "tree": tree,
        "clusters": clusters,
        "branches": {name: np.array(members, dtype=object) for name, members in branches.items()},
        "connectivities": bare.uns["paga"]["connectivities"].toarray(),
        "n_unreachable": unreachable,
        "params": {
            "key": key,
            "use_rep": rep,
            "n_neighbors": n_neighbors,
            "n_dcs": n_dcs,
            "min_confidence": min_confidence,
            "random_state": seed,
        },
    }
    return adata if copy else None


def _clustered(adata: AnnData, key: str, rep: str) -> AnnData:
    """The cells that have a cluster, with nothing but that and their embedding."""
    from anndata import AnnData

    labels = adata.obs[key]
    known = labels.notna().to_numpy()
    x = adata.obsm[rep]
    x = np.asarray(x.to_numpy() if isinstance(x, pd.DataFrame) else x, dtype=np.float32)[known]
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).any(1).sum())
        msg = f"use_rep={rep!r} holds values that are not finite, in {bad} cells with a cluster; leave these cells out."
        raise ValueError(msg)
    labels = labels[known].astype("category").cat.remove_unused_categories()
    if len(labels.cat.categories) < 2:
        msg = f"key={key!r} has {len(labels.cat.categories)} cluster; a lineage needs two or more."
        raise ValueError(msg)
    labels = labels.cat.rename_categories([str(c) for c in labels.cat.categories])
    return AnnData(obs=pd.DataFrame({"cluster": labels}, index=adata.obs_names[known]), obsm={"rep": x})


def _graph(bare: AnnData, n_neighbors: int, n_dcs: int, seed: int) -> None:
    import scanpy as sc

    from .. import diffusion

    diffusion.into_scanpy(bare, n_neighbors, use_rep="rep", random_state=seed)
    sc.tl.umap(bare, random_state=seed)
    sc.tl.diffmap(bare, n_comps=min(n_dcs + 1, bare.n_obs - 2), random_state=seed)
    sc.tl.paga(bare, groups="cluster")


def _tree(bare: AnnData, n_dcs: int, min_confidence: float) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """The spanning tree of PAGA, directed away from the root; and the clusters, with their time."""
    import scanpy as sc
    from scipy.sparse.csgraph import breadth_first_order

    sc.tl.dpt(bare, n_dcs=min(n_dcs, bare.obsm["X_diffmap"].shape[1]))
    time = bare.obs["dpt_pseudotime"].replace([np.inf, -np.inf], np.nan)
    bare.obs["dpt_pseudotime"] = time
    names = list(bare.obs["cluster"].cat.categories)
    links = bare.uns["paga"]["connectivities_tree"].toarray()
    links = np.maximum(links, links.T)
    links[links < min_confidence] = 0
    first = int(bare.obs["cluster"].cat.codes.iloc[bare.uns["iroot"]])
    order, parent = breadth_first_order((links > 0).astype(float), first, directed=False)
    edges = [(names[parent[c]], names[c], float(links[parent[c], c])) for c in order[1:]]
    tree = pd.DataFrame(edges, columns=["parent", "child", "confidence"])
    reachable = np.isin(np.arange(len(names)), order)
    cut_off = bare.obs["cluster"].isin([n for n, r in zip(names, reachable, strict=True) if not r]).to_numpy()
    bare.obs.loc[cut_off, "dpt_pseudotime"] = np.nan
    by_cluster = bare.obs.groupby("cluster", observed=False)["dpt_pseudotime"]
    parents = dict(zip(tree["child"], tree["parent"], strict=True))
    clusters = pd.DataFrame(
        {
            "n_cells": bare.obs["cluster"].value_counts(sort=False).to_numpy(),
            "pseudotime": by_cluster.median().to_numpy(),
            "parent": [parents.get(name, "") for name in names],
            "reachable": reachable,
        },
        index=pd.Index(names, name="cluster"),
    )
    unreachable = int(bare.obs["dpt_pseudotime"].isna().sum())
    if unreachable:
        logger.warning(
            "%d of %d cells cannot be reached from the root (clusters %s); their pseudotime is NaN. A lower "
            "min_confidence, or more neighbours, links more.",
            unreachable,
            bare.n_obs,
            ", ".join(n for n, r in zip(names, reachable, strict=True) if not r) or "in part",
        )
    return tree, clusters, unreachable


def _branches(tree: pd.DataFrame, clusters: pd.DataFrame) -> dict[str, list[str]]:
    """Clusters from the root to each tip."""
    parents = dict(zip(tree["child"], tree["parent"], strict=True))
    tips = [c for c in clusters.index[clusters["reachable"]] if c not in set(tree["parent"])]
    found = {}
    for tip in tips:
        path = [tip]
        while path[-1] in parents:
            path.append(parents[path[-1]])
        found[tip] = path[::-1]
    return found


def _segments(tree: pd.DataFrame, clusters: pd.DataFrame) -> dict[str, str]:
    """For each cluster, the last cluster of its stretch between two forks."""
    children = tree.groupby("parent")["child"].apply(list).to_dict()
    found = {}
    for name in clusters.index[clusters["reachable"]]:
        last = name
        while len(children.get(last, [])) == 1:
            last = children[last][0]
        found[name] = last
    return found


def _along(bare: AnnData, branches: dict[str, list[str]]) -> pd.DataFrame:
    columns = {}
    for name, members in branches.items():
        time = bare.obs["dpt_pseudotime"].where(bare.obs["cluster"].isin(members))
        columns[name] = (time - time.min()) / max(time.max() - time.min(), 1e-12)
    return pd.DataFrame(columns, index=bare.obs_names)


def _has_palantir() -> bool:
    from importlib.util import find_spec

    return find_spec("palantir") is not None


def _import_palantir() -> None:
    try:
        import palantir  # noqa: F401
    except ImportError as error:
        msg = f"fates='palantir' needs palantir, which cannot be imported ({error}); install it or give fates=None."
        raise ImportError(msg) from error


def _palantir(bare: AnnData, branches: dict[str, list[str]], iroot: int, n_dcs: int, seed: int) -> pd.DataFrame:
    """Probabilities of ending in the last cell of each tip."""
    import palantir

    time, ends = bare.obs["dpt_pseudotime"], {}
    for tip in branches:
        there = time[(bare.obs["cluster"] == tip).to_numpy()]
        if there.notna().any() and there.idxmax() != bare.obs_names[iroot]:
            ends[there.idxmax()] = tip
    maps = palantir.utils.run_diffusion_maps(pd.DataFrame(bare.obsm["rep"], index=bare.obs_names), n_components=n_dcs)
    space = palantir.utils.determine_multiscale_space(maps)
    found = palantir.core.run_palantir(
        space, bare.obs_names[iroot], terminal_states=list(ends), num_waypoints=min(1200, bare.n_obs), seed=seed
    )
    return found.branch_probs.rename(columns=ends)
