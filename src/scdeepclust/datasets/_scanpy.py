"""Data sets that scanpy brings along or downloads, in the form of all others."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData

PBMC68K = {
    "X": "log1p of counts normalised to 10,000 a cell over all genes; 765 genes kept",
    "citation": "Zheng GXY et al., Nat Commun 8:14049 (2017), doi:10.1038/ncomms14049, fresh 68k PBMC",
    "licence": "BSD-3-Clause (scanpy); 10x data CC BY 4.0",
    "notes": "cell_type = bulk_labels: correlation to bulk profiles of purified cells, noisy.",
    "repo": "scanpy.datasets.pbmc68k_reduced",
}
PAUL15 = {
    "X": "counts, not logarithmised",
    "citation": "Paul F et al., Cell 163:1663-1677 (2015), doi:10.1016/j.cell.2015.11.013, GEO GSE72857",
    "notes": "cell_type = paul15_clusters, the clusters of the paper, made from this expression matrix.",
    "repo": "scanpy.datasets.paul15",
}
PBMC3K = {
    "X": "raw integer counts",
    "citation": "10x Genomics PBMC 3k (2016); Zheng GXY et al., Nat Commun 8:14049 (2017), doi:10.1038/ncomms14049",
    "licence": "10x data CC BY 4.0",
    "notes": "cell_type = annotated louvain clusters of the scanpy tutorial, so they favour louvain and leiden.",
    "repo": "scanpy.datasets.pbmc3k and pbmc3k_processed",
}
KRUMSIEK11 = {
    "X": "simulated continuous expression, 4 branches",
    "citation": "Krumsiek J et al., PLoS ONE 6:e22649 (2011), doi:10.1371/journal.pone.0022649",
    "licence": "BSD-3-Clause (scanpy)",
    "notes": "Simulated myeloid network of 11 genes.",
    "repo": "scanpy.datasets.krumsiek11",
}


def pbmc68k() -> AnnData:
    """Take the log-normalised raw matrix of scanpy's small PBMC set."""
    import scanpy as sc

    found = sc.datasets.pbmc68k_reduced()
    obs = {"cell_type": found.obs["bulk_labels"], "louvain": found.obs["louvain"], "phase": found.obs["phase"]}
    return _clean(found.raw.X, found.obs_names, found.raw.var_names, obs, PBMC68K)


def paul15() -> AnnData:
    """Download the myeloid progenitors."""
    import scanpy as sc

    found = sc.datasets.paul15()
    clusters = found.obs["paul15_clusters"]
    obs = {"cell_type": clusters, "paul15_clusters": clusters}
    return _clean(found.X, found.obs_names, found.var_names, obs, PAUL15, iroot=int(found.uns["iroot"]))


def pbmc3k() -> AnnData:
    """Download the counts and the labels of the tutorial, joined by barcode."""
    import scanpy as sc

    labels = sc.datasets.pbmc3k_processed().obs["louvain"]
    found = sc.datasets.pbmc3k()[labels.index]
    return _clean(found.X, found.obs_names, found.var_names, {"cell_type": labels}, PBMC3K)


def krumsiek11() -> AnnData:
    """Take the simulated myeloid network from scanpy's wheel."""
    import scanpy as sc

    with warnings.catch_warnings():
        # scanpy's table repeats its cell names; ours are renumbered
        warnings.filterwarnings("ignore", message="Observation names are not unique", category=UserWarning)
        found = sc.datasets.krumsiek11()
    cells = [f"cell{i}" for i in range(found.n_obs)]
    obs = {"cell_type": found.obs["cell_type"].array}
    return _clean(found.X, cells, found.var_names, obs, KRUMSIEK11, iroot=int(found.uns["iroot"]))


def _clean(x: Any, cells: Any, genes: Any, obs: dict[str, Any], source: dict[str, Any], **uns: Any) -> AnnData:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    index = pd.Index(list(cells))
    columns = {key: pd.Categorical(value) for key, value in obs.items()}
    x = csr_matrix(x, dtype=np.float32)
    return AnnData(
        X=x,
        obs=pd.DataFrame(columns, index=index),
        var=pd.DataFrame(index=pd.Index(list(genes))),
        uns={"source": {**source, "raw_counts": not (x.data % 1).any()}, **uns},
    )


FETCH = {
    "paul15": (paul15, "scanpy downloads it"),
    "pbmc3k": (pbmc3k, "scanpy downloads it"),
    "krumsiek11": (krumsiek11, "scanpy has it in its wheel"),
}
