"""scvi-tools' SCVI with its defaults on the counts, then k-means, or Leiden at resolution 1 on scanpy's graph, of its latent."""

from __future__ import annotations

import warnings

import anndata as ad
import scanpy as sc
import scvi
import torch
from exchange import serve
from scipy import sparse
from sklearn.cluster import KMeans


def fit(_job, x, n_clusters, seed, *, short):
    warnings.simplefilter("ignore")
    scvi.settings.seed = seed
    adata = ad.AnnData(sparse.csr_matrix(x))
    adata = adata[:, adata.X.sum(0).A1 > 0].copy() if short else adata
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata)
    model.train(enable_progress_bar=False, **({"max_epochs": 1} if short else {}))
    adata.obsm["X_scVI"] = model.get_latent_representation()

    def leiden():
        sc.pp.neighbors(adata, use_rep="X_scVI", random_state=seed)
        sc.tl.leiden(adata, 1.0, random_state=seed, flavor="igraph", n_iterations=2, directed=False)
        return adata.obs["leiden"].astype(str).to_numpy()

    def k_means():
        return KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(adata.obsm["X_scVI"])

    return {"scvi_tools_kmeans": k_means, "scvi_tools_leiden": leiden}


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(fit, on_gpu=torch.cuda.is_available())
