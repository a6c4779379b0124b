"""What the data choose themselves, by predicting a part of them that was held out; no label is ever seen."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "among": ["choose_partition"],
        "grid": ["Grid"],
        "joining": ["Rules"],
        "neighbors": ["choose_neighbors", "local_neighbors"],
        "partitions": ["partition_losses"],
        "n_clusters": ["choose_n_clusters"],
    },
)
