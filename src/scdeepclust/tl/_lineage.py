from __future__ import annotations

import logging
from numbers import Real
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

logger = logging.getLogger(__name__)

FEWEST_CELLS = 10
# Names of what is stored beside the key.
BESIDE = ("{}_pseudotime", "{}_segment", "{}_branches", "{}_fates", "X_{}", "X_{}_diffmap")


def lineage(
    adata: AnnData,
    key: str = "deepclust",
    *,
    root: str | int | dict[str, str | Sequence[str]] | None = None,
    use_rep: str | None = None,
    n_neighbors: int = 15,
    n_dcs: int = 10,
    min_confidence: float = 0.05,
    fates: Literal["auto", "palantir", "cellrank"] | None = "auto",
    layer: str | None = None,
    key_added: str = "lineage",
    random_state: int | np.random.Generator | None = 0,
    copy: bool = False,
) -> AnnData | None:
    """Order cells along a rooted tree of clusters.

    On the learned embedding: nearest neighbours; UMAP, diffusion pseudotime and PAGA by scanpy; then a tree that
    spans the clusters: each follows the earlier one of which most late cells are neighbours of early cells in this one,
    and none where PAGA's confidence is weak or hardly any are neighbours; with its branches and a pseudotime
    along each. Draw it with :func:`scdeepclust.pl.lineage`. What the tree says is a hypothesis: it has no
    loops, and its direction is that of the root you give.

    Parameters
    ----------
    adata
        Cells with clusters and an embedding, as :func:`scdeepclust.tl.deepclust` leaves them.
    key
        Column of `obs` with clusters.
    root
        Where time starts: a cell (name, or number), a cluster, a gene (such as that of a stem-cell marker: of the
        cluster where it is highest on average) or a label in a column of `obs`. Counts of a gene are compared
        log-normalised; that two clusters hardly differ in it is logged as a warning. Several genes, between commas, serve
        together (`{"gene": "Hlf,Procr,Mecom"}`, or a list): the mean, each in units of its standard deviation. If a name is more than one of these, say
        which: `{"cluster": "3"}`, `{"gene": "Hlf"}`, `{"cell": "AAAC-1"}` or `{"cell_type": "7MEP"}`. None takes
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
        Adds probabilities of ending in each tip of the tree, by `"palantir"` (Setty et al. 2019,
        doi 10.1038/s41587-019-0068-4: random walks on its own diffusion components) or `"cellrank"` (Lange et al. 2022,
        doi 10.1038/s41592-021-01346-6: absorption of the neighbour graph's walk, directed by the pseudotime). `"auto"`
        takes the first of them that is installed, None leaves fates out.
    layer
        Layer in which a root gene is looked up, of counts or log-normalised values; `X` if None.
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
        `"tree"` (of each edge parent, child, PAGA's confidence, the parent's share of what earlier clusters that the child is
        linked to hand on to it, NaN where that is nothing, and who hands on most besides, with its share: where that is near,
        so is another tree), `"clusters"` (cells, median pseudotime, parent, whether
        reachable), `"branches"` (clusters of each, in order), `"connectivities"` (PAGA, clusters x clusters), `"root"`,
        `"n_unreachable"`, `"params"` (of which `"fates"` is the package that found them, None where none did).

    Raises
    ------
    KeyError
        There are no such clusters, embedding or root.
    ValueError
        The root is ambiguous (the message lists what it may be), there is one cluster only, or the embedding has values
        that are not finite.
    ImportError
        `fates` names a package that is not installed.

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
    ['parent', 'child', 'confidence', 'share', 'other', 'other_share']
    """
    from .. import results
    from ..arguments import resolve_seed
    from ..data.checks import check_anndata, need_key
    from ..data.raw import spread
    from ..train import kept_threads
    from ._fates import find_fates
    from ._root import find_root
    from ._tree import branches_of, directed_tree, segments_of

    check_anndata(adata, copy=copy)
    need_key("key", key, adata.obs, "adata.obs", first="sdc.tl.deepclust(adata)")
    rep = results.embedding_key(adata, key, use_rep, "use_rep", before=True)
    results.check_key(key_added, reads=[key, rep], forms=BESIDE)
    _check(n_neighbors, n_dcs, min_confidence, fates)
    seed = resolve_seed(random_state)
    bare, where = _clustered(adata, key, rep)
    with kept_threads():
        place = find_root(adata, bare, where, root, layer=layer, key=key)
        _graph(bare, n_neighbors, n_dcs, seed)
        iroot, how = place()
        bare.uns["iroot"] = iroot
        tree, clusters = directed_tree(bare, n_dcs, min_confidence)
        members = branches_of(tree, clusters)
        package, probabilities = (None, None) if fates is None else find_fates(bare, list(members), iroot, seed, fates)
    adata = adata.copy() if copy else adata
    names = {tip: tip.replace("/", "|") for tip in members}  # h5ad cannot store "/" in a name
    time = bare.obs["dpt_pseudotime"].to_numpy()
    segment = bare.obs["cluster"].astype(str).map(segments_of(tree, clusters)).to_numpy(dtype=object)
    adata.obs[f"{key_added}_pseudotime"] = spread(time, where, adata.n_obs)
    everywhere = np.full(adata.n_obs, None, dtype=object)
    everywhere[where] = segment
    adata.obs[f"{key_added}_segment"] = pd.Categorical(everywhere)
    along = {names[tip]: spread(_along(bare, path), where, adata.n_obs) for tip, path in members.items()}
    adata.obsm[f"{key_added}_branches"] = pd.DataFrame(along, index=adata.obs_names)
    for name, values in (("", bare.obsm["X_umap"]), ("_diffmap", bare.obsm["X_diffmap"])):
        adata.obsm[f"X_{key_added}{name}"] = spread(values.astype(np.float32), where, adata.n_obs)
    results.forget(adata, key_added, obsm=[f"{key_added}_fates"])
    if probabilities is not None:
        columns = [names[tip] for tip in probabilities.columns]
        values = spread(probabilities.to_numpy(), where, adata.n_obs)
        adata.obsm[f"{key_added}_fates"] = pd.DataFrame(values, index=adata.obs_names, columns=columns)
    adata.uns[key_added] = {
        "root": {
            "cell": str(adata.obs_names[where[iroot]]),
            "cluster": str(bare.obs["cluster"].iloc[iroot]),
            "found_by": how,
        },
        "tree": tree,
        "clusters": clusters,
        "branches": {names[tip]: np.array(path, dtype=object) for tip, path in members.items()},
        "connectivities": bare.uns["paga"]["connectivities"].toarray(),
        "n_unreachable": int(np.isnan(time).sum()),
        "params": {
            "key": key,
            "use_rep": rep,
            "n_neighbors": n_neighbors,
            "n_dcs": n_dcs,
            "min_confidence": min_confidence,
            "fates": package,
            "random_state": seed,
        },
    }
    logger.info(
        "time starts at cell %s of cluster %s (%s); branches end in %s",
        *(adata.uns[key_added]["root"][name] for name in ("cell", "cluster", "found_by")),
        ", ".join(names.values()),
    )
    return adata if copy else None


