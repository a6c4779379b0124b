"""Agreement with known labels, and how well a space keeps cells of one label together."""

from __future__ import annotations

from .agreement import ami, ari, nmi
from .matching import accuracy, macro_f1, match_labels
from .structure import knn_purity, silhouette
from .table import confusion, scores

__all__ = [
    "accuracy",
    "ami",
    "ari",
    "confusion",
    "knn_purity",
    "macro_f1",
    "match_labels",
    "nmi",
    "scores",
    "silhouette",
]
