"""The pages tell the truth: their code runs as it stands, and the worked example is a method like any other."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import log_softmax
from sklearn.metrics import adjusted_rand_score

import scdeepclust as sdc
from scdeepclust import cli
from scdeepclust.methods import base

DOCS = Path(__file__).parents[1] / "docs"
PACKAGE = Path(sdc.__file__).parent
EXEMPLARY = [
    p for p in sorted(PACKAGE.rglob("*.py")) if re.search(r" >>> (?!.*SKIP)(?!from)", p.read_text(encoding="utf-8"))
]
# A block is not run where the line above it begins with "% not run:" and says why.
BLOCK = re.compile(r"^(?P<note>%.*\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def run_the_blocks(page):
    text, names = page.read_text(), {"__name__": page.stem}
    for block in BLOCK.finditer(text):
        if not (block["note"] or "").startswith("% not run:"):
            line = text[: block.start("code")].count("\n")
            # Empty lines before it make a traceback name the line of the page.
            exec(compile("\n" * line + block["code"], str(page), "exec"), names)
            plt.close("all")


def test_the_guide_runs_page_by_page(tmp_path):
    # In a process of its own: readers have no fixtures, and numba's threads, which scanpy starts, slow a busy machine down.
    env = os.environ | {"MPLBACKEND": "agg", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", __file__]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("file", [str(p.relative_to(PACKAGE)) for p in EXEMPLARY])
def test_examples_in_docstrings_run(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(".".join(["scdeepclust", *Path(file).with_suffix("").parts]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few steps do not converge
        found = doctest.testmod(module, verbose=False)
    plt.close("all")
    assert found.attempted
    assert not found.failed


@pytest.fixture
def example(monkeypatch):
    """The module of the worked example; its method is registered for the time of a test."""
    monkeypatch.setattr(base, "_registry", dict(base.registry()))
    spec = importlib.util.spec_from_file_location("deep_kmeans", DOCS / "developer" / "deep_kmeans.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "deep_kmeans", module)
    spec.loader.exec_module(module)
    return module


def test_the_example_finds_separated_types_and_serves_new_cells_after_loading(example, types, tmp_path):
    model = sdc.Model(types, "deepkmeans", n_clusters=3, pretrain_steps=100, cluster_steps=50, n_init=3)
    model.train(progress=False)
    assert adjusted_rand_score(types.obs["cell_type"], model.predict()) > 0.95
    assert {"reconstruction", "kmeans"} <= set(model.history)
    model.save(tmp_path / "model")
    new = sdc.tl.assign(types, tmp_path / "model", copy=True)
    np.testing.assert_array_equal(new.obs["deepclust"], model.predict())


def test_the_example_goes_on_from_a_checkpoint(example, types, tmp_path, same):
    def weights(**arguments):
        method = example.DeepKMeans(n_clusters=3, pretrain_steps=6, cluster_steps=6, n_init=3)
        model = sdc.Model(types, method)
        model.train(progress=False, **arguments)
        return {name: value.numpy() for name, value in model.net.state_dict().items()}

    once = weights(checkpoint=tmp_path / "run.ckpt")
    same(weights(checkpoint=tmp_path / "run.ckpt"), once)
    same(weights(), once)


def test_the_loss_of_the_example_is_its_formula(example):
    rng = np.random.default_rng(0)
    z, centres = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    method = example.DeepKMeans(hardness=0.7)
    net = SimpleNamespace(centroids=SimpleNamespace(weight=torch.tensor(centres)))
    squared = cdist(z, centres, "sqeuclidean")
    np.testing.assert_allclose(example.squared_distances(torch.tensor(z), torch.tensor(centres)), squared)
    expected = log_softmax(-0.7 * squared, axis=1)
    np.testing.assert_allclose(method.log_soft_assign(net, torch.tensor(z)), expected)


def test_the_example_is_on_the_command_line(example, capsys):
    assert cli.main(["methods"]) == 0
    assert "deepkmeans" in capsys.readouterr().out


def test_the_example_refuses_what_is_out_of_bounds(example):
    with pytest.raises(ValueError, match=r"^hardness=-1 must be a number above 0\.$"):
        sdc.methods.get("deepkmeans", hardness=-1)


def test_pages_are_written_for_methods_that_exist():
    assert {path.stem for path in (DOCS / "method").glob("*.md")} <= set(sdc.methods.registry())


if __name__ == "__main__":
    for path in sorted((DOCS / "guide").glob("*.md")):
        run_the_blocks(path)
