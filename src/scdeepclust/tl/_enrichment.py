from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

MOST_CATEGORIES = 200  # more are a continuous value, or names of cells


def enrichment(
    adata: AnnData,
    key: str = "deepclust",
    annotations: str | Sequence[str] = (),
    *,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Test which categories of known annotations clusters hold more, or fewer, of than chance would give them.

    Every cluster of every head against every category, by the hypergeometric distribution: the cluster's cells drawn from
    all cells without replacement. Use it to see what the heads of a method with several partitions have found.
    With thousands of cells small differences are significant: read the odds, too. Where clusters and annotation were made
    from the same expression, as published cell types mostly were, p-values do not mean what they say.

    Parameters
    ----------
    adata
        Clustered cells.
    key
        Name of the clusters: the columns of `obsm[key + "_heads"]` where that is there, else `obs[key]`, which may be
        any column of clusters.
    annotations
        Columns of `obs` with categories. Cells without a value, or without a cluster, are left out of that test.
    key_added
        Under which name in `uns` the table is stored; None takes `key + "_enrichment"`.
    copy
        Whether to return a changed copy instead of changing `adata`.

    Returns
    -------
    `None`, or the copy. Sets `adata.uns[key_added]`, a :class:`pandas.DataFrame` with a row for each head, cluster,
    annotation and category, and columns

    `head`, `cluster`, `annotation`, `category`
        What is tested.
    `n_cells`, `n_cluster`, `n_category`, `n_both`
        Cells with both labels, those of the cluster, of the category, and of both.
    `log_odds`
        Logarithm to base 2 of the odds of the category inside the cluster over those outside, with 0.5 added to each of
        the four numbers (Haldane), so that it is finite.
    `p_over`, `p_under`, `p_value`
        Probability of at least, and of at most, so many cells in both, and twice the smaller of them, at most 1.
    `q_value`
        `p_value` adjusted over the whole table (Benjamini and Hochberg).

    Raises
    ------
    KeyError
        There are no such clusters or columns.
    ValueError
        An annotation has no value, a single one, or far too many to be categories.

    References
    ----------
    Haldane, Annals of Human Genetics 20:309-311, 1956, doi 10.1111/j.1469-1809.1955.tb01285.x. Benjamini and Hochberg,
    Journal of the Royal Statistical Society B 57:289-300, 1995.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.enrichment(adata, "cell_type", "cell_type")
    >>> table = adata.uns["cell_type_enrichment"]
    >>> bool((table["q_value"] < 0.01).all())
    True
    """
    from .. import results
    from ..data.checks import check_anndata, need_key, several_names

    check_anndata(adata, copy=copy)
    if key_added is None and "/" in str(key):
        msg = f"key={key!r} has a '/', which h5ad files cannot store in the name of the result; give one by key_added=."
        raise ValueError(msg)
    key_added = results.ENRICHMENT.format(key) if key_added is None else key_added
    results.check_key(key_added, reads=[key])
    annotations = list(dict.fromkeys(several_names("annotations", annotations)))
    if not annotations:
        msg = "annotations is empty; name columns of adata.obs with categories."
        raise ValueError(msg)
    for name in annotations:
        need_key("annotations", name, adata.obs, "adata.obs")
        _check_categories(name, adata.obs[name])
    partitions = results.partitions(adata, key)
    for name, column in partitions.items():
        results.check_partition("key", name, column)
    rows = [
        row
        for head, clusters in partitions.items()
        for name in annotations
        for row in _counted(head, clusters, name, adata.obs[name])
    ]
    columns = ["head", "cluster", "annotation", "category", "n_cells", "n_cluster", "n_category", "n_both"]
    table = pd.DataFrame(rows, columns=columns)
    adata = adata.copy() if copy else adata
    adata.uns[key_added] = _tested(table)
    return adata if copy else None


def _check_categories(name: str, column: pd.Series) -> None:
    found = column.nunique()
    if found < 2:
        what = "no value" if not found else f"the single value {str(column.dropna().iloc[0])!r}"
        msg = f"annotations={name!r} holds {what}: there is nothing to tell apart; leave it out."
        raise ValueError(msg)
    if found > MOST_CATEGORIES:
        msg = (
            f"annotations={name!r} holds {found} different values, too many for categories; cut them into a few "
            "with pandas.cut first."
        )
        raise ValueError(msg)


def _counted(head: str, clusters: pd.Series, name: str, annotation: pd.Series) -> list[tuple]:
    known = clusters.notna().to_numpy() & annotation.notna().to_numpy()
    if not known.any():
        msg = f"annotations={name!r}: none of its cells has a cluster in {head!r}; leave it out."
        raise ValueError(msg)
    both = pd.crosstab(*(np.array([str(name) for name in column[known]]) for column in (clusters, annotation)))
    names, categories = (_in_order(column) for column in (clusters, annotation))
    of_cluster, of_category = both.sum(axis=1), both.sum(axis=0)
    return [
        (
            head,
            k,
            name,
            category,
            int(known.sum()),
            int(of_cluster[k]),
            int(of_category[category]),
            int(both.loc[k, category]),
        )
        for k in names
        if k in both.index
        for category in categories
        if category in both.columns
    ]


def _in_order(column: pd.Series) -> list[str]:
    """Names of categories, in the order that their owner gave them."""
    return list(dict.fromkeys(str(c) for c in column.astype("category").cat.categories))


def _tested(table: pd.DataFrame) -> pd.DataFrame:
    from scipy.stats import false_discovery_control, hypergeom

    n, k, m, q = (table[c].to_numpy() for c in ("n_cells", "n_cluster", "n_category", "n_both"))
    odds = (q + 0.5) * (n - m - k + q + 0.5) / ((k - q + 0.5) * (m - q + 0.5))
    # Both tails hold what was seen; without it a depletion would look rarer than it is.
    over, under = hypergeom.sf(q - 1, n, m, k), hypergeom.cdf(q, n, m, k)
    p = np.minimum(1, 2 * np.minimum(over, under))
    return table.assign(
        log_odds=np.log2(odds), p_over=over, p_under=under, p_value=p, q_value=false_discovery_control(np.clip(p, 0, 1))
    )
