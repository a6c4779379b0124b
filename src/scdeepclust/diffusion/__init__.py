"""Nearest neighbours, averages over them, and clusters found on them; arrays (or tensors) in and out, loaded on first use."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "centres": ["means", "nearest_mean"],
        "clusters": ["ClusterSums", "average_within", "cluster_sums", "wak"],
        "graph": ["average", "average_over", "connectivities", "umap_weights"],
        "kmeans": ["fewer_allowed"],
        "markov": [
            "SCALE",
            "WEIGHTS",
            "affinities",
            "diffuse",
            "diffused_columns",
            "honest_power",
            "kernel",
            "normalized",
            "within",
        ],
        "noise2self": ["loss_of_each", "loss_of_kernel", "loss_of_mean"],
        "partition": [
            "MOST_CELLS",
            "additive",
            "communities",
            "communities_at",
            "communities_of",
            "starting_centres",
        ],
        "search": ["neighbors"],
        "splitting": ["rotation", "split_columns", "thin"],
        "tensors": ["average_of", "neighbors_of"],
    },
)
