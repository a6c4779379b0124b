"""What every command has in common: its settings, and what it says on the way."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from .methods.parameters import checked, hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

logger = logging.getLogger(__package__)

# Training does not ask for gene names, and labelling refuses repeated ones itself; the format of zarr is anndata's.
KNOWN_WARNINGS = ("(Observation|Variable) names are not unique", "Writing zarr v2")


class UsageError(Exception):
    """The command cannot be meant as it was given."""


def meant(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function returns; what it refuses is a matter of the command, not of the data."""
    try:
        return function(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


class Settings:
    """Options that are checked before any work."""

    def __post_init__(self) -> None:
        for name, hint in hints(type(self)).items():
            checked(name, getattr(self, name), hint)

    @classmethod
    def taken(cls, options: dict[str, Any]) -> Self:
        """Those of `options` that are of this kind, taken out of them."""
        return meant(cls, **{f.name: options.pop(f.name) for f in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class Session(Settings):
    """What every command that works is told, whatever it does.

    Parameters
    ----------
    threads
        CPU threads. None leaves the choice to the libraries; sums, and so results, may depend on it.
    quiet
        Whether to be silent about what goes well. Warnings and errors are still shown.
    config
        TOML file with options, in a table named after the command, as `print_config` writes it. What is given beside it
        counts more.
    print_config
        Whether to do nothing but print all options, as they are now, in the form that `config` reads.
    debug
        Whether to show where in the code an error arose.
    """

    threads: Annotated[int, Ge(1)] | None = None
    quiet: bool = False
    config: str | None = None
    print_config: bool = False
    debug: bool = False


@dataclass(frozen=True, kw_only=True)
class Output(Settings):
    """What commands that write cells are told.

    Parameters
    ----------
    output
        Where the same cells go with what was found: .h5ad (or .zarr). Written last, and whole or not at all.
    in_place
        Whether to replace the input, an .h5ad file, instead.
    report
        Page to write of what was done, what was chosen and what came out: .html, all in one file.
    json
        Whether to print one line of JSON to standard output: path, command, clusters and their sizes, seconds, and the
        record of the run without its tables.
    """

    output: str | None = None
    in_place: bool = False
    report: str | None = None
    json: bool = False


def limit_threads(n: int | None) -> None:
    """Let libraries use so many threads, or as many as they like."""
    if n is None:
        return
    # Read by the OpenMP of scikit-learn when it is loaded.
    os.environ["OMP_NUM_THREADS"] = str(n)
    import numba
    import torch

    torch.set_num_threads(n)
    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))


@contextmanager
def reporting(session: Session, worded: Callable[[str], str]) -> Iterator[None]:
    """Show the package's log and warnings on standard error, a line each, in the words of the command line."""
    handler, level = logging.StreamHandler(), logger.level
    handler.setFormatter(_Lines(worded))
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
            warnings.showwarning = lambda message, *_, **__: say("warning: ", worded(str(message)))
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Lines(logging.Formatter):
    def __init__(self, worded: Callable[[str], str]) -> None:
        super().__init__()
        self.worded = worded

    def format(self, record: logging.LogRecord) -> str:
        # Other lines are of what was done; they may name files, whose names stay as they are.
        text, warns = record.getMessage(), record.levelno >= logging.WARNING
        return f"scdeepclust: warning: {self.worded(text)}" if warns else text


def say(kind: str, message: object) -> None:
    """One line on standard error."""
    print(f"scdeepclust: {kind}{' '.join(str(message).split())}", file=sys.stderr)
