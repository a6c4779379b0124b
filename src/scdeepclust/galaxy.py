"""Wrappers for Galaxy, written from the same parameters as the command line: ``python -m scdeepclust.galaxy FOLDER``."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin
from xml.etree import ElementTree as ET

from . import __version__, methods
from .described import front, public
from .methods.parameters import BOUNDS
from .options import about, options, readable, typed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .options import Option

PROFILE = "24.0"
SUFFIX = "0"  # of the wrapper: to be raised when it changes and the package does not
HIDDEN = {"checkpoint", "device", "progress"}  # what Galaxy decides
KEYS = {  # by which a test knows that a tool has done its work
    "cluster": "obs/deepclust,obsm/X_deepclust,obsm/deepclust_proba,uns/deepclust/params",
    "denoise": "layers/denoised,uns/denoised/params,uns/n2s/choice,obsp/n2s_connectivities",
    "lineage": "obs/lineage_pseudotime,obs/lineage_segment,obsm/X_lineage,uns/lineage/tree",
}
# Values with which tests are quick; arguments without which there is nothing to draw.
QUICK = {"n_clusters": "3", "pretrain_steps": "20", "cluster_steps": "20", "root": "gene=gene0"}
EXAMPLES = {"genes": "gene0 gene1", "pairs": "gene0 gene1"}
BEGINS = {"png": "PNG", "pdf": "%PDF", "svg": "<svg"}
FORMATS = tuple(BEGINS)
SECTIONS = {"advanced": "Parameters of the method", "source": "What is read", "run": "Run"}
NAMES = r"[\w .,:+/|=()-]*"
# Galaxy's home may be write-protected.
WHERE = 'HOME="\\$PWD" NUMBA_CACHE_DIR="\\$PWD" MPLCONFIGDIR="\\$PWD"'


@dataclass(frozen=True)
class Tool:
    """One wrapper.

    Parameters
    ----------
    name
        Its name, and that of its file.
    title
        What its title adds to the name of the package.
    choice
        Name of the parameter that says which variant is wanted; nothing where there is one.
    variants
        Sources of parameters by the words of the command.
    figure
        Whether it makes a figure and not cells.
    """

    name: str
    title: str
    choice: str
    variants: Mapping[str, tuple[Any, ...]]
    figure: bool = False


def tools() -> list[Tool]:
    """All wrappers."""
    train = front("tl", "deepclust")
    deep = {name: (kind, train) for name, kind in methods.registry().items()}
    plots = {name.replace("_", "-"): (front("pl", name),) for name in public("pl")}
    return [
        Tool("cluster", "deep clustering of single cells", "method", deep),
        Tool("denoise", "expression by averaging over neighbours", "", {"denoise": (front("pp", "denoise"),)}),
        Tool("lineage", "tree of clusters with pseudotime", "", {"lineage": (front("tl", "lineage"),)}),
        Tool("plot", "clusters, choices, genes and lineages", "kind", plots, figure=True),
    ]


def written() -> dict[str, str]:
    """Text of every generated file, by its name."""
    wrappers = {f"scdeepclust_{tool.name}.xml": _text(_tool(tool)) for tool in tools()}
    return {"macros.xml": _text(_macros()), **wrappers}


def _macros() -> ET.Element:
    root = ET.Element("macros")
    for name, value in (("TOOL_VERSION", __version__), ("VERSION_SUFFIX", SUFFIX), ("PROFILE", PROFILE)):
        _add(root, "token", value, name=f"@{name}@")
    xrefs = _add(_add(root, "xml", name="bio_tools"), "xrefs")
    _add(xrefs, "xref", "scdeepclust", type="bio.tools")
    requirements = _add(_add(root, "xml", name="requirements"), "requirements")
    _add(requirements, "requirement", "scdeepclust", type="package", version="@TOOL_VERSION@")
    _add(_add(root, "xml", name="version_command"), "version_command", "scdeepclust --version")
    names = _add(root, "xml", name="names")
    sanitizer = _add(names, "sanitizer", invalid_char="")
    valid = _add(sanitizer, "valid", initial="string.ascii_letters,string.digits")
    for character in "_ .,:+/|=()-":
        _add(valid, "add", value=character)
    _add(names, "validator", f"^{NAMES}$", type="regex", message="Letters, digits, spaces and _ . , : + / | = ( ) -")
    citations = _add(_add(root, "xml", name="citations"), "citations")
    software = f"@misc{{scdeepclust, title = {{scdeepclust {__version__}: deep clustering of single cells}}, "
    software += "author = {{scdeepclust developers}}, year = {2026}}"
    _add(citations, "citation", software, type="bibtex")
    for doi in _dois():
        _add(citations, "citation", doi, type="doi")
    return root


def _dois() -> list[str]:
    """Of the papers that methods and functions cite."""
    fronts = [front(area, name) for area in ("pp", "tl") for name in public(area)]
    texts = [thing.__doc__ or "" for thing in [*methods.registry().values(), *fronts]]
    found = [doi.rstrip(".,;)") for text in texts for doi in re.findall(r"doi (10\.\d+/\S+)", text)]
    found += [f"10.48550/arXiv.{number}" for text in texts for number in re.findall(r"arXiv[: ](\d{4}\.\d{4,5})", text)]
    return sorted(set(found))


def _tool(tool: Tool) -> ET.Element:
    head = {"id": f"scdeepclust_{tool.name}", "name": f"scdeepclust {tool.name}"}
    root = ET.Element("tool", **head, version="@TOOL_VERSION@+galaxy@VERSION_SUFFIX@", profile="@PROFILE@")
    _add(root, "description", tool.title)
    _add(_add(root, "macros"), "import", "macros.xml")
    for macro in ("bio_tools", "requirements", "version_command"):
        _add(root, "expand", macro=macro)
    variants = {name: _asked(sources) for name, sources in tool.variants.items()}
    _add(root, "command", "\n" + "\n".join(_command(tool, variants)) + "\n", detect_errors="exit_code")
    _inputs(_add(root, "inputs"), tool, variants)
    outputs = _add(root, "outputs")
    if tool.figure:
        data = _add(outputs, "data", name="figure", format=FORMATS[0], label="${tool.name} on ${on_string}")
        change = _add(data, "change_format")
        for format_ in FORMATS[1:]:
            _add(change, "when", input="format", value=format_, format=format_)
    else:
        label = "${tool.name} on ${on_string}"
        _add(outputs, "data", name="output", format="h5ad", from_work_dir="out.h5ad", label=label)
        report = _add(outputs, "data", name="report_page", format="html", from_work_dir="report.html")
        report.set("label", f"{label}: report")
        _add(report, "filter", "report")
    tests = _add(root, "tests")
    for name, asked in variants.items():
        _test(tests, tool, name, asked)
    _add(root, "help", _help(tool))
    _add(root, "expand", macro="citations")
    return root


def _asked(sources: tuple[Any, ...]) -> list[Option]:
    return [option for name, option in options(*sources).items() if name not in HIDDEN]


def _place(tool: Tool, option: Option) -> tuple[str, ...]:
    """Names of the elements around a parameter: what variants share stands outside of the choice between them."""
    if tool.figure:
        return (tool.choice,)
    if option.group != "Method":
        return ("source" if option.group == "Input" else "run",)
    if not tool.choice:
        return ()
    return (tool.choice,) if option.name == "n_clusters" else (tool.choice, "advanced")


def _command(tool: Tool, variants: dict[str, list[Option]]) -> Iterator[str]:
    which = f"${tool.choice}.{tool.choice}" if tool.choice else tool.name
    yield f"{WHERE} scdeepclust {'plot ' if tool.figure else ''}{which}"
    yield "'$input' 'figure.$format'" if tool.figure else "'$input' out.h5ad"
    yield '--threads "\\${GALAXY_SLOTS:-1}"'
    shared: dict[str, Option] = {}
    for name, asked in variants.items():
        own = [option for option in asked if tool.choice in _place(tool, option)]
        shared |= {option.name: option for option in asked if option not in own}
        if own:
            yield f"#if str({which}) == '{name}'"
            for option in own:
                yield from _words(tool, option)
            yield "#end if"
    for option in shared.values():
        yield from _words(tool, option)
    if any("progress" in options(*sources) for sources in tool.variants.values()):
        yield "--no-progress"
    yield from (
        ["&& mv 'figure.$format' '$figure'"] if tool.figure else ["#if $report", "--report report.html", "#end if"]
    )


def _words(tool: Tool, option: Option) -> Iterator[str]:
    """What a parameter adds to the command, in Cheetah."""
    flag, variable = typed(option.name), "$" + ".".join((*_place(tool, option), option.name))
    said = bool(_choices(option)) or ({int, float} & set(map(_bare, option.members)) and not option.nullable)
    if bool in option.members:
        yield variable
    elif said and option.sequence is None:
        yield f"{flag} '{variable}'"
    else:
        yield f"#if str({variable}).strip() not in ('', 'None')"
        if option.sequence is None:
            yield f"{flag} '{variable}'"
        else:
            yield f"{flag} #for $word in str({variable}).replace(',', ' ').split()# '$word' #end for#"
        if option.named_none and option.default is not None:
            yield "#else"
            yield f"{flag} none"
        yield "#end if"


def _choices(option: Option) -> tuple[str, ...]:
    kinds = [*option.members, *get_args(option.sequence)]
    return next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())


def _inputs(root: ET.Element, tool: Tool, variants: dict[str, list[Option]]) -> None:
    _add(root, "param", name="input", type="data", format="h5ad", label="Cells", help="AnnData, cells x genes.")
    conditional = _add(root, "conditional", name=tool.choice) if tool.choice else root
    if tool.choice:
        names = {name: f"{name}: {_summary(sources[0])}" for name, sources in tool.variants.items()}
        select = _add(conditional, "param", name=tool.choice, type="select", label=tool.choice.capitalize())
        _select(select, names, signature(front("tl", "deepclust")).parameters["method"].default)
    shared: dict[str, Option] = {}
    for name, asked in variants.items():
        when = _add(conditional, "when", value=name) if tool.choice else root
        for option in asked:
            match _place(tool, option):
                case ("source" | "run",):
                    shared[option.name] = option
                case (*_, "advanced"):
                    _param(_section(when, "advanced"), option)
                case _:
                    _param(when, option)
    for option in shared.values():
        _param(_section(root, *_place(tool, option)), option)
    if tool.figure:
        select = _add(root, "param", name="format", type="select", label="Format")
        _select(select, {name: name.upper() for name in FORMATS}, FORMATS[0])
    else:
        flag = {"truevalue": "true", "falsevalue": "", "checked": "false"}
        _add(root, "param", name="report", type="boolean", **flag, label="Write a report", help="One page of HTML.")


def _section(parent: ET.Element, name: str) -> ET.Element:
    """The section of that name, made when it is first asked for."""
    found = parent.find(f"section[@name='{name}']")
    return _add(parent, "section", name=name, title=SECTIONS[name]) if found is None else found


def _param(parent: ET.Element, option: Option) -> None:
    """A parameter as Galaxy asks for it."""
    default, flag = option.default, typed(option.name)
    said = {"argument": flag, "label": option.name.replace("_", " ").capitalize(), "help": option.text}
    kinds = {_bare(part) for part in option.members} - {type(None)}
    if kinds == {bool} and not option.nullable:
        flags = ("", typed(f"no_{option.name}")) if default else (flag, "")
        values = {"truevalue": flags[0], "falsevalue": flags[1], "checked": str(default).lower()}
        _add(parent, "param", type="boolean", **said, **values)
    elif bool in kinds:
        names = {"": "not said", flag: "yes", typed(f"no_{option.name}"): "no"}
        _select(_add(parent, "param", type="select", **said), names, "")
    elif _choices(option):
        names = {name: name for name in _choices(option)} | ({"none": "none"} if option.nullable else {})
        several = {"multiple": "true"} if option.sequence else {}
        chosen = default if isinstance(default, tuple) else (default or "none",)
        _select(_add(parent, "param", type="select", **said, **several), names, *chosen)
    elif option.sequence is None and kinds & {int, float}:
        _number(parent, option, said | {"type": "integer" if int in kinds else "float"})
    else:
        value = " ".join(map(str, default)) if isinstance(default, tuple) else default
        param = _add(parent, "param", type="text", **said, **({"value": value} if isinstance(value, str) else {}))
        _add(param, "expand", macro="names")
        if option.required:
            _add(param, "validator", type="empty_field", message="Needed.")


def _number(parent: ET.Element, option: Option, said: dict[str, str]) -> None:
    limits = {BOUNDS[type(b)][0]: b for part in option.members for b in getattr(part, "__metadata__", ())}
    limits = {name: str(getattr(bound, name)) for name, bound in limits.items()}
    value = {} if option.default is None else {"value": str(option.default)}
    empty = {"optional": "true"} if option.nullable else {}
    ends = {"ge": "min", "gt": "min", "le": "max", "lt": "max"}
    within = {ends[name]: limit for name, limit in limits.items()}
    param = _add(parent, "param", **said, **value, **empty, **within)
    strict = {"exclude_min": "true", "min": limits["gt"]} if "gt" in limits else {}
    strict |= {"exclude_max": "true", "max": limits["lt"]} if "lt" in limits else {}
    if strict:
        _add(param, "validator", type="in_range", **strict)


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _select(param: ET.Element, names: Mapping[str, str], *chosen: str) -> None:
    for value, name in names.items():
        option = _add(param, "option", name, value=value)
        if value in chosen:
            option.set("selected", "true")


def _test(tests: ET.Element, tool: Tool, name: str, asked: list[Option]) -> None:
    """A quick run of a variant, and what must come out."""
    if not {option.name for option in asked if option.required} <= set(EXAMPLES):
        return
    first = not len(tests) and not tool.figure
    test = _add(tests, "test", expect_num_outputs="2" if first else "1")
    data = "cells.h5ad" if tool.name in {"cluster", "denoise"} else "results.h5ad"
    _add(test, "param", name="input", value=data, ftype="h5ad")
    conditional = _add(test, "conditional", name=tool.choice) if tool.choice else test
    if tool.choice:
        _add(conditional, "param", name=tool.choice, value=name)
    for option in asked:
        value = EXAMPLES[option.name] if option.required else None if tool.figure else QUICK.get(option.name)
        if value is not None:
            where = conditional
            if "advanced" in _place(tool, option):
                found = conditional.find("section")
                where = _add(conditional, "section", name="advanced") if found is None else found
            _add(where, "param", name=option.name, value=value)
    if tool.figure:
        format_ = FORMATS[len(tests) % len(FORMATS)]
        _add(test, "param", name="format", value=format_)
        contents = _add(_add(test, "output", name="figure", ftype=format_), "assert_contents")
        _add(contents, "has_text", text=BEGINS[format_])
        _add(contents, "has_size", min="4k")
        return
    contents = _add(_add(test, "output", name="output", ftype="h5ad"), "assert_contents")
    _add(contents, "has_h5_keys", keys=KEYS[tool.name])
    if first:
        _add(test, "param", name="report", value="true")
        page = _add(_add(test, "output", name="report_page", ftype="html"), "assert_contents")
        for text in ("<!DOCTYPE html>", "data:image/png;base64,"):
            _add(page, "has_text", text=text)


def _summary(source: Any) -> str:
    return readable(about(source)).partition("\n")[0].removesuffix(".")


def _help(tool: Tool) -> str:
    """In reStructuredText, from docstrings."""
    lines = ["", "**What it does**", ""]
    for name, sources in tool.variants.items():
        said = readable(about(sources[0]))
        lines += [f"*{name}*", "", said.replace("*", "\\*").replace("|", "\\|"), ""] if tool.choice else [said, ""]
    return "\n".join(lines)


def _add(parent: ET.Element, tag: str, content: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = content
    return element


def _text(root: ET.Element) -> str:
    """Indented, commands and help as they are read."""
    ET.indent(root, space="    ")
    text = ET.tostring(root, encoding="unicode")
    for tag in ("command", "help"):
        text = re.sub(
            rf"(<{tag}\b[^>]*>)(.*?)(</{tag}>)",
            lambda found: f"{found[1]}<![CDATA[{_unescaped(found[2])}]]>{found[3]}",
            text,
            flags=re.DOTALL,
        )
    return text + "\n"


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def main(folder: str) -> None:
    """Write all files into a folder."""
    for name, text in written().items():
        (Path(folder) / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
