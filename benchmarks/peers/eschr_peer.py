"""eschr's consensus of 150 clusterings with its defaults; it chooses the number of clusters itself.

It wants values preprocessed as suits them. Its tutorial of single cells uses scanpy's recipe of Zheng et al. 2017
(https://eschr.readthedocs.io), whose steps are here: counts to the same total, log1p, z-scores; its choice of genes is left
out, since genes have been chosen. One process does everything, so that its seconds are those of all 150 members. The
optimiser of the consensus has no seed, so a seed need not repeat a run to the last cell.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc
from eschr.tl import clustering
from exchange import serve

drawn = clustering.get_subsamp_size
# A member that draws every cell ends eschr 1.0.1 with an error, and one of 150 often does where cells are few.
clustering.get_subsamp_size = lambda n_obs: min(drawn(n_obs), n_obs - 1)


def fit(job, x, _n_clusters, seed, *, short):
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - eschr draws from this generator
    adata = ad.AnnData(x.copy())
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    sc.pp.scale(adata)
    options = {"ensemble_size": 3} if short else {}
    with tempfile.TemporaryDirectory() as folder:
        clustering.consensus_cluster(adata, str(Path(folder) / "cells.zarr"), nprocs=1, **options)
    return {job: adata.obs["hard_clusters"].to_numpy}


if __name__ == "__main__":
    serve(fit)
