"""The command line: a command for each method, its options read off the method's parameters and `tl.deepclust`.

Help must not wait for torch or scanpy, so what needs them is imported when a command runs.
"""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
import time
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge
from cyclopts import App, CycloptsError, Group, Parameter, convert

from . import __version__, files, methods
from .methods.parameters import BOUNDS, checked, hints
from .tl._assign import assign as tl_assign
from .tl._deepclust import deepclust as tl_deepclust

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from anndata import AnnData

    from .model import Model

logger = logging.getLogger("scdeepclust")

GROUPS = {
    name: Group(name, sort_key=i) for i, name in enumerate(("Methods", "Commands", "Input", "Method", "Run", "Output"))
}
# What is not named here belongs to the run.
PLACES = {
    **dict.fromkeys(("model", "input", "layer", "use_rep", "batch_key", "mask_var", "drop_empty"), "Input"),
    **dict.fromkeys(("output", "key_added", "save_model", "json"), "Output"),
}
HEADER = re.compile(r"^(\S.*)\n-{3,}$", re.MULTILINE)
FAILURES = (ImportError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)

# Training does not ask for gene names, and labelling refuses repeated ones itself; the format of zarr is anndata's.
KNOWN_WARNINGS = ("(Observation|Variable) names are not unique", "Writing zarr v2")


class UsageError(Exception):
    """The command cannot be meant as it was given."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What every command that works on cells is told, whatever it does.

    Parameters
    ----------
    output
        Where the same cells go with their clusters: .h5ad (or .zarr). Written last, and whole or not at all.
    threads
        CPU threads. None leaves the choice to the libraries; sums, and so results, may depend on it.
    quiet
        Whether to be silent about what goes well. Warnings and errors are still shown.
    json
        Whether to print one line of JSON to standard output: path, method, number and sizes of clusters, seconds.
    debug
        Whether to show where in the code an error arose.
    """

    output: str
    threads: Annotated[int, Ge(1)] | None = None
    quiet: bool = False
    json: bool = False
    debug: bool = False

    def __post_init__(self) -> None:
        for name, hint in hints(type(self)).items():
            checked(name, getattr(self, name), hint)


def cluster(
    input: str, /, *, kind: type[methods.Method], key_added: str, save_model: str | None = None, **options: Any
) -> AnnData:
    """Train a method on a file of cells, as :func:`scdeepclust.tl.deepclust` does.

    Parameters
    ----------
    input
        Cells x genes: an .h5ad file, a zarr store, or 10x's .h5 file or matrix folder. It is not changed.
    save_model
        New folder for the trained model, with which `scdeepclust assign` labels more cells.
    """
    params = {f.name: options.pop(f.name) for f in fields(kind)}
    method = _meant(methods.get, kind.name(), **params)
    if save_model is not None:
        files.check_new(save_model)
    adata = files.read(input)
    model = _trained(adata, method, options)
    if save_model is not None:
        model.save(save_model)
        logger.info("saved the model to %s", save_model)
    from . import results

    results.write(adata, key_added, **results.of(model))
    return adata


def _trained(adata: AnnData, method: methods.Method, options: dict[str, Any]) -> Model:
    from .model import Model
    from .train import Interrupted

    known = inspect.signature(Model).parameters
    model = Model(adata, method, **{name: value for name, value in options.items() if name in known})
    with warnings.catch_warnings():
        # In a shell, Ctrl-C asks to stop, not to write down what there is.
        warnings.simplefilter("error", Interrupted)
        try:
            model.train(**{name: value for name, value in options.items() if name not in known})
        except Interrupted as error:
            raise KeyboardInterrupt from error
    return model


def assign(model: str, input: str, /, *, key_added: str, device: str) -> AnnData:
    """Label new cells with a saved model. Nothing is trained.

    Parameters
    ----------
    model
        Folder that --save-model wrote.
    input
        New cells, with the same kind of values in the same place as in training. The file is not changed.
    """
    from .model import Model

    trained = Model.load(model, device=device)
    adata = files.read(input)
    tl_assign(adata, trained, key_added=key_added)
    return adata


