"""Configuration of Sphinx. `make docs` builds; no network is needed."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from importlib.metadata import metadata
from pathlib import Path

here = Path(__file__).parent
sys.path.insert(0, str(here / "extensions"))

# sphinx-autodoc-typehints with Sphinx 9
warnings.filterwarnings("ignore", message=".*set_application' is deprecated")

info = metadata("scdeepclust")
project = info["Name"]
author = info["Author"]
project_copyright = f"2026, {author}"
version = release = info["Version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",  # after napoleon
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
    "house",
    "tables",
]

# _api.md is written by the extension `house` and included by api.md.
autosummary_generate = ["api.md", "_api.md"]
# method/ holds the hand-written parts of pages that `house` makes.
exclude_patterns = ["_api.md", "_build", "extensions", "jupyter_execute", "method", "**.ipynb_checkpoints"]
templates_path = ["_templates"]
default_role = "literal"

autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
typehints_defaults = "braces"
always_use_bars_union = True

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Tutorials are run when the pages are built, and again when they or the package have changed.
nb_execution_mode = "cache"
package = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(here.parent.glob("src/**/*.py"))))
nb_execution_cache_path = str(here / "_build" / "tutorials" / package.hexdigest()[:16])
nb_execution_raise_on_error = True
nb_execution_timeout = 1200
nb_output_stderr = "remove"  # progress bars and logs, which differ between machines
suppress_warnings = ["sphinx_autodoc_typehints.forward_reference", "sphinx_autodoc_typehints.guarded_import"]

# Links to other projects' pages need the network: on Read the Docs, or if asked for.
if os.environ.get("READTHEDOCS") == "True" or os.environ.get("SCDEEPCLUST_DOCS_INTERSPHINX"):
    intersphinx_mapping = {
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/docs/", None),
        "python": ("https://docs.python.org/3", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
        "scipy": ("https://docs.scipy.org/doc/scipy/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {"navigation_with_keys": False, "navbar_persistent": []}