def _check(n_neighbors: int, n_dcs: int, min_confidence: float, fates: str | None) -> None:
    from ..data.checks import whole_number
    from ._fates import check_fates

    for name, value, least in (("n_neighbors", n_neighbors, 3), ("n_dcs", n_dcs, 2)):
        whole_number(name, value, least)
    if not isinstance(min_confidence, Real) or not min_confidence >= 0:
        msg = f"min_confidence={min_confidence!r} must be a number of at least 0; at 1 only the surest links stay."
        raise ValueError(msg)
    check_fates(fates)


def _clustered(adata: AnnData, key: str, rep: str) -> tuple[AnnData, np.ndarray]:
    """The cells that have a cluster, with nothing but that and their embedding; and where they are."""
    from anndata import AnnData
    from scipy import sparse

    from .. import results

    labels = results.clusters(adata, key)
    where = np.flatnonzero(labels.notna().to_numpy())
    x = adata.obsm[rep]
    x = x.to_numpy() if isinstance(x, pd.DataFrame) else x.toarray() if sparse.issparse(x) else x
    x = np.asarray(x, dtype=np.float32)[where]
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).any(1).sum())
        msg = f"use_rep={rep!r} holds values that are not finite, in {bad} cells with a cluster; leave these cells out."
        raise ValueError(msg)
    results.check_partition("key", key, labels)
    labels = labels.iloc[where].astype("category").cat.remove_unused_categories()
    if len(labels.cat.categories) < 2:
        msg = f"key={key!r} has {len(labels.cat.categories)} cluster; a lineage needs two or more."
        raise ValueError(msg)
    if len(where) < FEWEST_CELLS:
        msg = f"key={key!r} names a cluster for {len(where)} cells; a lineage needs at least {FEWEST_CELLS}."
        raise ValueError(msg)
    labels = labels.cat.rename_categories([str(c) for c in labels.cat.categories])
    clusters = pd.Categorical(labels.to_numpy(), categories=labels.cat.categories)
    obs = pd.DataFrame({"cluster": clusters}, index=pd.RangeIndex(len(where)).astype(str))
    return AnnData(obs=obs, obsm={"rep": x}), where


def _graph(bare: AnnData, n_neighbors: int, n_dcs: int, seed: int) -> None:
    import scanpy as sc
    from scipy import sparse

    from .. import results

    results.write_neighbors(bare, n_neighbors, use_rep="rep", random_state=seed)
    sc.tl.umap(bare, random_state=seed)
    sc.tl.diffmap(bare, n_comps=min(n_dcs + 1, bare.n_obs - 2), random_state=seed)
    codes, links = bare.obs["cluster"].cat.codes.to_numpy(), bare.obsp["connectivities"].tocoo()
    if (codes[links.row] != codes[links.col]).any():
        sc.tl.paga(bare, groups="cluster")
    else:  # scanpy fails where no edge runs between clusters
        n = len(bare.obs["cluster"].cat.categories)
        bare.uns["paga"] = {"connectivities": sparse.csr_matrix((n, n))}


def _along(bare: AnnData, path: list[str]) -> np.ndarray:
    """Pseudotime along a branch, from 0 to 1; NaN off it."""
    time = bare.obs["dpt_pseudotime"].where(bare.obs["cluster"].isin(path)).to_numpy(dtype=float)
    first, last = np.nanmin(time), np.nanmax(time)
    return (time - first) / max(last - first, 1e-12)