def list_methods() -> None:
    """List the methods, and what each of them is."""
    width = max(map(len, methods.registry()))
    for name, kind in methods.registry().items():
        print(f"{name:{width}}  {_readable(_about(kind)).partition(chr(10))[0]}")


def _about(source: Any) -> str:
    """What a docstring says before its first section, a line for each paragraph."""
    head = HEADER.split(inspect.cleandoc(source.__doc__ or ""))[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in head.strip().split("\n\n"))


def _documented(source: Any) -> dict[str, str]:
    """What docstrings say of each parameter; a class documents its own, and its bases theirs."""
    found = {}
    for owner in reversed(getattr(source, "__mro__", (source,))):
        _, *parts = HEADER.split(inspect.cleandoc(owner.__doc__ or ""))
        section = dict(zip(parts[::2], parts[1::2], strict=True)).get("Parameters", "")
        for block in re.split(r"\n(?=\S)", section.strip("\n")):
            names, _, text = block.partition("\n")
            found |= {name.strip(" *"): " ".join(text.split()) for name in names.partition(":")[0].split(",")}
    return found


def _readable(text: str, options: Collection[str] = ()) -> str:
    """Text without Sphinx's marks, and options as they are typed."""
    text = re.sub(r":[\w:]+:`~?([^`]*)`", r"\1", text)
    return re.sub(r"`+([^`]*)`+", lambda found: _typed(found[1]) if found[1] in options else found[1], text)


def _typed(name: str) -> str:
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


def _parameters(*sources: Any) -> dict[str, inspect.Parameter]:
    """Command-line parameters of documented dataclasses and functions; the first that has a name defines it."""
    found: dict[str, inspect.Parameter] = {}
    names = {name for source in sources for name in inspect.signature(source).parameters}
    for source in sources:
        texts, types = _documented(source), _types(source)
        of_method = isinstance(source, type) and issubclass(source, methods.Method)
        for name, parameter in inspect.signature(source).parameters.items():
            # What a function takes first, such as `adata`, is made of files here, and files need no copy.
            given = parameter.kind in {parameter.POSITIONAL_ONLY, parameter.KEYWORD_ONLY} and name != "copy"
            if given and name in texts and name not in found:
                group = GROUPS["Method" if of_method else PLACES.get(name, "Run")]
                kind = parameter.POSITIONAL_ONLY if parameter.default is parameter.empty else parameter.KEYWORD_ONLY
                shown = Annotated[
                    types[name], _presented(parameter.default, types[name], _readable(texts[name], names), group)
                ]
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
        consume_multiple=get_origin(hint) is tuple,
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


def _command(job: Callable[..., AnnData], parameters: dict[str, inspect.Parameter]) -> Callable[..., None]:
    """A function for cyclopts: checks, then `job` between reading and writing, then a report."""
    defaults = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}

    def call(*paths: str, **given: Any) -> None:
        *inputs, output = paths
        options = defaults | given
        session = _meant(
            Session, output=output, **{f.name: options.pop(f.name) for f in fields(Session) if f.name in options}
        )
        if session.quiet and "progress" in options:
            options["progress"] = False
        _check(inputs, output, options)
        start = time.perf_counter()
        with _reporting(session):
            _limit_threads(session.threads)
            adata = job(*inputs, **options)
            files.write(adata, output)
            logger.info("added obs[%r] and what belongs to it, in %s", options["key_added"], output)
        if session.json:
            _print_json(adata, options["key_added"], output, time.perf_counter() - start)

    call.__signature__ = inspect.Signature(sorted(parameters.values(), key=lambda p: p.kind))
    return call


