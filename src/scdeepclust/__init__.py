"""Deep clustering of single cells: one scanpy-style call over every family of methods.

Importing the package loads neither torch nor scanpy; each part is loaded when it is first used.
"""

from __future__ import annotations

from importlib.metadata import version

import lazy_loader

__version__ = version("scdeepclust")

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["datasets", "methods", "metrics", "pl", "pp", "tl"],
    submod_attrs={"model": ["Model"]},
)
__all__ += ["__version__"]
