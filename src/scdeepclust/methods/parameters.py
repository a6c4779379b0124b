"""Checks of a method's parameters against the types and bounds of its fields."""

from __future__ import annotations

import difflib
import functools
import math
import numbers
import operator
import types
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types

if TYPE_CHECKING:
    from collections.abc import Collection

BOUNDS = {
    annotated_types.Ge: ("ge", "at least", operator.ge),
    annotated_types.Gt: ("gt", "above", operator.gt),
    annotated_types.Le: ("le", "at most", operator.le),
    annotated_types.Lt: ("lt", "below", operator.lt),
}


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """Type of each field, with its bounds."""
    found = get_type_hints(cls, include_extras=True)
    return {f.name: found[f.name] for f in fields(cls)}


# Parameters of every run, beside those of its method.
OF_ALL = (
    "layer", "use_rep", "batch_key", "categorical_covariate_keys", "mask_var", "drop_empty", "min_signal", "join_shifted",
    "denoised_layer", "init", "batch_size", "random_state", "device", "checkpoint", "progress", "key_added", "copy",
)  # fmt: skip
# What scanpy, scvi-tools and other deep methods call it.
ELSEWHERE = {
    "accelerator": ("device",),
    "batch": ("batch_key",),
    "epochs": ("pretrain_steps", "cluster_steps"),
    "gene_likelihood": ("likelihood",),
    "k": ("n_clusters",),
    "learning_rate": ("lr", "cluster_lr"),
    "max_epochs": ("pretrain_steps", "cluster_steps"),
    "n_comps": ("n_pcs",),
    "n_hidden": ("hidden",),
    "n_layers": ("hidden",),
    "n_top_genes": ("mask_var",),
    "resolution": ("min_signal", "n_clusters"),
    "seed": ("random_state",),
    "use_gpu": ("device",),
    "use_highly_variable": ("mask_var",),
    "verbose": ("progress",),
}


def known_here(name: str, names: Collection[str]) -> list[str]:
    """What a parameter of another package is called here, of these names."""
    return [other for other in ELSEWHERE.get(name, ()) if other in names]


def none_such(name: str, names: list[str]) -> str:
    """What may have been meant by a parameter that is none of a method's, with all that are."""
    if name in OF_ALL:
        return f" It is one of sdc.tl.deepclust. {_all_of(names)}"
    if here := known_here(name, [*names, *OF_ALL]):
        return f" Here it is {' or '.join(map(repr, here))}. {_all_of(names)}"
    return f"{_close(name, [*names, *OF_ALL])} {_all_of(names)}"


def nearest(name: str, names: list[str]) -> str:
    """A hint at the name that was meant, with all that there are."""
    return f"{_close(name, names)} {_all_of(names)}"


def _close(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def _all_of(names: list[str]) -> str:
    return f"There are: {', '.join(map(repr, names))}."


def checked(name: str, value: Any, hint: Any) -> Any:
    """`value` as the plain Python object that `hint` asks for.

    Raises
    ------
    ValueError
        It is of another type or out of bounds.
    """
    value = value.tolist() if hasattr(value, "tolist") else value  # of numpy
    if _problem(value, hint) and not _problem(_whole(value), hint):
        value = _whole(value)
    problem = _problem(value, hint)
    if problem:
        msg = f"{name}={value!r} must be {problem}."
        raise ValueError(msg)
    return _plain(value)


def _whole(value: Any) -> Any:
    """The same with floats without a fraction, which is how R passes integers, as integers."""
    if isinstance(value, tuple | list):
        return tuple(_whole(each) for each in value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    return tuple(_plain(v) for v in value)


def _problem(value: Any, hint: Any) -> str:  # noqa: PLR0911 one return for each kind of type
    """What `value` should have been, or nothing where it fits."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _problem_annotated(value, *get_args(hint))
    if origin in {Union, types.UnionType}:
        problems = [_problem(value, option) for option in get_args(hint)]
        return "" if not all(problems) else " or ".join(problems)
    if origin is Literal:
        return "" if value in get_args(hint) else "one of " + ", ".join(repr(v) for v in get_args(hint))
    if origin is tuple:
        kind = get_args(hint)[0]
        if isinstance(value, tuple | list):
            return next((f"a sequence, each {p}" for v in value if (p := _problem(v, kind))), "")
        return f"a sequence, each {_problem(object(), kind)}"
    if hint is type(None):
        return "" if value is None else "None"
    if isinstance(value, bool) != (hint is bool):
        return {int: "an integer", float: "a number", bool: "True or False", str: "a string"}[hint]
    kinds = {int: (numbers.Integral, "an integer"), float: (numbers.Real, "a number"), str: (str, "a string")}
    kind, words = kinds.get(hint, (hint, "True or False"))
    if not isinstance(value, kind):
        return words
    return "a finite number" if isinstance(value, numbers.Real) and not math.isfinite(value) else ""


def _problem_annotated(value: Any, hint: Any, *bounds: Any) -> str:
    words = {int: "an integer", float: "a number"}.get(hint, "a value")
    limits = [(BOUNDS[type(b)], getattr(b, BOUNDS[type(b)][0])) for b in bounds if type(b) in BOUNDS]
    text = words + "".join(f" {word} {limit}" for (_, word, _), limit in limits)
    if _problem(value, hint):
        return text
    return "" if all(compare(value, limit) for (_, _, compare), limit in limits) else text
