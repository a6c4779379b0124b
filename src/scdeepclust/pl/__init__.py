"""Plots: what was chosen by self-supervision and why, and genes before and after denoising."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"_denoise": ["denoise"], "_n_clusters": ["n_clusters"], "_gene_pairs": ["gene_pairs"]},
)
