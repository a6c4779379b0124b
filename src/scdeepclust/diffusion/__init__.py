"""Nearest neighbours, averages over them, and clusters found on them; arrays in, arrays out, loaded on first use."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clusters": ["ClusterSums", "average_within", "cluster_sums", "wak"],
        "graph": ["EXACT_UP_TO", "average", "average_over", "connectivities", "into_scanpy", "neighbors"],
        "kernel": [
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
        "partition": ["additive", "centers", "communities", "communities_at", "fewer_allowed", "means", "nearest_to"],
        "splitting": ["rotation", "split_columns", "thin"],
    },
)
