"""What must not wait for torch, scanpy and scvi-tools: the import, the help, and mistakes in a command."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"anndata", "numba", "pandas", "scanpy", "scvi", "sklearn", "torch"}
COMMANDS = [["--help"], ["--version"], ["methods"], ["idec", "--help"], ["assign", "--help"], ["idec", "in.h5ad"]]


def loaded(code: str) -> set[str]:
    """Heavy modules that a fresh interpreter has after `code`."""
    script = f"import sys\n{code}\nprint('loaded:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return HEAVY & set(done.stdout.rpartition("loaded:")[2].split())


def test_the_probe_sees_what_is_loaded():
    assert "pandas" in loaded("import pandas")


@pytest.mark.parametrize(
    "code",
    [
        "import scdeepclust",
        "import scdeepclust; scdeepclust.methods.registry()",
        "import scdeepclust; scdeepclust.tl",
        "import scdeepclust.cli",
    ],
)
def test_imports_are_light(code):
    assert loaded(code) == set()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_that_read_nothing_are_light(command):
    assert loaded(f"from scdeepclust.cli import main; main({command})") == set()
