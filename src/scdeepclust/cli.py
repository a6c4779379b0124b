"""The command line: a command for each method and public function, its options read off their own parameters.

Help must not wait for torch or scanpy, so what needs them is imported when a command runs.
"""

from __future__ import annotations

import sys
import traceback
from functools import partial
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cyclopts import App, CycloptsError, UnknownOptionError
from cyclopts.config import Dict

from . import __version__, commands, config, methods
from .described import front, public
from .methods.parameters import known_here, nearest
from .options import GROUPS, about, as_typed, parameters, readable, typed
from .session import Output, Session, UsageError, limit_threads, meant, reporting, say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FAILURES = (ImportError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)

# Behind the commands of methods, and `assign` because it takes two inputs: all others follow from their signature.
BY_HAND = {"deepclust", "assign", "partition_loss", "tune"}  # the last two give tables, no cells


def _command(
    words: Sequence[str], job: Callable[..., None], known: dict[str, Parameter], *, printing: bool
) -> Callable[..., None]:
    """A function for cyclopts: `job` with what was given, in a session."""
    defaults = {name: None if p.default is p.empty else p.default for name, p in known.items()}
    paths = [name for name, p in known.items() if p.kind is p.POSITIONAL_ONLY]

    def call(*there: str, **given: Any) -> None:
        options = defaults | dict(zip(paths, there, strict=False)) | given
        if printing:
            hidden = {*paths, "config", "print_config"}
            print(config.written(words, {k: v for k, v in options.items() if k not in hidden}, defaults))
            return
        session = Session.taken(options)
        if session.quiet and "progress" in options:
            options["progress"] = False
        with reporting(session, lambda text: as_typed(text, known)):
            limit_threads(session.threads)
            job(**options)

    # What may be left out comes last.
    needed = [_optional(p) if printing and p.default is p.empty else p for p in known.values()]
    call.__signature__ = Signature(sorted(needed, key=lambda p: (p.kind, p.default is not p.empty)))
    return call


def _optional(parameter: Parameter) -> Parameter:
    """The same parameter where nothing has to be given."""
    hint, *how = get_args(parameter.annotation)
    return parameter.replace(default=None, annotation=Annotated[hint | None, *how])


def _app(tokens: Sequence[str]) -> App:
    summary = (
        "Deep clustering of single cells. To cluster: scdeepclust METHOD in.h5ad out.h5ad. "
        "Options of a method: scdeepclust METHOD --help."
    )
    named = config.path_in(tokens)
    told = {} if named is None else meant(config.read, named)
    look = {"help_format": "plaintext", "group_commands": GROUPS["Commands"]}
    app = App(
        name="scdeepclust",
        help=summary,
        version=f"scdeepclust {__version__}",
        config=[] if named is None else [Dict(told, source=named)],
        **look,
    )
    printing = typed("print_config") in tokens

    def wanted(words: tuple[str, ...]) -> bool:
        """Whether options matter: those of commands that are only listed would take half of the time of a help page."""
        return tuple(tokens[: len(words)]) == words or tokens[:1] == ["completion"]

    def add(words: tuple[str, ...], job: Callable[..., None], *sources: Any, about_it: Any, **kept: Any) -> None:
        more = kept.pop("more", {})
        known = parameters(*sources, Session) | more if wanted(words) else {}
        parent = plots if len(words) > 1 else app
        call = _command(words, job, known, printing=printing)
        paths = [name.upper() for name, p in known.items() if p.kind is p.POSITIONAL_ONLY]
        usage = f"Usage: scdeepclust {' '.join([*words, *paths])} [OPTIONS]"
        parent.command(call, name=words[-1], help=readable(about(about_it)), usage=usage, **kept)

    def writing(name: str, job: Callable[..., Any]) -> Callable[..., None]:
        return commands.writes_cells([name], job, tokens)

    train = front("tl", "deepclust")
    for name, kind in methods.registry().items():
        job = writing(name, partial(commands.cluster, kind=kind))
        add((name,), job, commands.cluster, kind, train, Output, about_it=kind, group=GROUPS["Methods"])
    for area in ("pp", "tl"):
        for name in (name for name in public(area) if name not in BY_HAND):
            function, word = front(area, name), name.replace("_", "-")
            job = writing(word, partial(commands.add, function=function))
            add((word,), job, commands.add, function, Output, about_it=function)
    job = writing("assign", commands.assign)
    add(("assign",), job, commands.assign, front("tl", "assign"), Output, about_it=commands.assign)
    plots = App(name="plot", help=readable(about(commands.plot)), **look)
    app.command(plots)
    for name in public("pl"):
        function, word = front("pl", name), name.replace("_", "-")
        add(("plot", word), partial(commands.plot, function=function), commands.plot, function, about_it=function)
    add(("demo",), commands.demo, commands.demo, about_it=commands.demo)
    app.command(commands.list_methods, name="methods", help=readable(about(commands.list_methods)))

    def completion(shell: Literal["bash", "zsh"], /) -> None:
        """Print a script that completes commands and options: eval "$(scdeepclust completion bash)"."""
        print(app.generate_completion(shell=shell))

    app.command(completion)
    *parents, word = tokens[:2] if tokens[:1] == ["plot"] else tokens[:1] or [""]
    here = ".".join([*parents, word])
    for before, tables, parent in (("", told, app), ("plot.", told.get("plot", {}), plots)):
        for table, options in tables.items():
            if not isinstance(options, dict):
                msg = f"{named!r} has {before}{table} outside of a table; options of this command stand under [{here}]."
                raise UsageError(msg)
            if table not in (known := list(parent.resolved_commands())):
                msg = f"{named!r} has a table [{before}{table}], which is no command.{nearest(table, known)}"
                raise UsageError(msg)
    if told and word not in (told.get("plot", {}) if parents else told):
        say("warning: ", f"{named!r} has no table [{here}], so nothing in it is used.")
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
    known: Mapping[str, Parameter] = {}
    saved = None
    debug = typed("debug") in tokens
    try:
        command, bound, _ = _app(tokens).parse_args(tokens, exit_on_error=False, print_error=False)
        known, saved = bound.signature.parameters, bound.kwargs.get("checkpoint")
        debug = debug or bool(bound.kwargs.get("debug"))
        command(*bound.args, **bound.kwargs)
    except KeyboardInterrupt as stopped:
        left = str(stopped) or "the output was not written"
        more = f"; the same command goes on from {saved!r}" if saved and not str(stopped) else ""
        say("", f"interrupted; {left}{more}")
        return 130
    except (CycloptsError, UsageError, *FAILURES) as error:
        if debug:
            traceback.print_exc()
        say("error: ", as_typed(_said(error), known))
        return 2 if isinstance(error, CycloptsError | UsageError) else 1
    return 0 if tokens else 2


def _said(error: BaseException) -> str:
    """What an error says; of an option of another package, what it is called here."""
    if isinstance(error, UnknownOptionError):
        option = (error.token.keyword or error.token.value).partition("=")[0]
        names = {name[2:].replace("-", "_"): name for each in error.argument_collection for name in each.names}
        if here := known_here(option.removeprefix("--").replace("-", "_"), names):
            return f"Unknown option: {option}. Here it is {' or '.join(names[name] for name in here)}."
    # str() of a KeyError is its message in quotes.
    return str(error.args[0] if isinstance(error, KeyError) and error.args else error) or type(error).__name__
