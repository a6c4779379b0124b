"""A tree over clusters, from the links between them and the time of their cells."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

EDGE = ["parent", "child", "confidence", "share", "other", "other_share"]

# A cluster of fewer cells than neighbours has to have some outside of it, and PAGA is sure of these, as far as they may be. Links
# that weigh less than one full neighbour in all (UMAP's weights, which fall with the distance) are none.
LEAST_LINKS = 1.0
SHARP = 4  # power by which links that leave or arrive in the middle of a cluster count less; 2 to 4 differ little
NEARLY = 1 / 3  # of what earlier clusters hand on to one: so much from another than its parent is worth saying
LEAST_SPREAD = 0.25  # of nine tenths of the cells outside of the root's cluster, as a share of their median pseudotime


def directed_tree(bare: AnnData, n_dcs: int, min_confidence: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Edges from parent to child, and the clusters with their time.

    At a fork all clusters touch, so that confidence alone would join siblings, and, as it is relative to their sizes, the smallest
    of them first; a child starts where its parent ends, which most cells have to say.
    """
    import scanpy as sc

    sc.tl.dpt(bare, n_dcs=min(n_dcs, bare.obsm["X_diffmap"].shape[1]))
    time = bare.obs["dpt_pseudotime"].replace([np.inf, -np.inf], np.nan)
    bare.obs["dpt_pseudotime"] = time
    names = list(bare.obs["cluster"].cat.categories)
    codes = bare.obs["cluster"].cat.codes.to_numpy()
    confidence = bare.uns["paga"]["connectivities"].toarray()
    links, handed_on = _links(bare.obsp["connectivities"], codes, time.to_numpy(), len(names))
    confidence = np.maximum(confidence, confidence.T)
    touches = (links >= LEAST_LINKS) & (confidence >= min_confidence)
    median = time.groupby(bare.obs["cluster"], observed=False).median().to_numpy()
    first = codes[bare.uns["iroot"]]
    order = [first, *(c for c in np.argsort(median, kind="stable") if c != first and np.isfinite(median[c]))]
    edges, linked, waiting = [], [first], order[1:]
    while waiting:
        touching = [(c, [p for p in linked if touches[p, c]]) for c in waiting]
        child, parents = next(((c, parents) for c, parents in touching if parents), (None, []))
        if child is None:
            break
        # Where all that a cluster touches is later than itself, the link says more than a hair of time.
        parents = [p for p in parents if order.index(p) < order.index(child)] or parents
        edges.append(_edge(child, parents, names, confidence, handed_on))
        linked.append(child)
        waiting.remove(child)
    tree = pd.DataFrame(edges, columns=EDGE)
    for edge in tree[tree["other_share"] >= NEARLY].itertuples():
        logger.info(
            "cluster %s follows %s (%.0f %% of what earlier clusters hand on to it), but may come of %s (%.0f %%)",
            *(edge.child, edge.parent, 100 * edge.share, edge.other, 100 * edge.other_share),
        )
    reachable = np.isin(np.arange(len(names)), list(linked))
    bare.obs.loc[~reachable[codes], "dpt_pseudotime"] = np.nan
    parents = dict(zip(tree["child"], tree["parent"], strict=True))
    clusters = pd.DataFrame(
        {
            "n_cells": np.bincount(codes, minlength=len(names)),
            "pseudotime": np.where(reachable, median, np.nan),
            "parent": [parents.get(name, "") for name in names],
            "reachable": reachable,
        },
        index=pd.Index(names, name="cluster"),
    )
    warn_of_far_root(bare.obs["dpt_pseudotime"].to_numpy(), codes == first, names[first])
    if n_unreachable := int(bare.obs["dpt_pseudotime"].isna().sum()):
        weak = ((links >= LEAST_LINKS) & ~touches)[np.ix_(reachable, ~reachable)].any()
        logger.warning(
            "%d of %d cells cannot be reached from the root (clusters %s); their pseudotime is NaN. %s",
            n_unreachable,
            bare.n_obs,
            ", ".join(n for n, r in zip(names, reachable, strict=True) if not r) or "in part",
            "A lower min_confidence, or more neighbours, links more."
            if weak
            else "They have next to no neighbours among the others; only with more neighbours might they be linked.",
        )
    return tree, clusters


def _edge(child: int, parents: list[int], names: list[str], confidence: np.ndarray, handed_on: np.ndarray) -> tuple:
    """From the cluster that hands most on to this one, and who comes next."""
    parent, *others = sorted(parents, key=lambda p: (-handed_on[p, child], -confidence[p, child]))
    shares = handed_on[:, child] / (handed_on[parents, child].sum() or np.nan)
    other = [(names[p], float(shares[p])) for p in others[:1] if shares[p] > 0] or [("", 0.0)]
    return (names[parent], names[child], float(confidence[parent, child]), float(shares[parent]), *other[0])


def warn_of_far_root(time: np.ndarray, in_root: np.ndarray, name: str) -> None:
    """From the tip of an island everything else is equally late, and in no order."""
    others = time[~in_root & np.isfinite(time)]
    if not len(others):
        return
    early, middle, late = np.quantile(others, [0.05, 0.5, 0.95])
    if late - early < LEAST_SPREAD * middle:
        logger.warning(
            "Seen from the root nearly all cells outside of its cluster %s (%d cells) are equally late (pseudotime %.2f to %.2f): "
            "it lies apart from them, and time says little. Name another cluster as root, or leave its cells out.",
            *(name, in_root.sum(), early, late),
        )


def _links(graph: object, codes: np.ndarray, time: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight of all links between clusters, and how many lead from late cells of the one to early cells of the other."""
    rank = pd.Series(time).groupby(codes).rank(pct=True).fillna(0.5).to_numpy()
    links = graph.tocoo()
    between = codes[links.row] != codes[links.col]
    i, j, weight = links.row[between], links.col[between], links.data[between]
    pair = codes[i].astype(np.int64) * n + codes[j]
    counts = (weight, (rank[i] * (1 - rank[j])) ** SHARP)
    return tuple(np.bincount(pair, count, minlength=n * n).reshape(n, n) for count in counts)


def branches_of(tree: pd.DataFrame, clusters: pd.DataFrame) -> dict[str, list[str]]:
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


def segments_of(tree: pd.DataFrame, clusters: pd.DataFrame) -> dict[str, str]:
    """For each cluster, the last cluster of its stretch between two forks."""
    children = tree.groupby("parent")["child"].apply(list).to_dict()
    found = {}
    for name in clusters.index[clusters["reachable"]]:
        last = name
        while len(children.get(last, [])) == 1:
            last = children[last][0]
        found[name] = last
    return found
