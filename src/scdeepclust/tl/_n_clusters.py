from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def n_clusters(
    adata: AnnData,
    *,
    min_signal: float = 0.065,
    join_shifted: bool = True,
    resolution: float = 1.0,
    partitions: Sequence[str] | None = None,
    scheme: Literal["auto", "count_split", "gene_split"] = "auto",
    n_splits: int = 3,
    transform: Literal["sqrt", "log1p"] = "sqrt",
    gene_scaling: float = 0.5,
    n_pcs: int = 20,
    layer: str | None = None,
    use_rep: str | None = None,
    batch_key: str | None = None,
    categorical_covariate_keys: Sequence[str] | None = None,
    mask_var: str | Sequence[bool] | np.ndarray | None = "auto",
    drop_empty: bool = False,
    key_added: str = "n_clusters",
    random_state: int | np.random.Generator | None = 0,
    copy: bool = False,
) -> AnnData | None:
    """Choose the number of clusters that the data support, without labels.

    Start from more clusters than there can be, split the molecules of every cell in two, and ask of any two
    clusters how far apart they are in both halves at once: noise differs between the halves, and what comes again
    is signal. The two that differ least are joined, until every join would cost more than a share `min_signal` of
    the reproducible signal. Of counts, joining goes on until the two halves of a cell mostly agree on its cluster
    (an adjusted Rand index of 0.55): among a few hundred cells of one kind, where all signal is weak, a share of it
    is noise. If clusters by half of the genes tell nothing of the other half, there is one cluster. It is what
    :func:`scdeepclust.tl.deepclust` does where no `n_clusters` is given; use it to look at the choice, to change it
    (:func:`scdeepclust.tl.recut`) or to judge partitions of your own.

    On a continuum the number grows with cells and depth: it is the resolution that the data support, not the number of
    cell types.

    Parameters
    ----------
    adata
        Cells x genes, counts or log-normalised values.
    min_signal
        Share of the reproducible signal (square-root form) by which two clusters must differ. Lower values keep
        more, and rarer, clusters; at 0.05 to 0.1 agreement with published labels hardly changes.
    join_shifted
        Whether a shift that recurs, one and the same displacement between the clusters of three or more pairs, is taken away
        before clusters are joined. A batch, a technology or a treatment that goes across kinds of cells makes one; kinds of
        cells by themselves hardly ever do. It is warned of, with the clusters that it tells apart; give `batch_key` where its
        name is known, which corrects the features too.
    resolution
        Of the Leiden communities to start from; the result hardly depends on it.
    partitions
        Columns of `obs` to choose from instead, such as Leiden at several resolutions, or results with several heads,
        each of which is a partition. The choice is the finest of which
        no two clusters would be joined; if there is none, the one that joining changes least.
    scheme
        `"count_split"` splits the molecules of counts; `"gene_split"` the genes of other values. `"auto"` takes the
        first that the data allow.
    n_splits
        Independent splits.
    transform, gene_scaling, n_pcs
        How features are made of counts, as in :func:`scdeepclust.tl.deepclust`.
    layer, use_rep, mask_var, drop_empty
        What is read, as in :func:`scdeepclust.tl.deepclust`.
    batch_key, categorical_covariate_keys
        Columns of `obs` with batches, or more covariates, that clusters should not depend on, as in
        :func:`scdeepclust.tl.deepclust`; without them, what sets batches apart counts as signal.
    key_added
        Under which name results are stored.
    random_state
        Seed.
    copy
        Whether to return a changed copy instead of changing `adata`.

    Returns
    -------
    `None`, or the copy. Sets:

    `adata.obs[key_added]` : :class:`pandas.Series` (dtype ``category``)
        The partition, the largest cluster first; no value for cells too shallow to have a say.
    `adata.obs[key_added + "_fine"]` : :class:`pandas.Series` (dtype ``category``)
        The clusters before joining.
    `adata.uns[key_added]` : :class:`dict`
        `"n_clusters"`, `"chosen_by"`, `"joins"` (every join down to one cluster, the signal that it costs, and whether it
        was done), `"shifts"` (pairs of clusters that a shift tells apart, by the names that these have in `"joins"`, and the mean
        cosine of their displacements), `"stability"` (adjusted Rand index of the clusters that a cell's two halves put it
        in) and `"stability_fine"` (of those before joining), `"gain"` (log-likelihood over that of a single cluster) and
        `"gain_se"`, `"n_cells"` (that had a say), `"params"`. Without `partitions`, `"curve"` (held-out loss and stability of 1 to 50 clusters, a tenth of the cells at
        most: k-means with the most, joined by Ward's rule) and `"knee"` of that loss (a second opinion without a constant);
        with them, `"partitions"`, a table of them, and `"chosen"`, the one that was taken.

    Raises
    ------
    KeyError
        A layer, obsm, obs or var key does not exist.
    TypeError
        The matrix is not in memory.
    ValueError
        The data hold no counts to split, or are too small, or results would overwrite what is read.

    Notes
    -----
    Distances free of noise by count splitting: Neufeld et al. 2024 (doi 10.1093/biostatistics/kxac047); joining by the
    share of variance lost: Ward 1963 (doi 10.1080/01621459.1963.10500845), here with the root of the sizes' weight, which
    is kinder to rare types. The minimum of a held-out loss, in use elsewhere, is in `"curve"`: with thousands of cells it
    asks for far too many clusters, because every cut of a residual gradient predicts a little.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=400, n_vars=100, n_types=4)
    >>> sdc.tl.n_clusters(adata)
    >>> adata.uns["n_clusters"]["n_clusters"]
    4
    """
    from .. import results, selection
    from ..arguments import check_min_signal, resolve_seed
    from ..data import Inputs, read
    from ..data.checks import check_anndata, several_names, true_or_false, whole_number
    from ..data.columns import covariate_keys
    from ..data.raw import spread
    from ..train import kept_threads

    check_anndata(adata)
    true_or_false("join_shifted", join_shifted)
    check_min_signal(min_signal)
    if not isinstance(resolution, Real) or not resolution > 0:
        msg = f"resolution={resolution!r} must be a number above 0."
        raise ValueError(msg)
    n_splits = whole_number("n_splits", n_splits)
    if partitions is not None:
        partitions = several_names("partitions", partitions)
        if not partitions:
            msg = "partitions is empty; name columns of adata.obs, or leave it out."
            raise ValueError(msg)
    columns = results.codes_of_partitions(adata, partitions or (), "partitions")
    covariates = [name for _, name in covariate_keys(batch_key, categorical_covariate_keys)]
    reads = [use_rep, *covariates, *(partitions or ())]
    results.check_key(key_added, reads=reads)
    seed = resolve_seed(random_state)
    raw = read(
        adata,
        layer=layer,
        use_rep=use_rep,
        batch_key=batch_key,
        categorical_covariate_keys=categorical_covariate_keys,
        mask_var=mask_var,
        drop_empty=drop_empty,
    )
    inputs = Inputs(raw.kind, transform, gene_scaling, n_pcs)
    rules = selection.Rules(scheme, min_signal, resolution, join_shifted, n_splits)
    with kept_threads():
        if partitions is None:
            choice = selection.choose_n_clusters(raw, inputs, rules, seed=seed)
        else:
            codes = {name: codes[raw.kept] for name, codes in columns.items()}
            choice = selection.choose_partition(raw, inputs, codes, rules, seed=seed)
    adata = adata.copy() if copy else adata
    results.forget_clusters(adata, key_added)
    for name, labels in ((key_added, choice.labels), (f"{key_added}_fine", choice.fine)):
        codes = spread(labels, raw.kept, adata.n_obs, missing=-1)
        adata.obs[name] = pd.Categorical.from_codes(codes, categories=[str(k) for k in range(labels.max() + 1)])
    adata.uns[key_added] = choice.record
    choice.announce()
    if not covariates:
        results.suggest_batches(adata, key_added)
    return adata if copy else None


