"""Plots: clusters, what was chosen by self-supervision and why, genes before and after denoising, and lineages."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_denoise": ["denoise"],
        "_enrichment": ["enrichment"],
        "_heads": ["heads"],
        "_history": ["history"],
        "_n_clusters": ["n_clusters"],
        "_gene_pairs": ["gene_pairs"],
        "_lineage": ["lineage"],
        "_trends": ["trends"],
        "_umap": ["umap"],
    },
)
