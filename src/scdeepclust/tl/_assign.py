from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from anndata import AnnData

    from ..model import Model


def assign(
    adata: AnnData,
    model: Model | str | os.PathLike,
    *,
    key_added: str = "deepclust",
    device: str | torch.device = "auto",
    copy: bool = False,
) -> AnnData | None:
    """Label new cells with a trained model.

    Genes are matched by name; missing ones are taken as zero, with a warning. Columns of a representation are matched by
    name where they have names (`use_rep="X"`, or a data frame), by position otherwise. Cells of a batch (or of another covariate's
    category) that the model has not seen are taken as they are, uncorrected, with a warning. Nothing is trained.

    Parameters
    ----------
    adata
        New cells, with the same kind of values in the same place (`X`, layer or `obsm` key) as in training.
    model
        A trained :class:`scdeepclust.Model`, or the folder of a saved one.
    key_added
        Under which name results are stored.
    device
        Where a saved model is loaded to, as in :func:`scdeepclust.tl.deepclust`; one in memory stays where it is.
    copy
        Whether to return a changed copy instead of changing `adata`.

    Returns
    -------
    `None`, or the copy. Sets:

    `adata.obs[key_added]` : :class:`pandas.Series` (dtype ``category``)
        Clusters, named as in training.
    `adata.obs[key_added + "_confidence"]` : :class:`pandas.Series` (dtype ``float32``)
        Membership in that cluster, 0 to 1.
    `adata.obsm["X_" + key_added]` : :class:`numpy.ndarray` (float32)
        Embedding, cells x `n_latent`.
    `adata.obsm[key_added + "_proba"]` : :class:`pandas.DataFrame`
        Memberships, cells x clusters, rows sum to one.
    `adata.uns[key_added]` : :class:`dict`
        Parameters, history and versions of the model, and cluster sizes here.

    Raises
    ------
    KeyError
        The cells lack a layer or key that the model reads.
    TypeError
        `model` is neither a model nor a path.
    ValueError
        Gene names repeat, fewer than half of the model's genes are there, cells have none of them (also where training left
        such cells out), or values are of another kind.
    FileNotFoundError
        There is no such folder.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=400, n_vars=100, n_types=3)
    >>> model = sdc.Model(adata[:300], n_clusters=3)
    >>> model.train(progress=False)
    >>> new = adata[300:].copy()
    >>> sdc.tl.assign(new, model)
    >>> bool((new.obs["deepclust_confidence"] > 0).all())
    True
    """
    from .. import results
    from ..data.checks import check_anndata
    from ..model import Model

    check_anndata(adata)
    if not isinstance(model, Model | str | os.PathLike):
        msg = (
            f"model must be a trained sdc.Model or the folder of a saved one, not {type(model).__name__}; the order is "
            "sdc.tl.assign(new_cells, model)."
        )
        raise TypeError(msg)
    model = model if isinstance(model, Model) else Model.load(model, device=device)
    results.check_key(key_added, reads=results.read_by(model))
    found = results.of(model, adata)
    adata = adata.copy() if copy else adata
    results.write(adata, key_added, **found)
    adata.obs[f"{key_added}_confidence"] = found["memberships"].max(1)
    return adata if copy else None
