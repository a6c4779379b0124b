"""What must not wait for torch, scanpy and scvi-tools: the import, the help, and mistakes in a command."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

HEAVY = {"anndata", "numba", "pandas", "scanpy", "scvi", "sklearn", "torch"}
COMMANDS = [
    *(["--help"], ["--version"], ["methods"], ["completion", "bash"], ["plot", "--help"], ["plot", "trends", "--help"]),
    *([name, "--help"] for name in ("idec", "assign", "lineage", "n-clusters", "neighbors", "denoise", "demo")),
    *(["idec", "in.h5ad"], ["idec", "--print-config"], ["plot", "pie", "in.h5ad", "out.png"]),
]
HELP_SECONDS = 0.5  # of a processor


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
        "import scdeepclust.galaxy; scdeepclust.galaxy.written()",
    ],
)
def test_imports_are_light(code):
    assert loaded(code) == set()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_that_read_nothing_are_light(command):
    assert loaded(f"from scdeepclust.cli import main; main({command})") == set()


@pytest.mark.slow  # a busy machine takes longer; what it must not load is tested above
@pytest.mark.parametrize("command", [["--help"], ["idec", "--help"], ["plot", "--help"]], ids=" ".join)
def test_help_comes_at_once(command):
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "scdeepclust", *command], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < HELP_SECONDS
