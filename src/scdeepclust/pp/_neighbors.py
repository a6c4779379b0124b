from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData


def neighbors(
    adata: AnnData,
    *,
    scheme: Literal["auto", "count_split", "gene_split", "self"] = "auto",
    n_pcs: int | Sequence[int] | None = None,
    n_neighbors: int | None = None,
    weights: str | Sequence[str] = ("uniform", "distance"),
    n_steps: int = 2,
    self_loops: bool = False,
    rule: Literal["one_se", "min"] = "one_se",
    n_splits: int = 3,
    transform: Literal["sqrt", "log1p"] = "sqrt",
    gene_scaling: float = 0.5,
    layer: str | None = None,
    use_rep: str | None = None,
    mask_var: str | Sequence[bool] | np.ndarray | None = "auto",
    key_added: str = "n2s",
    random_state: int | np.random.Generator | None = 0,
    progress: bool = True,
    copy: bool = False,
) -> AnnData | None:
    """Find nearest neighbours with the components and the number of neighbours that denoise best.

    Instead of guessing `n_pcs` and `n_neighbors`, try all: a graph is good if the mean over a cell's neighbours
    predicts what was not used to find them. Counts are split in two (each molecule by the toss of a coin); the graph
    is made from one half and judged on the other. Use it in place of :func:`scanpy.pp.neighbors`; the result is in
    scanpy's format, so that `sc.tl.umap(adata, neighbors_key="n2s")`, `sc.tl.leiden` and `sc.tl.paga` work on it.

    Parameters
    ----------
    adata
        Cells x genes, counts or log-normalised values.
    scheme
        What is held out: `"count_split"` half of the molecules (for counts), `"gene_split"` half of the genes (for
        other values), `"self"` nothing but the cell itself, as in DEWAKSS: then the graph has seen the noise that it
        is judged on, and too many components and too few neighbours look best. `"auto"` takes the first that the
        data allow. Halves of molecules share what a gene of a cell has beyond its rate (overdispersion), halves of genes do
        not: in simulations with overdispersion these chose graphs with a lower error.
    n_pcs
        Principal components to try; None tries 2, 5, 10, 15, 20, 30 and 50.
    n_neighbors
        Most neighbours of a cell, itself not counted; every number up to it is tried, and None tries up to 100.
    weights
        Weights to try: `"uniform"`, `"distance"` (falls exponentially with distance) or `"gaussian"`.
    n_steps
        Most steps of diffusion. More than one are tried with the best components and weights, at a few numbers of
        neighbours.
    self_loops
        Whether a cell counts as its own neighbour; honest only with `"count_split"`. Where what a cell does beyond its type
        is signal, and not noise: it predicts more of the other half of real counts, and is farther from the rates of
        overdispersed simulations.
    rule
        `"min"` takes the lowest loss; `"one_se"` the fewest components, then the fewest steps, then the most
        neighbours within one standard error (over cells, paired) of it.
    n_splits
        Independent splits.
    transform, gene_scaling
        How features are made of counts before the PCA, as in :func:`scdeepclust.tl.deepclust`.
    layer
        Layer with the values; `X` if None.
    use_rep
        Key of `obsm` with a representation to search in instead. Its axes are rotated at random and split as genes are.
    mask_var
        Genes to use, as in :func:`scdeepclust.tl.deepclust`.
    key_added
        Under which name results are stored.
    random_state
        Seed.
    progress
        Whether to show a progress bar on standard error.
    copy
        Whether to return a changed copy instead of changing `adata`.

    Returns
    -------
    `None`, or the copy. Sets:

    `adata.obsp[key_added + "_distances"]`, `adata.obsp[key_added + "_connectivities"]` : :class:`scipy.sparse.csr_matrix`
        Neighbours on the full data, as scanpy stores them.
    `adata.obsm["X_" + key_added]` : :class:`numpy.ndarray` (float32)
        The principal components in which they were found, cells x components.
    `adata.uns[key_added]` : :class:`dict`
        What scanpy needs, and `"loss"` (a row for each combination: mean squared error on log-normalised values, its
        standard error over splits, its excess over the lowest and the standard error of that over cells), `"choice"`,
        `"minimum"`, `"references"` (the loss of predicting every cell by the mean of all), `"search"` (what was tried).

    Raises
    ------
    KeyError
        A layer, obsm or var key does not exist.
    TypeError
        The matrix is not in memory.
    ValueError
        The data hold no counts to split, or are too small; the message says what to do.

    Notes
    -----
    The loss is that of Batson and Royer 2019 (arXiv 1901.11365), on halves of molecules as in Batson, Royer and Webber
    2019 (doi 10.1101/786269); graphs, weights and the search are after DEWAKSS (Tjärnberg et al. 2021,
    doi 10.1371/journal.pcbi.1008569). All numbers of neighbours of a graph are judged in one pass.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3, dispersion=0)
    >>> sdc.pp.neighbors(adata, progress=False)
    >>> sorted(adata.uns["n2s"]["choice"])
    ['loss', 'n_neighbors', 'n_pcs', 'n_steps', 'weights']
    """
    import numpy as np

    from .. import results, selection
    from ..arguments import resolve_seed
    from ..data import Inputs, read
    from ..data.checks import Offers
    from ..selection.halves import features
    from ..train import kept_threads

    results.check_key(key_added)
    seed = resolve_seed(random_state)
    raw = read(adata, layer=layer, use_rep=use_rep, mask_var=mask_var, offers=Offers(drop_empty=False))
    inputs = Inputs(raw.kind, transform, gene_scaling, None)
    with kept_threads():
        grid = selection.Grid(
            scheme=scheme,
            n_pcs=None if n_pcs is None else np.atleast_1d(n_pcs).tolist(),
            n_neighbors=n_neighbors,
            weights=[weights] if isinstance(weights, str) else weights,
            n_steps=n_steps,
            self_loops=self_loops,
            rule=rule,
            n_splits=n_splits,
        )
        search = selection.choose_neighbors(raw, inputs, grid, seed=seed, progress=progress)
        chosen = Inputs(**{**inputs.config, "n_pcs": search.choice["n_pcs"]})
        x = features(chosen, raw, seed)[1][:, : search.choice["n_pcs"]]
        adata = adata.copy() if copy else adata
        _write(adata, key_added, x, search, seed)
    source = {"layer": layer, "use_rep": use_rep, "mask_var": mask_var if isinstance(mask_var, str | None) else "array"}
    adata.uns[key_added]["search"] |= {**source, "transform": transform, "gene_scaling": gene_scaling}
    adata.uns[key_added]["search"] = {k: v for k, v in adata.uns[key_added]["search"].items() if v is not None}
    return adata if copy else None


def _write(adata: AnnData, key: str, x: np.ndarray, search: object, seed: int) -> None:
    """Neighbours in scanpy's format, and the search that led to them."""
    from anndata import AnnData

    from .. import results

    bare = AnnData(obs=adata.obs[[]].copy(), obsm={f"X_{key}": x})
    k = search.choice["n_neighbors"] + 1  # scanpy counts the cell itself
    results.write_neighbors(bare, k, use_rep=f"X_{key}", random_state=seed, key_added=key)
    adata.obsm[f"X_{key}"] = x
    for name in ("distances", "connectivities"):
        adata.obsp[f"{key}_{name}"] = bare.obsp[f"{key}_{name}"]
    record = {"loss": search.loss, "choice": search.choice, "minimum": search.minimum}
    adata.uns[key] = {**bare.uns[key], **record, "references": search.references, "search": search.params}
