"""Command-line options read off docstrings, signatures and the fields of dataclasses."""

from __future__ import annotations

import inspect
import re
import types
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from cyclopts import Group, Parameter, convert

from . import methods
from .methods.parameters import BOUNDS, hints

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

GROUPS = {
    name: Group(name, sort_key=i) for i, name in enumerate(("Methods", "Commands", "Input", "Method", "Run", "Output"))
}
# What is not named here belongs to the run.
PLACES = {
    **dict.fromkeys(("model", "input", "layer", "use_rep", "batch_key", "mask_var", "drop_empty"), "Input"),
    **dict.fromkeys(("output", "key_added", "save_model", "json"), "Output"),
}
HEADER = re.compile(r"^(\S.*)\n-{3,}$", re.MULTILINE)


def about(source: Any) -> str:
    """What a docstring says before its first section, a line for each paragraph."""
    head = HEADER.split(inspect.cleandoc(source.__doc__ or ""))[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in head.strip().split("\n\n"))


def documented(source: Any) -> dict[str, str]:
    """What docstrings say of each parameter; a class documents its own, and its bases theirs."""
    found = {}
    for owner in reversed(getattr(source, "__mro__", (source,))):
        _, *parts = HEADER.split(inspect.cleandoc(owner.__doc__ or ""))
        section = dict(zip(parts[::2], parts[1::2], strict=True)).get("Parameters", "")
        for block in re.split(r"\n(?=\S)", section.strip("\n")):
            names, _, text = block.partition("\n")
            found |= {name.strip(" *"): " ".join(text.split()) for name in names.partition(":")[0].split(",")}
    return found


def readable(text: str, options: Collection[str] = ()) -> str:
    """Text without Sphinx's marks, and options as they are typed."""
    text = re.sub(r":[\w:]+:`~?([^`]*)`", r"\1", text)
    return re.sub(r"`+([^`]*)`+", lambda found: typed(found[1]) if found[1] in options else found[1], text)


def typed(name: str) -> str:
    """A parameter as the option that stands for it."""
    return "--" + name.replace("_", "-")


def _types(source: Any) -> dict[str, Any]:
    """Types of a dataclass's fields, and of a function's parameters as far as a command line can give them."""
    if isinstance(source, type):
        return hints(source)
    plain = {"bool": bool, "float": float, "int": int, "str": str, "None": None}
    found = {}
    for name, parameter in inspect.signature(source).parameters.items():
        parts = [plain[part] for part in parameter.annotation.split(" | ") if part in plain]
        found[name] = Union[tuple(parts or [str])]  # noqa: UP007
    return found


def _bounds(hint: Any) -> list[str]:
    """The bounds in a type, in words."""
    if get_origin(hint) is Literal:
        return []
    if get_origin(hint) is Annotated:
        known = [bound for bound in hint.__metadata__ if type(bound) in BOUNDS]
        return [f"{BOUNDS[type(bound)][1]} {getattr(bound, BOUNDS[type(bound)][0])}" for bound in known]
    return [words for part in get_args(hint) for words in _bounds(part)]


def _bare(hint: Any) -> Any:
    """A type without its bounds, which cyclopts would check in words of its own where pydantic is installed."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bare(parts[0])
    if origin in {Union, types.UnionType}:
        return Union[tuple(_bare(part) for part in parts)]  # noqa: UP007
    return tuple[_bare(parts[0]), ...] if origin is tuple else hint


def parameters(*sources: Any) -> dict[str, inspect.Parameter]:
    """Command-line parameters of documented dataclasses and functions; the first that has a name defines it."""
    found: dict[str, inspect.Parameter] = {}
    names = {name for source in sources for name in inspect.signature(source).parameters}
    for source in sources:
        texts, hinted = documented(source), _types(source)
        of_method = isinstance(source, type) and issubclass(source, methods.Method)
        for name, parameter in inspect.signature(source).parameters.items():
            # What a function takes first, such as `adata`, is made of files here, and files need no copy.
            given = parameter.kind in {parameter.POSITIONAL_ONLY, parameter.KEYWORD_ONLY} and name != "copy"
            if given and name in texts and name not in found:
                group = GROUPS["Method" if of_method else PLACES.get(name, "Run")]
                kind = parameter.POSITIONAL_ONLY if parameter.default is parameter.empty else parameter.KEYWORD_ONLY
                hint = hinted[name]
                shown = Annotated[_bare(hint), _presented(parameter.default, hint, readable(texts[name], names), group)]
                found[name] = parameter.replace(kind=kind, annotation=shown)
    return found


def _presented(default: Any, hint: Any, text: str, group: Group) -> Parameter:
    """How cyclopts shows and reads a parameter."""
    # Where leaving an option out gives None already, a layer may be called "none".
    named_none = type(None) in get_args(hint) and not (default is None and str in get_args(hint))
    limits = _bounds(hint) + ["may be none"] * named_none
    text += f" [{', '.join(limits)}]" if limits else ""
    if hint is bool:
        return Parameter(help=text, group=group)
    return Parameter(
        help=text,
        group=group,
        converter=partial(_converted, named_none=named_none),
        consume_multiple=tuple in {get_origin(part) for part in (hint, *get_args(hint))},
        show_default=(lambda value: " ".join(map(str, value))) if isinstance(default, tuple) else None,
    )


def _converted(hint: Any, tokens: Sequence[Any], *, named_none: bool) -> Any:
    """A value as typed, with `none` for None; cyclopts alone would round 2.5 clusters to 2."""
    words = [token.value for token in tokens]
    if named_none and [word.lower() for word in words] == ["none"]:
        return None
    value = convert(hint, tokens)
    for word, number in zip(words, value if isinstance(value, tuple) else (value,), strict=True):
        if type(number) is int and "." in word and float(word) != number:
            msg = f"{word!r} is not an integer."
            raise ValueError(msg)
    return value
