"""The rules of the house, read off the sources."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from dataclasses import asdict, fields
from pathlib import Path

import pytest

import scdeepclust as sdc
from scdeepclust import selection

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "scdeepclust"
FILES = {path.relative_to(SRC).as_posix(): ast.parse(path.read_text()) for path in sorted(SRC.rglob("*.py"))}

KNOW_ANNDATA = (
    "data/",
    "tl/",
    "pp/",
    "pl/",
    "datasets/",
    "results.py",
    "formats.py",
    "files.py",
    "commands.py",
    "demo.py",
    "report.py",
)
MAY_NAME_ANNDATA = ("model.py",)  # as a type only
# Leiden of scanpy, and scvi-tools, take nothing but an AnnData, so arrays are wrapped in one there.
WRAPS_ARRAYS = ("diffusion/partition.py", "methods/scvi.py")

# Nothing imports, when it is loaded, from a room of a higher floor.
FLOORS = [
    (
        "distributed",
        "kernels",
        "progress",
        "resizable",
        "schedule",
        "replay",
        "seeding",
        "losses",
        "views",
        "networks",
        "diffusion",
        "clustering",
    ),
    ("data",),
    ("methods", "selection"),
    ("train", "checkpoint", "arguments"),
    ("model", "results", "storage"),
    ("tl", "pp", "pl"),
    (
        "formats",
        "files",
        "options",
        "described",
        "session",
        "config",
        "commands",
        "report",
        "demo",
        "cli",
        "galaxy",
        "__main__",
    ),
]
FLOOR = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
APART = ("metrics", "datasets")  # users of nothing of ours


def typing_only(tree):
    """Nodes under `if TYPE_CHECKING:`."""
    tests = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")]
    return {id(inner) for test in tests for body in test.body for inner in ast.walk(body)}


def in_functions(tree):
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {id(inner) for function in functions for inner in ast.walk(function)}


def imports(name, *, typing=False, functions=True):
    """Absolute names of what a file imports."""
    tree = FILES[name]
    skip = (set() if typing else typing_only(tree)) | (set() if functions else in_functions(tree))
    package = ["scdeepclust", *Path(name).parts[:-1]]
    for node in ast.walk(tree):
        if id(node) in skip:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(name):
    return Path(name).parts[0].removesuffix(".py")


@pytest.mark.parametrize("name", [n for n in FILES if room(n) in FLOOR])
def test_arrows_point_one_way(name):
    rooms = {part.split(".")[1] for part in imports(name) if part.startswith("scdeepclust.")}
    above = {other for other in rooms if FLOOR.get(other, -1) > FLOOR[room(name)]}
    assert not above


@pytest.mark.parametrize("name", [n for n in FILES if room(n) in APART])
def test_metrics_and_data_sets_stand_apart(name):
    rooms = {part.split(".")[1] for part in imports(name) if part.startswith("scdeepclust.")}
    assert rooms <= {room(name)}


def test_every_room_has_its_floor():
    rooms = {room(name) for name in FILES} - {"__init__", *APART}
    assert rooms <= set(FLOOR)


@pytest.mark.parametrize("name", [n for n in FILES if not n.startswith(KNOW_ANNDATA)])
def test_who_knows_anndata(name):
    found = [part for part in imports(name, typing=name in MAY_NAME_ANNDATA) if part.partition(".")[0] == "anndata"]
    if name in WRAPS_ARRAYS:
        assert not any(part.startswith("anndata") for part in imports(name, functions=False))
        return
    typed = [part for part in imports(name) if part.partition(".")[0] == "anndata"]
    assert not (typed if name in MAY_NAME_ANNDATA else found)


@pytest.mark.parametrize("name", [n for n in FILES if room(n) in {"losses", "networks", "diffusion", "methods"}])
def test_the_four_axes_do_not_read_anndata(name):
    assert not [
        part for part in imports(name, typing=True) if part.startswith(("scdeepclust.data.read", "scdeepclust.results"))
    ]


# A default of `method` is a name; nothing else may be.
DEFAULTS = {"tl/_deepclust.py", "model.py"}


def docstrings(tree):
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, kinds) and node.body]
    return {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}


def default_of_method(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            given = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            yield from (id(d) for a, d in zip(given, node.args.defaults, strict=True) if a.arg == "method")


def words(name):
    """Strings and identifiers of a file, docstrings left out."""
    tree = FILES[name]
    skip = docstrings(tree) | (set(default_of_method(tree)) if name in DEFAULTS else set())
    for node in ast.walk(tree):
        if id(node) in skip:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        for attribute in ("id", "attr", "name", "arg", "asname", "module"):
            value = getattr(node, attribute, None)
            if isinstance(value, str):
                yield value


def own_file(method):
    return Path(inspect.getfile(sdc.methods.registry()[method])).relative_to(SRC).as_posix()


def test_no_method_is_named_outside_its_own_file(method):
    if method.name == "none":
        pytest.skip("a word that means other things elsewhere")
    parents = {
        own_file(other)
        for other, kind in sdc.methods.registry().items()
        if issubclass(kind, sdc.methods.registry()[method.name])
    }
    # A method that refines another one imports it: that is what tells them apart.
    others = [name for name in FILES if name not in parents]
    # An identifier, a string that is the name, or a text that quotes it; prose may mention a paper's method.
    name = re.escape(method.name)
    pattern = re.compile(rf"^(\w+\.)*{name}$|['\"`=]{name}['\"`]", re.IGNORECASE)
    found = {name: hits for name in others if (hits := [w for w in words(name) if pattern.search(w)])}
    assert not found


def test_a_method_has_a_file_that_states_its_place(method):
    docstring = ast.get_docstring(FILES[own_file(method.name)])
    assert docstring.count(" x ") >= 3, "network x representation loss x clustering loss x schedule"


def test_every_parameter_is_documented(method):
    documented = []
    for kind in type(method.small()).__mro__:
        doc = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
        if "Parameters\n----------" in doc:
            section = re.split(r"\n\n\w+\n-+\n", doc.split("Parameters\n----------\n")[1])[0]
            for line in re.findall(r"^(\w[\w, ]*)$", section, re.MULTILINE):
                documented += line.split(", ")
    names = {f.name for f in fields(method.small())}
    assert set(documented) == names


def defaults(function):
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


def test_defaults_that_several_functions_share_are_the_same():
    """Those of choices are said in signatures, where users look for them, and those of a method in its fields."""
    method = sdc.methods.get("idec")
    for front in (sdc.tl.n_clusters, sdc.tl.partition_loss, sdc.pp.neighbors):
        own = defaults(front)
        for name in {"transform", "gene_scaling", "n_pcs"} & {name for name, value in own.items() if value is not None}:
            assert own[name] == getattr(method, name), (front.__name__, name)
    rules, own = selection.Rules(), defaults(sdc.tl.n_clusters)
    assert {f.name: own[f.name] for f in fields(rules)} == asdict(rules)
    assert defaults(sdc.tl.deepclust)["join_shifted"] is rules.join_shifted
    shared = set(defaults(sdc.Model)) & set(defaults(sdc.tl.deepclust))
    assert {n: defaults(sdc.Model)[n] for n in shared} == {n: defaults(sdc.tl.deepclust)[n] for n in shared}


def test_there_is_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
    assert {project, citation, sdc.__version__} == {project}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import scdeepclust", ["torch", "scanpy", "anndata", "scvi", "numba", "sklearn"]),
        ("import scdeepclust.methods", ["torch", "scanpy", "anndata", "scvi", "numba", "sklearn"]),
        ("import scdeepclust.metrics, scdeepclust.datasets", ["torch", "scanpy", "scvi"]),
        ("from scdeepclust import tl; tl.deepclust", ["torch", "scanpy", "scvi"]),
        ("from scdeepclust import Model", ["scanpy", "scvi"]),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_an_import_loads(statement, absent):
    code = f"import sys\n{statement}\nprint(*[m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", FILES)
def test_no_assert_in_the_sources(name):
    assert not [node.lineno for node in ast.walk(FILES[name]) if isinstance(node, ast.Assert)]


def test_no_name_that_is_loaded_on_first_use_is_that_of_a_file_beside_it():
    """Else what one gets by it depends on what was asked for before."""
    for package in SRC.rglob("__init__.py"):
        if "lazy_loader" in package.read_text():
            module = importlib.import_module(".".join(package.parent.relative_to(SRC.parent).parts))
            assert not {path.stem for path in package.parent.glob("*.py")}.intersection(module.__all__)
