"""What the package says of itself: its public names for api.md, and tables of its methods for methods.md."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.util.docutils import SphinxDirective

import scdeepclust
from scdeepclust.methods import registry

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

AREAS = ("tl", "pp", "pl", "methods", "metrics", "datasets", "diffusion")


def first_line(thing: object) -> str:
    """First line of a docstring."""
    return inspect.getdoc(thing).splitlines()[0]


def api() -> str:
    """Summaries of all public names, area by area, for autosummary to fill."""
    lines = []
    for area in (a for a in AREAS if a in scdeepclust.__all__):
        module = importlib.import_module(f"scdeepclust.{area}")
        lines += [f"## `sdc.{area}`", "", first_line(module), "", "```{eval-rst}"]
        lines += [f".. currentmodule:: scdeepclust.{area}", "", ".. autosummary::", "   :toctree: generated", ""]
        lines += [f"   {name}" for name in module.__all__]
        lines += ["```", ""]
    return "\n".join(lines)


def documented(method: type) -> dict[str, str]:
    """What the docstrings of a method and its bases say of each parameter."""
    said: dict[str, str] = {}
    for cls in reversed(method.__mro__):
        _, _, block = (inspect.cleandoc(cls.__dict__.get("__doc__") or "")).partition("\nParameters\n----------\n")
        for name, text in re.findall(r"^(\w+)\n((?:[ ]+.*\n?)+)", block, re.MULTILINE):
            said[name] = " ".join(text.split())
    return said


def parameters(method: type) -> list[str]:
    """A table of a method's parameters, with their defaults."""
    said = documented(method)
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 20 15 65", ""]
    lines += ["   * - parameter", "     - default", "     - meaning"]
    for field in fields(method):
        meaning = said.get(field.name, "").replace("`", "``").replace("````", "``")
        meaning = re.sub(r":(\w+):``(.*?)``", r":\1:`\2`", meaning)
        lines += [f"   * - ``{field.name}``", f"     - ``{field.default!r}``", f"     - {meaning}"]
    return [*lines, ""]


class Methods(SphinxDirective):
    """`.. methods::` is the table of methods, `.. methods:: parameters` the parameters of each."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the lines made from the registry."""
        lines = [".. currentmodule:: scdeepclust.methods", ""]
        lines += self.each() if self.arguments else self.table()
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)

    def table(self) -> list[str]:
        """One row a method: what `method=` takes, its place in the taxonomy, its summary."""
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 20 40 40", ""]
        lines += ["   * - ``method=``", "     - place", "     - summary"]
        for name, method in registry().items():
            place = first_line(inspect.getmodule(method)).partition(" = ")[2] or first_line(inspect.getmodule(method))
            lines += [
                f'   * - :class:`"{name}" <{method.__name__}>`',
                f"     - {place}",
                f"     - {first_line(method)}",
            ]
        return lines

    def each(self) -> list[str]:
        """A rubric and a table of parameters for each method."""
        return [
            line
            for name, method in registry().items()
            for line in [f'.. rubric:: {method.__name__}: ``method="{name}"``', "", *parameters(method)]
        ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Write _api.md before autosummary looks for it, and add the directive."""
    (Path(app.srcdir) / "_api.md").write_text(api(), encoding="utf-8")
    app.add_directive("methods", Methods)
    return {"parallel_read_safe": True}
