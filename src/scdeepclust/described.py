"""Public functions as their files describe them: help must not wait for what they import."""

from __future__ import annotations

import ast
import functools
import inspect
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def public(area: str) -> list[str]:
    """Names of the public functions of `pp`, `tl` or `pl`."""
    return sorted(import_module(f"{__package__}.{area}").__all__)


@functools.cache
def front(area: str, name: str) -> Callable[..., Any]:
    """A public function, with its docstring and signature, that is imported when it is called.

    Raises
    ------
    LookupError
        No file of that area defines it.
    """
    for path in sorted((Path(__file__).parent / area).glob("_*.py")):
        text = path.read_text(encoding="utf-8")
        if f"\ndef {name}(" in text:
            tree = ast.parse(text)
            node = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
            return _stub(area, node, _constants(tree))
    msg = f"No file of {area} defines {name!r}."
    raise LookupError(msg)


def _stub(area: str, node: ast.FunctionDef, constants: dict[str, ast.expr]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(f"{__package__}.{area}"), node.name)(*args, **kwargs)

    call.__name__, call.__doc__ = node.name, ast.get_docstring(node)
    call.__signature__ = inspect.Signature(_parameters(node.args, constants))
    return call


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """What names at the top of a module stand for: aliases of types, and defaults."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
    return found


class _Resolved(ast.NodeTransformer):
    """An expression with the constants of its module in place of their names."""

    def __init__(self, constants: dict[str, ast.expr]) -> None:
        self.constants = constants

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.constants.get(node.id, node)


def _parameters(args: ast.arguments, constants: dict[str, ast.expr]) -> list[inspect.Parameter]:
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + args.defaults
    kind = inspect.Parameter
    found = [
        *((arg, default, kind.POSITIONAL_OR_KEYWORD) for arg, default in zip(positional, defaults, strict=True)),
        *((arg, default, kind.KEYWORD_ONLY) for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)),
    ]
    resolved = _Resolved(constants)
    return [
        kind(
            arg.arg,
            kind_,
            default=kind.empty if default is None else ast.literal_eval(resolved.visit(default)),
            annotation=kind.empty if arg.annotation is None else ast.unparse(resolved.visit(arg.annotation)),
        )
        for arg, default, kind_ in found
    ]
