"""Preprocessing: neighbours chosen by self-supervision, and denoising with them."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"_neighbors": ["neighbors"], "_denoise": ["denoise"]}
)
