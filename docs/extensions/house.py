"""What the package says of itself: its public names for api.md, tables of its methods, and a page for each of them."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shutil
from dataclasses import fields
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import scdeepclust
from scdeepclust.methods import registry
from scdeepclust.options import documented

if TYPE_CHECKING:
    from sphinx.application import Sphinx

AREAS = ("tl", "pp", "pl", "methods", "metrics", "datasets")
DOCS = Path(__file__).parents[1]
RESULTS = DOCS.parent / "benchmarks" / "results"
MEASURED = RESULTS / "clustering.md"
REPRESENTATIONS = RESULTS / "representations.md"
MEANS = """
The number of clusters was given, but for rows that end in ``_auto``, where the data chose it, those with ``leiden`` in their name, which
have a resolution, and ``eschr`` and ``desctorch``, which choose it themselves. Means over ten labelled count sets
and five seeds; seconds of one thread from counts to clusters; peak memory of the process. From
``benchmarks/results/clustering.md``; :doc:`/benchmarks` has each set.
"""
APART = """
The number of clusters was given. Means over ten labelled count sets; ``lineage`` is what the embedding keeps of neighbourhoods, 1 being
all. From ``benchmarks/results/representations.md``; :doc:`/benchmarks` has each set, other forms, and the seeds.
"""
NAMED_THERE = {"contrastive": "graph", "none": "PCA"}  # rows whose name is not that of the method
TOLD = "told"  # what napoleon takes for the type of what is returned, where that is told in sentences
PAGES = "generated/methods"  # one each, made anew by every build
PAGE = """# {title}

`sdc.tl.deepclust(adata, "{name}")` · {place} · {{class}}`scdeepclust.methods.{method}`

## Idea, source, and what differs

```{{eval-rst}}
.. methods:: about {name}
```

```{{eval-rst}}
.. methods:: example {name}
```

{by_hand}
## Measured

```{{eval-rst}}
.. methods:: measured {name}
```

## Parameters

Keywords of {{func}}`scdeepclust.tl.deepclust` and {{class}}`scdeepclust.Model`, and options on the command line.

```{{eval-rst}}
.. methods:: parameters {name}
```

## Code

:::{{dropdown}} {file}
```{{literalinclude}} {code}
:language: python
```
:::
"""


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


def place(method: type) -> str:
    """Network x representation loss x clustering loss x schedule, as the method's file says on its first line."""
    line = first_line(inspect.getmodule(method))
    return (line.partition(" = ")[2] or line).replace(" x ", " × ").removesuffix(".")


def about(method: type) -> list[str]:
    """A method's docstring before its first section."""
    return re.split(r"\n\w+\n-{3,}\n", inspect.getdoc(method) or "")[0].splitlines()


def example(method: type) -> list[str]:
    """What a method's docstring shows of its use."""
    _, found, text = (inspect.getdoc(method) or "").partition("\nExamples\n--------\n")
    return text.splitlines() if found else []


