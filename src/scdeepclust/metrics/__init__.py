"""Agreement with known labels, how well a space keeps cells of one label together, and what it keeps of a lineage."""

from __future__ import annotations

from .agreement import ami, ari, nmi
from .lineage import edge_agreement, lineage_preservation, pseudotime_agreement
from .matching import accuracy, macro_f1, match_labels
from .structure import effective_rank, knn_purity, silhouette
from .table import confusion, scores

__all__ = [
    "accuracy",
    "ami",
    "ari",
    "confusion",
    "edge_agreement",
    "effective_rank",
    "knn_purity",
    "lineage_preservation",
    "macro_f1",
    "match_labels",
    "nmi",
    "pseudotime_agreement",
    "scores",
    "silhouette",
]
