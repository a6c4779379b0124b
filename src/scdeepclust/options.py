"""Command-line options read off docstrings, signatures and the fields of dataclasses."""

from __future__ import annotations

import ast
import inspect
import re
import types
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Union, get_args, get_origin

from cyclopts import Group, Parameter, convert

from . import methods
from .methods.parameters import BOUNDS, hints

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

GROUPS = {
    name: Group(name, sort_key=i) for i, name in enumerate(("Methods", "Commands", "Input", "Method", "Run", "Output"))
}
# What is not named here is a matter of the method.
PLACES = {
    **dict.fromkeys(("model", "input", "layer", "use_rep", "mask_var", "drop_empty"), "Input"),
    **dict.fromkeys(("batch_key", "categorical_covariate_keys"), "Input"),
    **dict.fromkeys(("key", "neighbors_key", "raw_layer", "data", "labels"), "Input"),
    **dict.fromkeys(("random_state", "device", "batch_size", "checkpoint", "progress"), "Run"),
    **dict.fromkeys(("threads", "quiet", "debug", "config", "print_config"), "Run"),
    **dict.fromkeys(("output", "figure", "folder", "in_place", "key_added", "denoised_layer"), "Output"),
    **dict.fromkeys(("save_model", "report", "json"), "Output"),
}
# What is told by its place, not by its name.
PATHS = ("model", "input", "output", "figure", "folder")
# What Python's functions take that files and commands have other ways for.
IN_PYTHON = {"adata", "method", "init", "axes", "show", "save", "copy"}
# Text that may be KEY=VALUE.
Named = NewType("Named", str)
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
    """Text without Sphinx's marks, options and dicts as they are typed."""
    text = re.sub(r":func:`~?scdeepclust\.(tl|pp|pl)\.(\w+)`", lambda found: _command(*found.groups()), text)
    text = re.sub(r":[\w:]+:`~?([^`]*)`", r"\1", text)
    text = re.sub(r"`+([^`]*)`+", lambda found: typed(found[1]) if found[1] in options else found[1], text)
    return pairs_typed(text)


def _command(area: str, name: str) -> str:
    """The command that stands for a public function."""
    word = "METHOD" if name == "deepclust" else name.replace("_", "-")
    return f"scdeepclust {'plot ' if area == 'pl' else ''}{word}"


def pairs_typed(text: str) -> str:
    """Text with `{"gene": "Hlf"}` as `gene=Hlf`."""
    return re.sub(r"\{[\"'](\w+)[\"']: [\"']([^\"']*)[\"']\}", r"\1=\2", text)


def typed(name: str) -> str:
    """A parameter as the option that stands for it."""
    return "--" + name.replace("_", "-")


def as_typed(text: str, parameters: Mapping[str, inspect.Parameter]) -> str:
    """A message with `name=` as the option that it is, a switch and its value as the option that says yes or no."""
    text = pairs_typed(text)
    text = re.sub(r"sdc\.(tl|pp|pl)\.(\w+)\([^()]*\)", lambda found: f"`{_command(*found.groups())}`", text)
    if not parameters:
        return text

    def option(found: re.Match[str]) -> str:
        name, value = found.groups()
        if value and bool in get_args(parameters[name].annotation):
            return typed(f"no_{name}" if value == "False" else name)
        return f"{typed(name)}={value}"

    return re.sub(rf"(?<![\w.-])({'|'.join(parameters)})=(True\b|False\b|)", option, text)


def _types(source: Any) -> dict[str, Any]:
    """Types of a dataclass's fields, and of a function's parameters as far as a command line can give them."""
    if isinstance(source, type):
        return hints(source)
    parameters = inspect.signature(source).parameters.values()
    return {p.name: _type(ast.parse(p.annotation, mode="eval").body) or str for p in parameters}


PLAIN = {"bool": bool, "float": float, "int": int, "str": str}


