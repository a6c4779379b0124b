"""Tools: cluster cells, choose their number, find lineages, label new cells, test what clusters hold."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_deepclust": ["deepclust"],
        "_assign": ["assign"],
        "_enrichment": ["enrichment"],
        "_lineage": ["lineage"],
        "_n_clusters": ["n_clusters", "recut"],
        "_partition_loss": ["partition_loss"],
        "_tune": ["tune"],
    },
)
