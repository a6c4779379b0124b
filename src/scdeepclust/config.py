"""Options in a file: TOML with a table for each command."""

from __future__ import annotations

import tomllib
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import typed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def path_in(tokens: Sequence[str]) -> str | None:
    """The file that a command line names by --config."""
    option = typed("config")
    for i, token in enumerate(tokens):
        if token == option:
            return next(iter(tokens[i + 1 :]), None)
        if token.startswith(f"{option}="):
            return token.removeprefix(f"{option}=")
    return None


def read(path: str) -> dict[str, Any]:
    """What such a file says.

    Raises
    ------
    OSError
        It cannot be read.
    ValueError
        It is no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"There is no file {path!r} for --config."
        raise FileNotFoundError(msg) from None
    except ValueError as error:
        msg = f"{path!r} is no TOML: {error}"
        raise ValueError(msg) from error


def written(command: Sequence[str], options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Options as such a file has them; those that are None because nothing was said are left out."""
    told = {name: value for name, value in options.items() if not (value is None and defaults[name] is None)}
    return "\n".join([f"[{'.'.join(command)}]", *(f"{_key(name)} = {_value(value)}" for name, value in told.items())])


def _key(name: str) -> str:
    return typed(name).removeprefix("--")


def _value(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, dict):
        return dumps("".join(f"{key}={name}" for key, name in value.items()))
    if isinstance(value, tuple):
        flat = [part for item in value for part in (item if isinstance(item, tuple) else (item,))]
        return f"[{', '.join(map(_value, flat))}]"
    return dumps(value)
