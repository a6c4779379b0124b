"""Views of a cell: what differs between them is noise, and a network that cannot tell them apart has learned the rest."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "labels": ["SameLabel"],
        "masking": ["kept_genes", "kept_of"],
        "mixing": ["mix"],
        "neighbors": ["chance", "draw", "mutual"],
        "noise": ["add_noise"],
        "thinning": ["thin"],
    },
)