def rows_of(table: str) -> dict[str, dict[str, str]]:
    """A rendered table, by the names of its rows."""
    (_, *columns), _, *rows = ([cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines())
    return {name: dict(zip(columns, values, strict=True)) for name, *values in rows}


def scores() -> dict[str, dict[str, str]]:
    """The last table of the rendered benchmark: means over the labelled count sets, by method."""
    return rows_of(MEASURED.read_text(encoding="utf-8").strip().split("\n\n")[-1])


def scores_apart() -> dict[str, dict[str, str]]:
    """Means of the representations, with the number of clusters given: the first table that has no data sets."""
    tables = REPRESENTATIONS.read_text(encoding="utf-8").strip().split("\n\n")
    return rows_of(next(table for table in tables if table.startswith("|  | ARI |")))


def page(name: str, method: type) -> str:
    """A method's page: what its code says of it, and between that what was written by hand, if anything was."""
    code = os.path.relpath(inspect.getfile(method), DOCS / PAGES)
    file = os.path.relpath(inspect.getfile(method), DOCS.parent)
    by_hand = f"```{{include}} ../../method/{name}.md\n```\n" if (DOCS / "method" / f"{name}.md").exists() else ""
    title = method.__name__ if method.__name__.lower() == name else name
    names = {"name": name, "title": title, "method": method.__name__, "place": place(method)}
    return PAGE.format(**names, code=code, file=file, by_hand=by_hand)


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
    """Tables made from the registry.

    `.. methods::` is the table of methods and `.. methods:: measured` their scores; a name after that is for this method alone.
    `.. methods:: about NAME`, `.. methods:: example NAME` and `.. methods:: parameters NAME` are its docstring.
    """

    optional_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Parse the lines made from the registry."""
        found = {name: registry()[name] for name in self.arguments[1:]} or registry()
        known = {"about": self.about, "example": self.example, "parameters": self.parameters, "measured": self.measured}
        make = known[self.arguments[0]] if self.arguments else self.table
        self.env.note_dependency(str(MEASURED))
        self.env.note_dependency(str(REPRESENTATIONS))
        lines = [".. currentmodule:: scdeepclust.methods", "", *make(found)]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)

    def table(self, methods: dict[str, type]) -> list[str]:
        """One row a method: what `method=` takes, its place in the taxonomy, its summary."""
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 20 40 40", ""]
        lines += ["   * - ``method=``", "     - place", "     - summary"]
        for name, method in methods.items():
            lines += [f"   * - :doc:`{name} </{PAGES}/{name}>`", f"     - {place(method)}"]
            lines += [f"     - {first_line(method)}"]
        return lines

    def about(self, methods: dict[str, type]) -> list[str]:
        """What the docstring says."""
        return [line for method in methods.values() for line in about(method)]

    def example(self, methods: dict[str, type]) -> list[str]:
        """What the docstring shows."""
        return [line for method in methods.values() for line in example(method)]

    def parameters(self, methods: dict[str, type]) -> list[str]:
        """What a method takes."""
        return [line for method in methods.values() for line in parameters(method)]

    def measured(self, methods: dict[str, type]) -> list[str]:
        """Means over the labelled count sets, the highest agreement first; baselines where all methods are asked for."""
        there = scores()
        baselines = there.keys() - registry().keys() if len(methods) > 1 else set()
        columns = {"ARI": "ARI", "NMI": "NMI", "macro_F1": "macro F1", "seconds": "seconds", "peak_mb": "MB"}
        lines = self.ranked(
            {name: there[name] for name in there if name in methods or name in baselines}, columns, MEANS
        )
        apart = {name: scores_apart().get(NAMED_THERE.get(name, name)) for name in methods if name not in there}
        found = dict(sorted(((n, s) for n, s in apart.items() if s), key=lambda pair: -float(pair[1]["ARI"])))
        columns = {"ARI": "ARI", "NMI": "NMI", "lineage": "lineage", "seconds": "seconds"}
        lines += self.ranked(found, columns, APART)
        elsewhere = [f":doc:`{name} </{PAGES}/{name}>`" for name in apart if name not in found]
        if elsewhere:
            who = ", ".join(elsewhere) if len(methods) > 1 else "this method"
            lines += [f"What was measured of {who} is in tables of its own: :doc:`/benchmarks`."]
        return lines

    def ranked(self, rows: dict[str, dict[str, str]], columns: dict[str, str], said: str) -> list[str]:
        """A table of scores with links to methods, and what to know of it; nothing without rows."""
        if not rows:
            return []
        lines = [".. list-table::", "   :header-rows: 1", ""]
        lines += ["   * - ``method=``", *(f"     - {title}" for title in columns.values())]
        for name, row in rows.items():
            shown = f":doc:`{name} </{PAGES}/{name}>`" if name in registry() else f"``{name}``"
            lines += [f"   * - {shown}", *(f"     - {row[c]}" for c in columns)]
        return [*lines, "", *said.splitlines(), ""]


def keep_sentences(*heard: Any) -> None:
    """What a function returns, told in sentences, is one paragraph; napoleon would make items of its lines and colons."""
    lines = heard[-1]
    heads = [i for i, (_, below) in enumerate(pairwise(lines)) if re.fullmatch("-{3,}", below)]
    for at, stop in pairwise([*heads, len(lines)]):
        if lines[at].strip() == "Returns":
            start = at + 2
            end = next((i for i in range(start, stop) if not lines[i]), stop)
            has_items = any(line.startswith(" ") for line in lines[start:stop])
            told = lines[start:end]
            lines[start:end] = [" ".join(told)] if has_items else [TOLD, *(f"    {line}" for line in told)]
            return


def mark_up_results(*heard: Any) -> None:
    """What a function returns or stores is code; napoleon, which runs before, makes bold words with backticks of it."""
    lines = heard[-1]
    lines[:] = [re.sub(r"\*\*(`.+?)\*\*", r"\1", line.replace(f"*{TOLD}* -- ", "")) for line in lines]


def lead_to_page(*heard: Any) -> None:
    """Before a method's parameters, where the page of the method is: the class lists only those that are its own."""
    *_, method, _, lines = heard
    for name in (name for name, known in registry().items() if known is method):
        end = len(about(method))
        lines[end:end] = ["", f"All its parameters, its objective, pitfalls and cost: :doc:`/{PAGES}/{name}`.", ""]


def break_names(_: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let narrow pages break a title that is a function's name after its dots."""
    if docname.startswith("generated/scdeepclust."):
        for text in [text for title in doctree.findall(nodes.title) for text in title.findall(nodes.Text)]:
            first, *others = text.split(".")
            pieces = [(nodes.Text("."), nodes.raw("", "<wbr>", format="html"), nodes.Text(part)) for part in others]
            text.parent.replace(text, [nodes.Text(first), *chain(*pieces)])


def setup(app: Sphinx) -> dict[str, bool]:
    """Write _api.md before autosummary looks for it, and a page for each method; add the directive."""
    docs = Path(app.srcdir)
    (docs / "_api.md").write_text(api(), encoding="utf-8")
    shutil.rmtree(docs / PAGES, ignore_errors=True)  # of methods that are no more
    (docs / PAGES).mkdir(parents=True)
    for name, method in registry().items():
        (docs / PAGES / f"{name}.md").write_text(page(name, method), encoding="utf-8")
    app.add_directive("methods", Methods)
    app.connect("autodoc-process-docstring", lead_to_page, priority=400)
    app.connect("autodoc-process-docstring", keep_sentences, priority=400)  # napoleon's is 500
    app.connect("doctree-resolved", break_names)
    app.connect("autodoc-process-docstring", mark_up_results, priority=600)
    return {"parallel_read_safe": True}
