"""scDeepCluster = denoising autoencoder x ZINB x assignment hardening x pretrain, then both together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from .idec import IDEC


@dataclass(frozen=True, kw_only=True)
class SCDeepCluster(IDEC):
    """The scDeepCluster form of IDEC: genes in with noise, counts out by a zero-inflated negative binomial.

    For counts, where technical zeros are in question; much slower than :class:`IDEC` on principal components.

    Tian, Wan, Song, Wei, Nature Machine Intelligence 1:191-198, 2019, doi 10.1038/s42256-019-0037-0. Networks, noise,
    likelihood and weights are the paper's; noise is added to the input only (the authors' PyTorch form, not the Keras
    form's every layer), the weight acts once (their PyTorch code applies it twice), dispersion is one number a gene
    instead of one a gene and cell, z-scores are clipped, Adam trains both stages, and pretraining is at most 1,000
    minibatches with early stopping, where the authors take hundreds of epochs.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, "scdeepcluster", n_clusters=3, pretrain_steps=20, cluster_steps=20, progress=False)
    >>> adata.obsm["X_deepclust"].shape
    (300, 32)
    """

    transform: Literal["sqrt", "log1p"] = "log1p"
    gene_scaling: Annotated[float, Ge(0), Le(1)] = 1.0
    n_pcs: Annotated[int, Ge(2)] | None = None
    likelihood: Literal["mse", "nb", "zinb"] = "zinb"
    n_latent: Annotated[int, Ge(1)] = 32
    noise: Annotated[float, Ge(0)] = 2.5
    n_diffusion: Annotated[int, Ge(0)] = 0
    n_init: Annotated[int, Ge(1)] = 20
    weight: Annotated[float, Ge(0)] = 1.0
    frequency_power: Annotated[float, Ge(0)] = 1.0
    partition_weight: Annotated[float, Ge(0)] = 0.0
