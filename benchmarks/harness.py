"""What the benchmarks share: a process for each job, rows that are kept as they come, and tables of them."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
FAILED = []  # jobs of this script
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def add_peers(parser, known):
    """The argument --peer of a script: a peer that it knows, and a Python that has it."""

    def named_python(text):
        name, _, python = text.partition("=")
        if name not in known or not python:
            msg = f"{text!r} is not NAME=PYTHON with NAME of {', '.join(known)}"
            raise argparse.ArgumentTypeError(msg)
        return name, python

    parser.add_argument("--peer", action="append", default=[], type=named_python, metavar="NAME=PYTHON")


def done(path, columns):
    """What is in a CSV already, as the values of these columns."""
    import pandas as pd

    return set(pd.read_csv(path)[columns].itertuples(index=False, name=None)) if path.exists() else set()


def rows_of(script, *arguments):
    """Rows that `work(*arguments)` of a script prints, each a line of JSON, as they come from a process of its own.

    The end of what it says besides is shown; that of an error, the rows before it notwithstanding. A script whose jobs fail
    ends with an error, after the tables of the others (:func:`publish`).
    """
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import {script}; {script}.work(*{arguments!r})"
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=said, text=True, env=os.environ | ONE_THREAD
        ) as process,
    ):
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
        if process.wait():
            said.seek(0)
            print(said.read()[-1500:], file=sys.stderr)
            FAILED.append(f"{script} {' '.join(map(str, arguments))}")


def append(row, path, *, columns=None, digits=4):
    """Add a row to a CSV, which is made if it is not there."""
    import pandas as pd

    path.parent.mkdir(exist_ok=True)
    new = pd.DataFrame([row], columns=columns).round(digits)
    new.to_csv(path, mode="a", header=not path.exists(), index=False)


def publish(path, text):
    """Write what a script's rows come to beside its CSV, where the documentation includes it, and show it.

    Raises
    ------
    SystemExit
        Some jobs have failed.
    """
    path.with_suffix(".md").write_text(text.rstrip("\n") + "\n")
    print(text)
    if FAILED:
        sys.exit(f"Rows are missing of {len(FAILED)} jobs that failed: {'; '.join(FAILED)}. What they said is above.")


def spelled(mean, spread, digits=3):
    """Means as text, ± their spread where there is one: a single run has none."""
    written = f"{{:.{digits}f}}".format
    several = spread.map(lambda value: f" ± {written(value)}").where(spread.notna(), "")
    return (mean.map(written) + several).where(mean.notna(), "")


def markdown(frame, corner=""):
    """A frame as a table, with a word above its index."""
    head = [corner, *map(str, frame.columns)]
    rows = zip(frame.index, frame.to_numpy(), strict=True)
    lines = [head, ["---"] * len(head), *([str(i), *map(str, row)] for i, row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
