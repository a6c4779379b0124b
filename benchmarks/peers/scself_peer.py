"""The graph that scself chooses with its defaults, and Leiden at resolution 1 on it.

scself has no clustering of its own. `noise2self` reads counts, chooses principal components and, cell by cell,
neighbours, by how well these predict a cell; its graph holds distances, so edges weigh the inverse, as in its
`denoise_data`, whichever of the two cells has the other as a neighbour.
"""

from __future__ import annotations

import anndata as ad
import scanpy as sc
import scself
from exchange import serve
from scipy import sparse


def fit(job, x, _n_clusters, seed, *, short):
    options = {"neighbors": [15, 25], "npcs": [5, 15]} if short else {}
    near = scself.noise2self(sparse.csr_matrix(x), random_state=seed, **options)[0]
    near.data = 1 / near.data
    adata = ad.AnnData(sparse.csr_matrix(x))

    def leiden():
        sc.tl.leiden(
            adata, adjacency=near.maximum(near.T), random_state=seed, flavor="igraph", n_iterations=2, directed=False
        )
        return adata.obs["leiden"].to_numpy()

    return {job: leiden}


if __name__ == "__main__":
    serve(fit)