def recut(
    adata: AnnData,
    *,
    n_clusters: int | None = None,
    min_signal: float | None = None,
    key: str = "n_clusters",
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Undo joins of :func:`scdeepclust.tl.n_clusters`, or make more of them.

    Parameters
    ----------
    adata
        Cells with a result of :func:`scdeepclust.tl.n_clusters`.
    n_clusters
        Number of clusters to have.
    min_signal
        Or the share of the signal by which clusters must differ.
    key
        Name of the result.
    key_added
        Under which name in `obs` the partition is stored; None replaces the one there is.
    copy
        Whether to return a changed copy instead of changing `adata`.

    Returns
    -------
    `None`, or the copy. Sets `adata.obs[key_added or key]`; where that is `key`, the record in `uns` says so too.

    Raises
    ------
    KeyError
        There is no such result.
    ValueError
        Not exactly one of `n_clusters` and `min_signal` is given, or there are not as many clusters.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=400, n_vars=100, n_types=4)
    >>> sdc.tl.n_clusters(adata)
    >>> sdc.tl.recut(adata, n_clusters=2, key_added="coarse")
    >>> adata.obs["coarse"].nunique()
    2
    """
    from collections.abc import Mapping

    from .. import results
    from ..arguments import check_min_signal
    from ..data.checks import check_anndata, need_key, whole_number
    from ..diffusion import signal

    check_anndata(adata, copy=copy)
    if (n_clusters is None) == (min_signal is None):
        msg = f"Give either n_clusters (here {n_clusters!r}) or min_signal (here {min_signal!r})."
        raise ValueError(msg)
    need_key("key", key, adata.uns, "adata.uns", first="sdc.tl.n_clusters(adata)")
    if f"{key}_fine" not in adata.obs or not isinstance(adata.uns[key], Mapping) or "joins" not in adata.uns[key]:
        msg = f"key={key!r} is no result of tl.n_clusters, whose partition before joining could be cut anew; run that first."
        raise KeyError(msg)
    key_added = key if key_added is None else key_added
    if key_added != key:
        results.check_key(key_added, reads=[f"{key}_fine"])
        if key_added in adata.uns:
            msg = f"key_added={key_added!r} names another result, of which adata.uns holds a record; give another name."
            raise ValueError(msg)
    if n_clusters is not None:
        n_clusters = whole_number("n_clusters", n_clusters, least=0)
    else:
        check_min_signal(min_signal)
    # By name: cells may have been left out since, and with them categories.
    record, fine = adata.uns[key], pd.to_numeric(adata.obs[f"{key}_fine"]).fillna(-1).to_numpy(dtype=np.int64)
    joins = record["joins"]
    if n_clusters is None:
        n_joins = signal.n_joins(joins["signal"], min_signal)
    else:
        n_joins = len(joins) + 1 - n_clusters
        if not 0 <= n_joins <= len(joins):
            msg = f"n_clusters={n_clusters} must be from 1 to {len(joins) + 1}, the number before joining."
            raise ValueError(msg)
    labels = fine.copy()
    for row in joins.iloc[:n_joins].itertuples():
        labels[np.isin(fine, [int(name) for name in f"{row.cluster}+{row.joined}".split("+")])] = int(
            row.cluster.split("+")[0]
        )
    known = labels >= 0
    labels[known] = signal.by_size(np.unique(labels[known], return_inverse=True)[1])
    categories = [str(k) for k in range(labels.max() + 1)]
    adata = adata.copy() if copy else adata
    adata.obs[key_added] = pd.Categorical.from_codes(labels, categories=categories)
    if key_added == key:
        done = np.arange(len(joins)) < n_joins
        changed = {"joins": joins.assign(done=done), "n_clusters": len(categories), "chosen_by": "user"}
        changed["params"] = {**record["params"], **({} if min_signal is None else {"min_signal": min_signal})}
        # The stability is that of what was chosen before.
        adata.uns[key] = {name: value for name, value in record.items() if name != "stability"} | changed
    return adata if copy else None
