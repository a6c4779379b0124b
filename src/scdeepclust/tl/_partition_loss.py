from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    from anndata import AnnData


def partition_loss(
    adata: AnnData,
    partitions: str | Sequence[str] = (),
    *,
    resolutions: Sequence[float] = (),
    n_neighbors: int = 15,
    scheme: Literal["auto", "count_split", "gene_split"] = "auto",
    n_splits: int = 3,
    transform: Literal["sqrt", "log1p"] = "sqrt",
    gene_scaling: float = 0.5,
    n_pcs: int = 20,
    layer: str | None = None,
    use_rep: str | None = None,
    mask_var: str | Sequence[bool] | np.ndarray | None = "auto",
    drop_empty: bool = False,
    random_state: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Compare partitions, graphs, and graphs within partitions by how well they predict what was held out.

    Molecules (or genes) of each cell are split in two. From one half come neighbours and the cluster that each cell is
    nearest to; averages over neighbours (denoising on a graph, as DEWAKSS), over the other cells of a cluster, and over
    neighbours of the same cluster then predict the log-normalised values of the other half, without the cell itself.
    Graph, Leiden and any clusters so stand in one table, in one currency; no label of a type is needed, and none helps.

    The loss asks how many bins predict best, not how many types there are: on continua finer partitions always win, up to
    what depth and number of cells allow (:func:`scdeepclust.tl.n_clusters` asks for an effect size). Part of what is
    explained is depth, which log-normalised values still tell.

    Parameters
    ----------
    adata
        Cells x genes, counts or log-normalised values.
    partitions
        Clusters to compare: columns of `obs`, or results with several heads, each of which is a partition.
    resolutions
        Of Leiden communities to compare with, found in the first half.
    n_neighbors
        Neighbours in the graph, of equal weight.
    scheme
        `"count_split"` splits the molecules of counts; `"gene_split"` the genes of other values. `"auto"` takes the
        first that the data allow.
    n_splits
        Independent splits.
    transform, gene_scaling, n_pcs
        How features are made of counts, as in :func:`scdeepclust.tl.deepclust`.
    layer, use_rep, mask_var, drop_empty
        What is read, as in :func:`scdeepclust.tl.deepclust`.
    random_state
        Seed.

    Returns
    -------
    A row for each predictor: `kernel` (`"mean"` of all cells, `"graph"`, `"clusters"`, `"graph within clusters"`),
    `partition`, `n_clusters` that cells were put into, `loss` (mean squared error over cells and genes), `loss_se`
    (standard error, over cells, of its difference to that of the mean) and `explained`, one minus the loss over that of the mean.
    `adata` is not changed.

    Raises
    ------
    KeyError
        A column, layer or key does not exist.
    TypeError
        The matrix is not in memory.
    ValueError
        A partition has no label at all, or the data are too small to split.

    Notes
    -----
    Clusters that are given have seen both halves. So they count by their means alone, and each cell goes to the nearest in
    its first half; a partition that training fitted to noise loses what it gained by it.

    References
    ----------
    Tjärnberg et al., PLoS Computational Biology 17:e1008569, 2021, doi 10.1371/journal.pcbi.1008569 (graphs); Batson and
    Royer, ICML 2019, arXiv 1901.11365; Batson, Royer, Webber 2019, doi 10.1101/786269 (splitting molecules).

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3, separation=2.0)
    >>> table = sdc.tl.partition_loss(adata, "cell_type").set_index("kernel")
    >>> bool(table.loc["clusters", "loss"] < table.loc["mean", "loss"])
    True
    """
    import numpy as np

    from .. import results, selection
    from ..arguments import resolve_seed
    from ..data import Inputs, read
    from ..data.checks import check_anndata, several_names, whole_number
    from ..train import kept_threads

    check_anndata(adata)
    n_neighbors, n_splits = whole_number("n_neighbors", n_neighbors), whole_number("n_splits", n_splits)
    resolutions = [float(value) for value in np.atleast_1d(resolutions)]
    for value in resolutions:
        if not value > 0:
            msg = f"resolutions={resolutions!r} must all be above 0."
            raise ValueError(msg)
    codes = results.codes_of_partitions(adata, several_names("partitions", partitions), "partitions")
    seed = resolve_seed(random_state)
    raw = read(adata, layer=layer, use_rep=use_rep, mask_var=mask_var, drop_empty=drop_empty)
    with kept_threads():
        return selection.partition_losses(
            raw,
            Inputs(raw.kind, transform, gene_scaling, n_pcs),
            {name: labels[raw.kept] for name, labels in codes.items()},
            resolutions=tuple(resolutions),
            scheme=scheme,
            n_neighbors=n_neighbors,
            n_splits=n_splits,
            seed=seed,
        )
