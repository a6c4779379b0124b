"""Whether an embedding kept what a lineage is made of: neighbours, distances along the graph, order in time, links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from scipy import sparse

MOST_CELLS = 3_000  # a random sample of more: distances between all of them are compared


def lineage_preservation(
    embedding: np.ndarray,
    reference: np.ndarray,
    *,
    n_neighbors: int = 15,
    n_landmarks: int = 500,
    random_state: int | np.random.Generator = 0,
) -> dict[str, float]:
    """How much of a reference's neighbourhoods and distances along them an embedding kept; sees no labels.

    Give as reference a space that no clustering has touched, such as the principal components that
    :func:`scdeepclust.pp.neighbors` chose (`adata.obsm["X_n2s"]`). The reference itself scores 1.

    Parameters
    ----------
    embedding
        Cells x dimensions.
    reference
        The same cells x dimensions.
    n_neighbors
        Neighbours of a cell, itself left out.
    n_landmarks
        Cells between which distances along the graph are compared.
    random_state
        Seed of the sample (of more than 3,000 cells) and of the landmarks.

    Returns
    -------
    `"score"`, the mean of the four others, each from 0 to 1:

    `"neighbors"`
        Share of a cell's neighbours that are the same in both.
    `"trustworthiness"`
        1 where no neighbour in the embedding is far in the reference (Venna and Kaski 2001), by scikit-learn, but
        scaled so that chance is 0.
    `"geodesic"`
        Spearman correlation of the distances between landmarks along both neighbour graphs; 0 if negative. Landmarks that
        one cannot walk between are farther than all others.
    `"connected"`
        Share of cells in the largest component of the embedding's graph, relative to the reference's.

    Raises
    ------
    ValueError
        Shapes do not fit, values are not finite, or there are too few cells.

    Examples
    --------
    >>> import numpy as np
    >>> import scdeepclust as sdc
    >>> x = np.random.default_rng(0).normal(size=(200, 5))
    >>> sdc.metrics.lineage_preservation(x, x)["score"]
    1.0
    """
    from scipy.stats import spearmanr
    from sklearn.manifold import trustworthiness

    embedding, reference = _space(embedding, "embedding"), _space(reference, "reference")
    if len(embedding) != len(reference):
        msg = f"embedding has {len(embedding)} cells, reference {len(reference)}; give the same cells to both."
        raise ValueError(msg)
    if len(embedding) < 2 * n_neighbors + 2:
        msg = f"{len(embedding)} cells are too few for n_neighbors={n_neighbors}; at least {2 * n_neighbors + 2} are needed."
        raise ValueError(msg)
    rng = np.random.default_rng(random_state)
    if len(embedding) > MOST_CELLS:
        some = rng.choice(len(embedding), MOST_CELLS, replace=False)
        embedding, reference = embedding[some], reference[some]
    graph, graph_of_reference = _knn(embedding, n_neighbors), _knn(reference, n_neighbors)
    landmarks = rng.choice(len(embedding), min(n_landmarks, len(embedding)), replace=False)
    distances = [_geodesic(g, landmarks) for g in (graph, graph_of_reference)]
    upper = np.triu_indices(len(landmarks), 1)
    geodesic = spearmanr(distances[0][upper], distances[1][upper]).statistic
    # Random neighbours score 0.5 by construction of the measure.
    trust = 2 * trustworthiness(reference, embedding, n_neighbors=n_neighbors) - 1
    parts = {
        "neighbors": float(((graph > 0).multiply(graph_of_reference > 0)).sum() / graph.nnz),
        "trustworthiness": float(np.clip(trust, 0, 1)),
        "geodesic": float(np.clip(np.nan_to_num(geodesic), 0, 1)),
        "connected": min(1.0, _largest(graph) / _largest(graph_of_reference)),
    }
    return {"score": float(np.mean(list(parts.values()))), **parts}


def _space(x: np.ndarray, name: str) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or not np.isfinite(x).all():
        msg = f"{name} must be a matrix of finite numbers, cells x dimensions; leave out cells without an embedding."
        raise ValueError(msg)
    return x


def _knn(x: np.ndarray, n_neighbors: int) -> sparse.csr_array:
    """Distances to the nearest neighbours, those of equal cells not quite zero."""
    from scipy import sparse
    from sklearn.neighbors import kneighbors_graph

    graph = sparse.csr_array(kneighbors_graph(x, n_neighbors, mode="distance"))
    graph.data = np.maximum(graph.data, 1e-12)
    return graph


def _geodesic(graph: sparse.csr_array, landmarks: np.ndarray) -> np.ndarray:
    from scipy.sparse.csgraph import dijkstra

    found = dijkstra(graph, directed=False, indices=landmarks)[:, landmarks]
    finite = np.isfinite(found)
    return np.where(finite, found, 2 * found[finite].max() + 1)


def _largest(graph: sparse.csr_array) -> float:
    from scipy.sparse.csgraph import connected_components

    return np.bincount(connected_components(graph, directed=False)[1]).max() / graph.shape[0]


def pseudotime_agreement(
    pseudotime: np.ndarray, reference: np.ndarray, branches: np.ndarray | Sequence[Any] | pd.DataFrame | None = None
) -> dict[str, Any]:
    """Whether cells are in the order that is known of them, branch by branch.

    Parameters
    ----------
    pseudotime
        Of each cell; NaN for cells that were not reached.
    reference
        Known pseudotime or order of stages; NaN for cells without one.
    branches
        Known branch of each cell, or None for one. Cells of a shared trunk may be given as a DataFrame, cells x branches:
        of booleans (or 0 and 1), or of times along each branch, such as `obsm["lineage_branches"]`, where a cell is on
        those for which it has one that is not NaN.

    Returns
    -------
    `"score"` (mean over branches of Spearman's correlation times coverage, negative ones as 0), `"spearman"` and
    `"coverage"` (share of the branch's cells that were reached), dictionaries by branch (of those with a reference for any
    cell), and `"scib"`: (1 + Spearman) / 2
    over all cells with unreached ones at 0, the trajectory conservation of scib (Luecken et al. 2022,
    doi 10.1038/s41592-021-01336-8), which rewards chance with a half and may rise where early cells are lost.

    Raises
    ------
    ValueError
        Lengths differ, or no cell has a reference.

    Examples
    --------
    >>> import numpy as np
    >>> import scdeepclust as sdc
    >>> sdc.metrics.pseudotime_agreement(np.array([0.0, 0.2, np.nan, 0.9]), np.arange(4))["coverage"]
    {'all': 0.75}
    """
    import pandas as pd
    from scipy.stats import spearmanr

    time, known = np.asarray(pseudotime, dtype=float), np.asarray(reference, dtype=float)
    if time.shape != known.shape or time.ndim != 1:
        msg = f"pseudotime has shape {time.shape}, reference {known.shape}; give one value for each cell to both."
        raise ValueError(msg)
    if branches is None:
        table = pd.DataFrame({"all": np.ones(len(time), dtype=bool)})
    elif isinstance(branches, pd.DataFrame):
        table = branches.apply(_on_branch)
    else:
        table = pd.get_dummies(pd.Series(np.asarray(branches, dtype=object)), dtype=bool)
    if len(table) != len(time):
        msg = f"branches has {len(table)} cells, pseudotime {len(time)}."
        raise ValueError(msg)
    if not np.isfinite(known).any():
        msg = "reference holds no finite value, so there is nothing to compare with."
        raise ValueError(msg)
    spearman, coverage = {}, {}
    for name in table.columns:
        cells = table[name].to_numpy() & np.isfinite(known)
        if not cells.any():
            continue
        reached = cells & np.isfinite(time)
        coverage[str(name)] = float(reached.sum() / cells.sum())
        enough = reached.sum() > 2 and np.ptp(time[reached]) > 0 and np.ptp(known[reached]) > 0
        spearman[str(name)] = float(spearmanr(time[reached], known[reached]).statistic) if enough else 0.0
    every = np.isfinite(known)
    zeros = np.where(np.isfinite(time), time, 0)[every]
    rho = spearmanr(zeros, known[every]).statistic if np.ptp(zeros) > 0 and np.ptp(known[every]) > 0 else 0.0
    score = float(np.mean([max(spearman[b], 0) * coverage[b] for b in spearman])) if spearman else 0.0
    return {"score": score, "spearman": spearman, "coverage": coverage, "scib": float((1 + rho) / 2)}


def _on_branch(column: pd.Series) -> pd.Series:
    """Whether each cell is on a branch: a mask says so, and so does a time."""
    from pandas.api.types import is_bool_dtype

    is_mask = is_bool_dtype(column) or column.isin([0, 1]).all()
    return column.astype(bool) if is_mask else column.notna()


def edge_agreement(
    found: Sequence[tuple[str, str]] | np.ndarray | pd.DataFrame,
    known: Sequence[tuple[str, str]] | np.ndarray | pd.DataFrame,
) -> dict[str, float]:
    """Precision, recall and F1 of undirected edges against those of a known tree.

    Parameters
    ----------
    found
        Pairs of clusters, or a table with columns `parent` and `child`, such as `uns["lineage"]["tree"]`.
    known
        Pairs of the same names.

    Returns
    -------
    `precision` (share of the edges found that are known), `recall` (share of the known that are found) and `f1`, each from
    0 to 1; an edge that is named twice counts once.

    Raises
    ------
    ValueError
        An edge is no pair, or a table has no such columns.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> sdc.metrics.edge_agreement([("a", "b"), ("b", "c")], [("b", "a"), ("a", "c")])["precision"]
    0.5
    """
    one, other = _edges("found", found), _edges("known", known)
    shared = len(one & other)
    precision, recall = shared / max(len(one), 1), shared / max(len(other), 1)
    return {"precision": precision, "recall": recall, "f1": 2 * shared / max(len(one) + len(other), 1)}


def _edges(argument: str, edges: Sequence[tuple[str, str]] | np.ndarray | pd.DataFrame) -> set[frozenset[str]]:
    """Pairs without a direction, each once."""
    needed = f"{argument} must hold pairs of names, or be a table with columns 'parent' and 'child'"
    if hasattr(edges, "columns"):
        if not {"parent", "child"} <= set(edges.columns):
            msg = f"{needed}; this one has columns {[*edges.columns]}."
            raise ValueError(msg)
        edges = edges[["parent", "child"]].to_numpy()
    pairs = list(edges)
    for pair in pairs:
        if isinstance(pair, str) or not hasattr(pair, "__len__") or len(pair) != 2:
            msg = f"{needed}; it holds {pair!r}."
            raise ValueError(msg)
    return {frozenset(map(str, pair)) for pair in pairs}