def _type(node: ast.expr) -> Any:
    """The type that an annotation names, without what has no form in words; None if nothing remains.

    A dict is written as text, KEY=VALUE, and what may be one or several is a sequence.
    """
    if isinstance(node, ast.BinOp):
        parts = [part for side in (node.left, node.right) if (part := _type(side)) is not None]
        sequence = next((part for part in parts if get_origin(part) is tuple), None)
        most = sequence or (Named if Named in parts else None)
        parts = parts if most is None else [most, *(part for part in parts if type(None) in _members(part))]
        return Union[tuple(parts)] if parts else None  # noqa: UP007
    if isinstance(node, ast.Constant):
        return type(None)
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        kind = ast.unparse(node.value)
        if kind == "Literal":
            return Literal[tuple(ast.literal_eval(each) for each in inner)]
        if kind == "Sequence":
            item = _type(inner[0])
            return None if item in {None, bool} else tuple[item, ...]
        return tuple[tuple(_type(each) for each in inner)] if kind == "tuple" else Named
    return PLAIN.get(ast.unparse(node))


def _members(hint: Any) -> tuple[Any, ...]:
    """What a union unites, or the type itself."""
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


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
    if origin is tuple:
        return tuple[tuple(part if part is ... else _bare(part) for part in parts)]
    return Any if hint is Named else hint


@dataclass(frozen=True)
class Option:
    """A parameter of a dataclass or function as something to be asked for: type with bounds, default, help, group."""

    name: str
    hint: Any
    default: Any
    text: str
    group: str

    @property
    def members(self) -> tuple[Any, ...]:
        """What its type unites."""
        return _members(self.hint)

    @property
    def nullable(self) -> bool:
        """Whether it may be None."""
        return type(None) in self.members

    @property
    def named_none(self) -> bool:
        """Whether None has to be said. Where leaving an option out gives None already, a layer may be called "none"."""
        return self.nullable and not (self.default is None and str in self.members)

    @property
    def required(self) -> bool:
        """Whether nothing can be done without it."""
        return self.default is inspect.Parameter.empty

    @property
    def sequence(self) -> Any:
        """Its type of several values, if it may have several."""
        return next((part for part in self.members if get_origin(part) is tuple), None)

    def parameter(self) -> inspect.Parameter:
        """The same for cyclopts."""
        kind = inspect.Parameter.POSITIONAL_ONLY if self.name in PATHS else inspect.Parameter.KEYWORD_ONLY
        shown = Annotated[_bare(self.hint), self._shown()]
        return inspect.Parameter(self.name, kind, default=self.default, annotation=shown)

    def _shown(self) -> Parameter:
        is_flag, group = bool in self.members, GROUPS[self.group]
        limits = _bounds(self.hint) + ["may be none"] * (self.named_none and not is_flag)
        text = self.text + (f" [{', '.join(limits)}]" if limits else "")
        if is_flag:
            return Parameter(help=text, group=group, negative="" if self.default is False else None)
        return Parameter(
            help=text,
            group=group,
            converter=partial(_converted, named_none=self.named_none, named=Named in self.members),
            consume_multiple=self.sequence is not None,
            negative="",
            show_default=(lambda value: " ".join(map(str, value))) if isinstance(self.default, tuple) else None,
        )


def options(*sources: Any) -> dict[str, Option]:
    """What documented dataclasses and functions can be told; the first that has a name defines it."""
    found: dict[str, Option] = {}
    names = {name for source in sources for name in inspect.signature(source).parameters}
    for source in sources:
        texts, hinted = documented(source), _types(source)
        of_method = isinstance(source, type) and issubclass(source, methods.Method)
        for name, parameter in inspect.signature(source).parameters.items():
            if (
                name in texts
                and name not in found
                and name not in IN_PYTHON
                and parameter.kind is not parameter.VAR_KEYWORD
            ):
                group = "Method" if of_method else PLACES.get(name, "Method")
                found[name] = Option(name, hinted[name], parameter.default, readable(texts[name], names), group)
    return found


def parameters(*sources: Any) -> dict[str, inspect.Parameter]:
    """The same as parameters of a command."""
    return {name: option.parameter() for name, option in options(*sources).items()}


def _converted(hint: Any, tokens: Sequence[Any], *, named_none: bool, named: bool) -> Any:
    """A value as typed, with `none` for None; cyclopts alone would round 2.5 clusters to 2."""
    words = [token.value for token in tokens]
    if named_none and [word.lower() for word in words] == ["none"]:
        return None
    if named and "=" in words[0]:
        return dict([words[0].split("=", 1)])
    value = convert(hint, tokens)
    for word, number in zip(words, value if isinstance(value, tuple) else (value,), strict=False):
        if type(number) is int and "." in word and float(word) != number:
            msg = f"{word!r} is not an integer."
            raise ValueError(msg)
    return value
