"""Recipes, wheel and citation say what pyproject.toml says."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# conda-forge calls some packages otherwise.
CONDA = {"igraph": "python-igraph", "lazy-loader": "lazy_loader", "matplotlib": "matplotlib-base", "torch": "pytorch"}


def recipe() -> str:
    return (ROOT / "packaging" / "bioconda" / "meta.yaml").read_text()


def test_the_recipe_needs_what_the_package_needs():
    block = recipe().partition("  run:\n")[2].partition("\n\n")[0]
    there = dict(re.match(r"\s+- (\S+) (.+)", line).groups() for line in block.splitlines())
    needed = dict(re.match(r"([\w-]+)(.*)", text).groups() for text in PROJECT["dependencies"])
    expected = {CONDA.get(name, name): limits for name, limits in needed.items()}
    assert there == expected | {"python": PROJECT["requires-python"]}


def test_the_recipe_makes_the_same_commands_and_version():
    text = recipe()
    assert f'version = "{PROJECT["version"]}"' in text
    assert dict(re.findall(r"- (\S+) = (\S+:main)", text)) == PROJECT["scripts"]


def test_the_recipe_is_yaml_once_it_is_filled_in():
    yaml = pytest.importorskip("yaml")
    jinja2 = pytest.importorskip("jinja2")
    filled = jinja2.Template(recipe()).render(PYTHON="python", pin_subpackage=lambda name, **_: name)
    found = yaml.safe_load(filled)
    assert found["package"] == {"name": PROJECT["name"], "version": PROJECT["version"]}
    assert found["about"]["license"] == PROJECT["license"]


def test_types_are_declared():
    assert (ROOT / "src" / "scdeepclust" / "py.typed").exists()


def test_the_entry_for_bio_tools_is_of_this_package_and_the_wrappers_refer_to_it():
    entry = json.loads((ROOT / "packaging" / "biotools.json").read_text())
    assert entry["name"] == PROJECT["name"]
    assert entry["license"] == PROJECT["license"]
    assert f'<xref type="bio.tools">{entry["biotoolsID"]}</xref>' in (ROOT / "galaxy" / "macros.xml").read_text()
