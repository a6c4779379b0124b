"""Tables that can be read on a narrow page: custom.css lays them out by the classes that they get here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

LONG, MOST = 32, 0.1  # letters, which cells of figures have fewer of, but for one column of many


def name_columns(table: nodes.table) -> None:
    """Begin each cell but a row's first and empty ones with what its column is called, which wide pages hide."""
    heads = [entry for head in table.findall(nodes.thead) for entry in head.findall(nodes.entry)]
    for body in table.findall(nodes.tbody):
        for row in body.findall(nodes.row):
            for head, entry in list(zip(heads, row.children, strict=False))[1:]:
                if head.astext() and entry.astext():
                    called = [part.deepcopy() for text in head.children for part in text.children]
                    first = entry.children[0]
                    where = first if isinstance(first, nodes.TextElement) else entry
                    where.insert(0, nodes.inline("", "", *called, nodes.Text(": "), classes=["column-name"]))


def sort(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Tell tables of words, whose rows become paragraphs on a narrow page, from tables of figures, which scroll."""
    if app.builder.format != "html":
        return
    for table in doctree.findall(nodes.table):
        cells = [entry.astext() for body in table.findall(nodes.tbody) for entry in body.findall(nodes.entry)]
        is_words = sum(len(cell) > LONG for cell in cells) > MOST * len(cells)
        table["classes"].append("words" if is_words else "figures")
        if is_words:
            name_columns(table)


def setup(app: Sphinx) -> dict[str, bool]:
    """Look at tables when all references are resolved."""
    app.connect("doctree-resolved", sort)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
