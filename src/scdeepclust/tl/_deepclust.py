from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy as np
    import torch
    from anndata import AnnData

    from ..methods import Method


def deepclust(
    adata: AnnData,
    method: str | Method = "idec",
    *,
    n_clusters: int | None = None,
    min_signal: float | None = None,
    join_shifted: bool = True,
    layer: str | None = None,
    use_rep: str | None = None,
    batch_key: str | None = None,
    categorical_covariate_keys: Sequence[str] | None = None,
    mask_var: str | Sequence[bool] | np.ndarray | None = "auto",
    drop_empty: bool = False,
    key_added: str = "deepclust",
    denoised_layer: str | None = None,
    random_state: int | np.random.Generator | None = 0,
    device: str | torch.device = "auto",
    batch_size: int | None = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
    init: Any = None,
    copy: bool = False,
    **params: Any,
) -> AnnData | None:
    """Cluster cells with a deep method.

    Give it counts (in `X` or a layer): they are normalised, reduced and clustered by a neural network that learns an
    embedding and the clusters together. Log-normalised values serve too, and any representation through `use_rep`.
    Values that are z-scored must be named by `use_rep="X"`, because they are neither.

    Parameters
    ----------
    adata
        Cells x genes; CSR, CSC or dense, integers or floats.
    method
        Name of a method (see :func:`scdeepclust.methods.registry`) or a method object.
    n_clusters
        Number of clusters. None takes the resolution that the data support: as many as differ by reproducible signal,
        as :func:`scdeepclust.tl.n_clusters` finds them, from which the deep method then starts. On continua it is a
        resolution, not a number of cell types.
    min_signal
        Share of the reproducible signal by which two clusters must differ, where the data choose their number: with a
        lower one than that of :func:`scdeepclust.tl.n_clusters`, which None takes, more and rarer clusters are kept.
    join_shifted
        Whether clusters that one and the same shift tells apart in three or more kinds of cells, as a batch or a treatment
        does, are joined, where the data choose the number (see :func:`scdeepclust.tl.n_clusters`).
    layer
        Layer with counts or log-normalised values; `X` if None.
    use_rep
        Key of `obsm` with a representation to cluster instead (PCs, a latent of scvi-tools, protein levels), or
        `"X"` to take the values of `X` without normalising them.
    batch_key
        Column of `obs` with batches that clusters should not depend on. Principal components, or the representation, are
        shifted so that batches mix within types (as Harmony does), and a decoder is told the batch, so that the embedding
        need not carry it; where a network reads genes, only the decoder is told. A batch that is confounded with types
        cannot be told from them.
    categorical_covariate_keys
        More such columns of `obs`, such as the donor.
    mask_var
        Column of `var`, or booleans, with the genes to use. `"auto"` takes `var["highly_variable"]` where it exists,
        else the 2,000 most variable genes (by scanpy: Seurat v3 on counts, Seurat on log-normalised values) of more than that; None takes all.
    drop_empty
        Whether cells without counts are left without a label, and genes without counts left out; otherwise both are
        errors.
    key_added
        Under which name results are stored.
    denoised_layer
        Name of a layer for denoised expression, from methods that predict it (:meth:`scdeepclust.Model.denoise`); genes
        that were not used, and cells that were left out, are NaN there. None makes none.
    random_state
        Seed. The same seed, version, device and number of threads give the same labels; the global random state is
        not touched.
    device
        `"auto"` takes a GPU where there is one, else the CPU.
    batch_size
        Cells in a minibatch; None takes 256, and 1,024 from 20,000 cells on.
    checkpoint
        File written after every epoch, from which the same call goes on when it was interrupted.
    progress
        Whether to show a progress bar on standard error.
    init
        A trained model to start from, where the method can: a `scvi.model.SCVI` of the same genes for `method="vade"`.
    copy
        Whether to return a changed copy instead of changing `adata`.
    **params
        Parameters of the method, such as `n_latent`; see its docstring.

    Returns
    -------
    `None`, or the copy. Sets:

    `adata.obs[key_added]` : :class:`pandas.Series` (dtype ``category``)
        Clusters `"0"`, `"1"`, ..., the largest first; `"noise"` of `cluster="hdbscan"` for cells that belong to none.
    `adata.obsm["X_" + key_added]` : :class:`numpy.ndarray` (float32)
        Learned embedding, cells x `n_latent`.
    `adata.obsm["X_" + key_added + "_before"]` : :class:`numpy.ndarray` (float32)
        The same before the clustering stage, of methods whose clustering stage pulls clusters apart: better for lineages and
        pseudotime.
    `adata.obsm[key_added + "_proba"]` : :class:`pandas.DataFrame`
        Memberships, cells x clusters, rows sum to one.
    `adata.obsm[key_added + "_heads"]` : :class:`pandas.DataFrame` (``category``)
        Clusters by each head, cells x heads, of a method that has several.
    `adata.layers[denoised_layer]` : :class:`numpy.ndarray` (float32)
        Denoised, log-normalised expression, where it is asked for.
    `adata.uns[key_added]` : :class:`dict`
        `params` (all parameters, those of the method and `random_state` included), `n_clusters` (a :class:`dict` with the
        number, and how it was chosen: as :func:`scdeepclust.tl.n_clusters` records it, without the curve), `sizes` of the
        clusters, `history` (a row an epoch, a column for each term of the loss), `preservation` of lineages after training and,
        where a stage pulls clusters apart, before it (see :func:`scdeepclust.metrics.lineage_preservation`; a loss of more than
        0.1 is warned of),
        `input` (what was read, and `batch_share`, the share of the features' variance that correcting batches took), `seconds`,
        `versions`, `interrupted` where Ctrl-C ended training, and what the method says of itself, such as `held_out` (its loss of
        what it has not seen) or `effective_rank`.

    Raises
    ------
    KeyError
        A layer, obsm, obs or var key does not exist.
    TypeError
        A parameter is unknown, or the matrix is not in memory.
    ValueError
        Values or parameters that cannot serve, or results would overwrite what is read; the message says what to do.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, n_clusters=3, progress=False)
    >>> adata.obs["deepclust"].cat.categories.to_list()
    ['0', '1', '2']
    """
    from .. import results
    from ..model import Model

    if n_clusters is not None:
        params["n_clusters"] = n_clusters
    model = Model(
        adata,
        method,
        layer=layer,
        use_rep=use_rep,
        batch_key=batch_key,
        categorical_covariate_keys=categorical_covariate_keys,
        mask_var=mask_var,
        drop_empty=drop_empty,
        random_state=random_state,
        device=device,
        min_signal=min_signal,
        join_shifted=join_shifted,
        init=init,
        **params,
    )
    results.check_key(key_added, reads=results.read_by(model))
    results.check_denoised_layer(denoised_layer, model, adata)
    model.train(batch_size=batch_size, checkpoint=checkpoint, progress=progress)
    adata = adata.copy() if copy else adata
    results.write_trained(adata, key_added, model, denoised_layer=denoised_layer)
    return adata if copy else None
