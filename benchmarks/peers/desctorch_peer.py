"""DESC in its authors' port to PyTorch; it chooses the number of clusters itself, by Louvain at a resolution.

It reads what DESC's tutorial gives it (https://eleozzr.github.io/desc/tutorial.html): counts to a total of 10,000, log1p,
z-scores clipped at 3. The resolution is the tutorial's, 0.8; all else are the defaults of `train`, layers by the number of
cells among them. `train` does not pass its seed on, so this calls what `train` calls. Each fit has a folder of its own,
where `train` would find the autoencoder of the fit before and go on from that.
"""

from __future__ import annotations

import tempfile

import anndata as ad
import scanpy as sc
import torch
from DESCtorch.desc import train_single
from exchange import serve

# The resolution, and what `train` gives `train_single` instead of that one's defaults.
GIVEN = {"louvain_resolution": 0.8, "n_neighbors": 10, "epochs_fit": 5, "use_GPU": False}


def fit(job, x, _n_clusters, seed, *, short):
    adata = ad.AnnData(x.copy())
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.scale(adata, zero_center=True, max_value=3)
    options = {"pretrain_epochs": 2} if short else {}
    with tempfile.TemporaryDirectory() as folder:
        train_single(adata, save_dir=folder, random_seed=seed, **GIVEN, **options)
    return {job: adata.obs["desc_0.8"].to_numpy}


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(fit)
