"""`python scripts/galaxy_tests.py WRAPPER.xml ...`: run the tests of Galaxy wrappers without a Galaxy.

Galaxy's own libraries read the wrapper, fill in its command and judge what comes out; `scdeepclust` must be on the PATH,
and galaxy-tool-util and Cheetah installed (the dependency group `galaxy`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from Cheetah.Template import Template
from galaxy.tool_util.parser import get_tool_source
from galaxy.tool_util.verify.asserts import verify_assertions


def defaults(page: Any, given: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Values of all parameters, as given or else as they are at first; nested as in the wrapper."""
    values: dict[str, Any] = {}
    for source in page.parse_input_sources():
        name, kind = source.get("name") or source.parse_name(), source.parse_input_type()
        path = f"{before}{name}"
        if kind == "conditional":
            test = source.parse_test_input_source()
            chosen = given.pop(f"{path}|{test.parse_name()}", None) or first(test)
            values[name] = {test.parse_name(): chosen}
            for case, inner in source.parse_when_input_sources():
                if case == chosen:
                    values[name] |= defaults(inner, given, f"{path}|")
        elif kind == "section":
            values[name] = defaults(source.parse_nested_inputs_source(), given, f"{path}|")
        else:
            value = given.pop(path, None)
            values[name] = first(source) if value is None else spoken(source, value)
    return values


def first(source: Any) -> str:
    """What a parameter is before anybody touches it."""
    if source.get("type") == "boolean":
        return spoken(source, source.get("checked", "false"))
    if source.get("type") == "select":
        options = source.parse_static_options()
        return ",".join([value for _, value, selected in options if selected] or [options[0][1]])
    return source.get("value") or ""


def spoken(source: Any, value: str) -> str:
    """What a parameter adds to the command."""
    if source.get("type") == "boolean":
        return source.get("truevalue" if value == "true" else "falsevalue") or ""
    return value


def outputs_of(source: Any, values: dict[str, Any]) -> dict[str, Any]:
    """The outputs that these values ask for."""
    found, _ = source.parse_outputs(None)
    return {name: each for name, each in found.items() if all(values.get(f.text.strip()) for f in each.filters)}


def expect(condition: object, message: str) -> None:
    """What has to hold."""
    if not condition:
        raise AssertionError(message)


def run(wrapper: Path, source: Any, test: dict[str, Any]) -> None:
    """One test; an AssertionError says what is wrong."""
    given = {each["name"]: each["value"] for each in test["inputs"]}
    (page,) = source.parse_input_pages().page_sources
    values = defaults(page, given)
    expect(not given, f"the test gives {sorted(given)}, which the wrapper does not ask for")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in (name for name, value in values.items() if str(value).endswith(".h5ad")):
            (work / "input.dat").write_bytes((wrapper.parent / "test-data" / values[name]).read_bytes())
            values[name] = str(work / "input.dat")
        expected = outputs_of(source, values)
        paths = {name: each.from_work_dir or f"{name}.dat" for name, each in expected.items()}
        values |= {name: str(work / path) for name, path in paths.items()}
        command = str(Template(source.parse_command(), searchList=[values])).replace("\n", " ")
        environment = {**os.environ, "GALAXY_SLOTS": "1"}
        done = subprocess.run(
            ["bash", "-c", command], cwd=work, env=environment, capture_output=True, text=True, check=False
        )
        expect(done.returncode == 0, f"{command}\n{done.stderr}")
        number = test["expect_num_outputs"] and int(test["expect_num_outputs"])
        expect(number in {None, len(paths)}, f"{number} outputs expected, {len(paths)} made")
        for output in test["outputs"]:
            data = (work / paths[output["name"]]).read_bytes()
            verify_assertions(data, output["attributes"]["assert_list"])


def main(*wrappers: str) -> int:
    """Run all tests, print what became of each, and return how many failed."""
    failed = 0
    for wrapper in map(Path, wrappers):
        source = get_tool_source(str(wrapper))
        for i, test in enumerate(source.parse_tests_to_dict()["tests"]):
            try:
                run(wrapper, source, test)
            except AssertionError as error:
                failed += 1
                print(f"FAILED {wrapper.name} {i}: {error}")
            else:
                print(f"passed {wrapper.name} {i}")
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) > 0)
