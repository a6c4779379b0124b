"""The benchmark of clustering: what its rows are, and what peers are given."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import scdeepclust as sdc

FOLDER = Path(__file__).parents[1] / "benchmarks"
PEER = """
import json, sys
import numpy as np
from exchange import serve

def fit(job, x, n_clusters, seed, *, short):
    labels = np.arange(len(x)) % n_clusters + seed
    seen = {"files": np.load(sys.argv[2]).files, "modules": [m for m in sys.modules if m == "scdeepclust"]}
    return {job: lambda: labels, f"{job}_own": lambda: [str(v) for v in x[:, 0]], json.dumps(seen): lambda: labels}

serve(fit)
"""


@pytest.fixture
def benchmark(monkeypatch):
    """Modules of the benchmark by name, loaded for the time of a test."""
    monkeypatch.syspath_prepend(FOLDER)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if FOLDER in Path(getattr(sys.modules[name], "__file__", None) or "/").parents:
            del sys.modules[name]


def test_every_method_has_a_row_with_and_without_a_number_of_clusters(benchmark):
    rows = [row for names in benchmark("rows").every().values() for row in names]
    assert len(rows) == len(set(rows))
    assert set(rows) >= {f"{method}{ending}" for method in sdc.methods.registry() for ending in ("", "_auto")}


def test_a_peer_is_given_values_and_a_number_and_its_labels_come_back(benchmark, tmp_path, monkeypatch):
    peers = benchmark("peers")
    (tmp_path / "clustpy_peer.py").write_text(PEER)
    (tmp_path / "exchange.py").write_text((FOLDER / "peers" / "exchange.py").read_text())
    monkeypatch.setattr(peers, "HERE", tmp_path)
    x = np.array([[0.5], [1.5], [0.5], [2.5], [1.5]])
    found = list(peers.labels("clustpy_dec", sys.executable, x, n_clusters=2, seeds=[3, 4]))
    assert [(seed, row) for seed, row, *_ in found if row.startswith("clustpy")] == [
        (seed, row) for seed in (3, 4) for row in ("clustpy_dec", "clustpy_dec_own")
    ]
    for _, row, labels, seconds, peak in found:
        assert seconds >= 0
        assert peak > 1
        if row == "clustpy_dec_own":
            np.testing.assert_array_equal(labels, [0, 1, 0, 2, 1])
    assert '{"files": ["x", "n_clusters"], "modules": []}' in {row for _, row, *_ in found}


def test_where_there_are_no_batches_knowing_them_changes_nothing(benchmark, tmp_path):
    n_clusters = benchmark("n_clusters")
    head = "method,dataset,seed,ARI,NMI,n_clusters,n_types,log2_ratio,n_rare,n_rare_found,n_obs,n_unlabelled,seconds"
    rows = [
        f"{method},{name},0,{ari},0.5,4,4,0,0,0,100,0,1"
        for name in ("pollen14", "paul15")
        for method, ari in (("deepclust", 0.25), ("batch_deepclust", 0.75))
        if (method, name) != ("batch_deepclust", "pollen14")
    ]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([head, *rows]))
    summary = n_clusters.tables(path).partition("### ARI")[0]
    assert "| batch_deepclust | 0.500 |" in summary
    assert "| deepclust | 0.250 |" in summary
    path.write_text("\n".join([head, *rows[:-1]]))  # not run yet where there are batches: no mean is made up
    assert "batch_deepclust" not in n_clusters.tables(path).partition("### ARI")[0]


def test_a_peer_that_fails_is_an_error(benchmark, tmp_path, monkeypatch):
    peers = benchmark("peers")
    (tmp_path / "clustpy_peer.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(peers, "HERE", tmp_path)
    with pytest.raises(RuntimeError, match="clustpy_dec ended with 3"):
        list(peers.labels("clustpy_dec", sys.executable, np.zeros((4, 2)), n_clusters=2, seeds=[0]))


@pytest.mark.slow
def test_rows_that_share_a_training_are_those_of_separate_runs(benchmark, types):
    pytest.importorskip("scvi")
    rows = benchmark("rows")
    shared = {row: labels for row, labels, *_ in rows.ours("scvi", types, {}, n_clusters=3, seed=1, max_epochs=2)}
    assert list(shared) == ["scvi", "scvi_auto", "scvi_leiden"]
    for row, labels in shared.items():
        name, changed = rows.settings(row)
        model = sdc.Model(types, name, random_state=1, max_epochs=2, **{"n_clusters": 3} | changed)
        model.train(progress=False)
        np.testing.assert_array_equal(labels, model.predict())
