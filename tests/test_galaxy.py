"""Galaxy wrappers: they say what the package says, Galaxy's tools accept them, and their tests pass on Galaxy's libraries."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import scdeepclust as sdc
from scdeepclust import galaxy, options

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "galaxy"
WRAPPERS = sorted(FOLDER.glob("scdeepclust_*.xml"))
NAMES = [path.name for path in WRAPPERS]


def tree(name: str) -> ET.Element:
    return ET.parse(FOLDER / f"scdeepclust_{name}.xml").getroot()


def name_of(param: ET.Element) -> str:
    return param.get("name") or param.get("argument").removeprefix("--").replace("-", "_")


def test_writing_the_wrappers_anew_changes_nothing(tmp_path):
    galaxy.main(str(tmp_path))
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text() for path in FOLDER.glob("*.xml")}, "run `make galaxy`"


def test_every_parameter_of_every_method_is_asked_for(method):
    (when,) = tree("cluster").findall(f".//conditional[@name='method']/when[@value='{method.name}']")
    asked = {name_of(param): param for param in when.iter("param")}
    kind = type(method.small())
    assert set(asked) == {field.name for field in fields(kind)} | {
        "min_signal",
        "join_shifted",
    }  # the front's own, beside n_clusters
    told = options.options(kind)
    for field in fields(kind):
        param, limits = asked[field.name], options._bounds(told[field.name].hint)
        if param.get("type") in {"integer", "float"}:
            assert param.get("value") == (None if field.default is None else str(field.default))
            ends = {float(param.get(end)) for end in ("min", "max") if param.get(end)}
            assert ends == {float(limit.split()[-1]) for limit in limits}
            assert (param.find("validator") is not None) == any("above" in x or "below" in x for x in limits)
        elif param.get("type") == "boolean":
            assert param.get("checked") == str(field.default).lower()


def test_every_plot_is_offered():
    kinds = [option.get("value") for option in tree("plot").findall(".//param[@name='kind']/option")]
    assert [kind.replace("-", "_") for kind in kinds] == sorted(sdc.pl.__all__)


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=NAMES)
def test_commands_use_what_is_asked_for_and_nothing_else(wrapper):
    root = ET.parse(wrapper).getroot()
    asked, stack = set(), [(root.find("inputs"), ())]
    while stack:
        element, path = stack.pop()
        for child in element:
            inside = (*path, child.get("name")) if child.tag in {"section", "conditional"} else path
            if child.tag == "param":
                asked.add(".".join((*path, name_of(child))))
            stack.append((child, inside))
    used = set(re.findall(r"(?<!\\)\$([a-z_.]+[a-z_])", root.find("command").text)) - {"word", "figure"}
    assert used == asked


def test_one_version():
    tokens = {t.get("name"): t.text for t in ET.parse(FOLDER / "macros.xml").getroot().findall("token")}
    assert tokens["@TOOL_VERSION@"] == sdc.__version__


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=NAMES)
def test_every_choice_has_a_test_on_small_data(wrapper):
    root = ET.parse(wrapper).getroot()
    files = {param.get("value") for param in root.findall("tests/test/param[@name='input']")}
    assert all((FOLDER / "test-data" / name).stat().st_size < 1_000_000 for name in files)
    choices = {option.get("value") for option in root.findall("inputs/conditional/param/option")}
    assert {
        param.get("value")
        for param in root.findall("tests/test/conditional/param")
        if param.get("name") in {"method", "kind"}
    } == choices
    assert root.findall("tests/test/output")


# On Galaxy's own libraries

needs_galaxy = [
    pytest.mark.galaxy,
    pytest.mark.slow,
    pytest.mark.skipif(
        not importlib.util.find_spec("galaxy.tool_util") if importlib.util.find_spec("galaxy") else True,
        reason="galaxy-tool-util is not installed (dependency group `galaxy`)",
    ),
]


def started(name: str) -> str:
    """A command of this environment."""
    return shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name) or pytest.skip(f"no {name}")


def runs(wrapper: Path) -> subprocess.CompletedProcess:
    script = str(ROOT / "scripts" / "galaxy_tests.py")
    return subprocess.run([sys.executable, script, str(wrapper)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=NAMES)
class TestOnGalaxy:
    pytestmark = needs_galaxy

    def test_lint(self, wrapper):
        # The registry bio.tools can be asked over the network alone.
        words = [started("planemo"), "lint", "--fail_level", "warn", "--skip", "BioToolsValid", str(wrapper)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_test_cases_fit_the_inputs(self, wrapper):
        words = [started("galaxy-tool-test-case-validation"), str(wrapper)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        said = (done.stdout + done.stderr).lower()
        assert "validated" in said
        assert "failed" not in said

    def test_its_tests_pass(self, wrapper):
        done = runs(wrapper)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("passed") == len(ET.parse(wrapper).getroot().findall("tests/test"))


BROKEN = [
    ("scdeepclust plot", "scdeepclust plott", "plott"),  # the command
    ("--size '", "--sise '", "sise"),  # an option
    ('text="PNG"', 'text="GIF"', "GIF"),  # what must come out
    ('min="4k"', 'min="4G"', "4G"),
    ('expect_num_outputs="1"', 'expect_num_outputs="2"', "2 outputs expected"),
    ('<param name="format" value="png" />', '<param name="formatt" value="png" />', "formatt"),
]


@pytest.mark.parametrize(("old", "new", "said"), BROKEN, ids=lambda text: re.sub(r"\W+", "-", text))
class TestABrokenWrapper:
    pytestmark = needs_galaxy

    def test_fails(self, tmp_path, old, new, said):
        """The runner is worth nothing unless it notices."""
        root = ET.parse(FOLDER / "scdeepclust_plot.xml").getroot()
        tests = root.find("tests")
        for test in list(tests):
            if test.find("conditional/param[@name='kind']").get("value") != "umap":
                tests.remove(test)
        (umap,) = tests
        umap.find("param[@name='format']").set("value", "png")
        umap.find("output/assert_contents/has_text").set("text", "PNG")
        ET.SubElement(umap.find("conditional"), "param", name="size", value="3")
        text = ET.tostring(root, encoding="unicode")
        assert old in text
        (tmp_path / "test-data").symlink_to(FOLDER / "test-data")
        shutil.copy(FOLDER / "macros.xml", tmp_path)
        wrapper = tmp_path / "scdeepclust_plot.xml"
        wrapper.write_text(text.replace(old, new))
        done = runs(wrapper)
        assert done.returncode == 1
        assert done.stdout.startswith("FAILED")
        assert said in done.stdout
