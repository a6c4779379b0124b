"""Clusters of a representation that is there already, by libraries; arrays in, arrays out, loaded on first use."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"algorithms": ["Found", "find", "joined"]})
