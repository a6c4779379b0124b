"""The methods, as classes with their parameters; `registry()` lists them by name.

Each is a file of its own, found by looking and named nowhere else. Loading them needs no torch.
"""

from __future__ import annotations

import importlib
import pkgutil

from .base import Method, get, registry

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

globals().update({method.__name__: method for method in registry().values()})

__all__ = ["Method", "get", "registry", *sorted(method.__name__ for method in registry().values())]
