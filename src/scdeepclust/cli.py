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
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge
from cyclopts import App, CycloptsError

from . import __version__, files, methods
from .methods.parameters import checked, hints
from .options import GROUPS, about, parameters, readable, typed
from .tl._assign import assign as tl_assign
from .tl._deepclust import deepclust as tl_deepclust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anndata import AnnData

    from .model import Model

logger = logging.getLogger("scdeepclust")

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
        print(f"{name:{width}}  {readable(about(kind)).partition(chr(10))[0]}")


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
    summary = (
        "Deep clustering of single cells. To cluster: scdeepclust METHOD in.h5ad out.h5ad. "
        "Options of a method: scdeepclust METHOD --help."
    )
    app = App(
        name="scdeepclust",
        help=summary,
        help_format="plaintext",
        version=f"scdeepclust {__version__}",
        group_commands=GROUPS["Commands"],
    )
    for name, kind in methods.registry().items():
        known = parameters(cluster, kind, tl_deepclust, Session)
        app.command(
            _command(partial(cluster, kind=kind), known), name=name, help=readable(about(kind)), group="Methods"
        )
    known = parameters(assign, tl_assign, Session) | {"device": parameters(tl_deepclust)["device"]}
    app.command(_command(assign, known), name="assign", help=readable(about(assign)))
    app.command(list_methods, name="methods", help=readable(about(list_methods)))
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
    return re.sub(rf"(?<![\w.-])({'|'.join(names)})=", lambda found: typed(found[1]) + "=", text) if names else text