def _meant(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function returns; what it refuses is a matter of the command, not of the data."""
    try:
        return function(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def _check(inputs: list[str], output: str, options: dict[str, Any]) -> None:
    """Refuse, before any work, what would fail after it."""
    from .results import check_key

    others = [options[name] for name in ("checkpoint", "save_model") if options.get(name) is not None]
    _meant(check_key, options["key_added"])
    for name in inputs:
        files.check_there(name)
    _meant(files.check_output, output, [*inputs, *others])


def _limit_threads(n: int | None) -> None:
    if n is None:
        return
    # Read by the OpenMP of scikit-learn when it is loaded.
    os.environ["OMP_NUM_THREADS"] = str(n)
    import numba
    import torch

    torch.set_num_threads(n)
    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))


@contextmanager
def _reporting(session: Session) -> Iterator[None]:
    """Show the package's log and warnings on standard error, a line each."""
    handler, level = logging.StreamHandler(), logger.level
    handler.setFormatter(_Lines())
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if session.quiet else logging.INFO)
    try:
        with warnings.catch_warnings():
            # Deprecations in libraries are no concern of who runs a command.
            warnings.simplefilter("ignore")
            warnings.simplefilter("default", UserWarning)
            warnings.simplefilter("default", RuntimeWarning)
            for known in KNOWN_WARNINGS:
                warnings.filterwarnings("ignore", known)
            warnings.showwarning = lambda message, *_, **__: _say("warning: ", message)
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return ("scdeepclust: warning: " if record.levelno >= logging.WARNING else "") + record.getMessage()


def _print_json(adata: AnnData, key: str, output: str, seconds: float) -> None:
    sizes = {str(name): int(n) for name, n in adata.obs[key].value_counts(sort=False).items()}
    method = adata.uns[key]["params"]["method"]
    found = {"output": output, "method": method, "n_clusters": len(sizes), "sizes": sizes, "seconds": round(seconds, 3)}
    print(dumps(found))


def _say(kind: str, message: object) -> None:
    print(f"scdeepclust: {kind}{' '.join(str(message).split())}", file=sys.stderr)


def _app() -> App:
    about = "Deep clustering of single cells. To cluster: scdeepclust METHOD in.h5ad out.h5ad. Options of a method: scdeepclust METHOD --help."
    app = App(
        name="scdeepclust",
        help=about,
        help_format="plaintext",
        version=f"scdeepclust {__version__}",
        group_commands=GROUPS["Commands"],
    )
    for name, kind in methods.registry().items():
        known = _parameters(cluster, kind, tl_deepclust, Session)
        app.command(
            _command(partial(cluster, kind=kind), known), name=name, help=_readable(_about(kind)), group="Methods"
        )
    known = _parameters(assign, tl_assign, Session) | {"device": _parameters(tl_deepclust)["device"]}
    app.command(_command(assign, known), name="assign", help=_readable(_about(assign)))
    app.command(list_methods, name="methods", help=_readable(_about(list_methods)))
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments; those of the process if None.

    Returns
    -------
    0 on success, 1 if data or the run fail, 2 if the command cannot be understood, 130 after Ctrl-C.
    """
    tokens = list(sys.argv[1:] if argv is None else argv)
    if tokens and tokens[0].lower() in methods.registry():
        tokens[0] = tokens[0].lower()
    names: Sequence[str] = ()
    debug = False
    try:
        command, bound, _ = _app().parse_args(tokens, exit_on_error=False, print_error=False)
        names, debug = list(bound.signature.parameters), bound.arguments.get("debug", False)
        command(*bound.args, **bound.kwargs)
    except KeyboardInterrupt:
        _say("", "interrupted; the output was not written")
        return 130
    except (CycloptsError, UsageError, *FAILURES) as error:
        if debug:
            traceback.print_exc()
        _say("error: ", _in_options(error, names))
        return 2 if isinstance(error, CycloptsError | UsageError) else 1
    return 0 if tokens else 2


def _in_options(error: BaseException, names: Sequence[str]) -> str:
    """What an error says, with `name=` as the option that it is here."""
    # str() of a KeyError is its message in quotes.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error) or type(error).__name__
    return re.sub(rf"(?<![\w.-])({'|'.join(names)})=", lambda found: _typed(found[1]) + "=", text) if names else text
