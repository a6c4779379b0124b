"""How well a given space keeps the cells of one label together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ._check import check_space, encode

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def silhouette(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    sample_size: int | None = 10_000,
    random_state: int | np.random.Generator = 0,
) -> float:
    """Mean silhouette width of the labels in a fixed space.

    Use one space (for example the PCs) for all labellings that are compared: in the space that a method
    learned, the method judges itself. It favours compact, separate types over continuous lineages.

    Parameters
    ----------
    x
        Cells x dimensions, dense or sparse, for example ``adata.obsm["X_pca"]``.
    labels
        Label of every cell.
    sample_size
        Number of cells drawn without replacement, as the cost is quadratic; None takes all.
    random_state
        Seed of the draw.

    Returns
    -------
    From -1 to 1 (Euclidean distance, not rescaled).

    Raises
    ------
    ValueError
        If ``x`` is not finite or has another number of rows than labels, a label is missing, or the cells
        used have fewer than 2 labels or no two cells of one label.

    References
    ----------
    Rousseeuw (1987), Journal of Computational and Applied Mathematics 20:53-65,
    doi:10.1016/0377-0427(87)90125-7.

    Examples
    --------
    >>> from scdeepclust.metrics import silhouette
    >>> round(silhouette([[0.0], [0.1], [5.0], [5.1]], ["a", "a", "b", "b"]), 2)
    0.98
    """
    from sklearn.metrics import silhouette_score

    codes, _ = encode(labels, "labels")
    x = check_space(x, len(codes))
    n_obs = len(codes)
    if sample_size is not None and sample_size < 3:
        msg = f"sample_size must be at least 3 or None (all cells), but is {sample_size}."
        raise ValueError(msg)
    if sample_size is not None and sample_size < n_obs:
        rows = np.sort(np.random.default_rng(random_state).choice(n_obs, sample_size, replace=False))
        x, codes = x[rows], codes[rows]
    n_labels = len(np.unique(codes))
    if not 2 <= n_labels < len(codes):
        msg = (
            f"labels must have at least 2 different values and fewer than cells, but has {n_labels} in the "
            f"{len(codes)} cells used (of {n_obs}): pass other labels, or raise sample_size if a label was not drawn."
        )
        raise ValueError(msg)
    return float(silhouette_score(x, codes, metric="euclidean"))


def knn_purity(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    n_neighbors: int = 15,
    per_label: bool = False,
) -> float | pd.Series:
    """Mean share of a cell's nearest neighbours that carry its own label.

    Use it to ask whether an embedding keeps types together without asking for compact clusters, so it is fair
    to lineages. Neighbours are exact (Euclidean) and never the cell itself, even among duplicates.

    Parameters
    ----------
    x
        Cells x dimensions, dense or sparse, for example ``adata.obsm["X_deepclust"]``.
    labels
        Label of every cell.
    n_neighbors
        Number of neighbours of each cell.
    per_label
        Return the mean for every label, to see rare types.

    Returns
    -------
    Between 0 and 1; a Series indexed by label if ``per_label``. Mixed cells give about the share of the label.

    Raises
    ------
    ValueError
        If ``x`` is not finite or has another number of rows than labels, a label is missing, or
        ``n_neighbors`` is not between 1 and the number of cells minus 1.

    Examples
    --------
    >>> from scdeepclust.metrics import knn_purity
    >>> knn_purity([[0.0], [0.1], [5.0], [5.1]], ["a", "a", "b", "b"], n_neighbors=1)
    1.0
    """
    from sklearn.neighbors import NearestNeighbors

    codes, names = encode(labels, "labels")
    x = check_space(x, len(codes))
    if not 1 <= n_neighbors < len(codes):
        msg = f"n_neighbors must be between 1 and n_obs - 1 = {len(codes) - 1}, but is {n_neighbors}."
        raise ValueError(msg)
    # asked without a query, scikit-learn leaves each cell itself out, also where duplicates tie with it
    neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(x).kneighbors(return_distance=False)
    shares = (codes[neighbors] == codes[:, None]).mean(axis=1)
    if not per_label:
        return float(shares.mean())
    means = np.bincount(codes, weights=shares) / np.bincount(codes)
    return pd.Series(means, index=pd.Index(names, name="labels"), name="knn_purity")


def effective_rank(x: ArrayLike) -> float:
    """How many dimensions an embedding uses: the exponential of the entropy of its variances.

    An embedding of 20 dimensions with an effective rank of 3 has collapsed, as contrast between views may make it.

    Parameters
    ----------
    x
        Cells x dimensions, for example ``adata.obsm["X_deepclust"]``; centred here.

    Returns
    -------
    From 1 (all cells on a line) to the number of dimensions (equal variance in each); 0 where all cells are equal. It does
    not depend on the scale, nor on a rotation.

    Raises
    ------
    ValueError
        If ``x`` is not finite.

    References
    ----------
    Roy and Vetterli (2007), European Signal Processing Conference, 606-610, of variances instead of standard deviations.

    Examples
    --------
    >>> from scdeepclust.metrics import effective_rank
    >>> round(effective_rank([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]]), 6)
    2.0
    """
    x = check_space(x, x.shape[0] if getattr(x, "shape", ()) else len(x) if hasattr(x, "__len__") else 0)
    x = np.asarray(x.toarray() if hasattr(x, "toarray") else x, dtype=np.float64)
    variance = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    if variance.sum() <= 1e-24 * max(1.0, float((x**2).sum())):
        return 0.0
    share = variance / variance.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))
