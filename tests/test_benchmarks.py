"""The benchmark of clustering: what its rows are, and what peers are given."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scdeepclust as sdc

FOLDER = Path(__file__).parents[1] / "benchmarks"
PEER = """
import json, sys
import numpy as np
import pandas as pd
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


def test_rows_told_the_number_of_clusters_are_kept_apart(benchmark):
    rows, peers = benchmark("rows"), benchmark("peers")
    every = {row for names in rows.every().values() for row in names}
    assert peers.UNTOLD <= rows.UNTOLD <= every
    untold = {row for row in every if not rows.told(row)}
    assert untold == rows.UNTOLD | {row for row in every if row.endswith("_auto")} | {"scvi_leiden"}


def test_tables_say_which_rows_were_told_the_number_of_clusters(benchmark, tmp_path):
    clustering = benchmark("clustering")
    head = "method,dataset,seed,ACC,NMI,AMI,ARI,macro_F1,n_clusters,n_types,n_obs,seconds,peak_mb,preservation"
    methods = ("idec", "idec_auto", "eschr", "scvi_tools_kmeans")
    rows = [f"{method},pollen14,0,0.5,0.5,0.5,0.25,0.5,3,4,100,1,1," for method in methods]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([head, *rows]))
    _, told, _, untold, *_, scores = clustering.tables(path)
    assert [method for method in methods if f"| {method} |" in told] == ["idec", "scvi_tools_kmeans"]
    assert [method for method in methods if f"| {method} |" in untold] == ["idec_auto", "eschr"]
    lost = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1].strip("| ") for line in scores.splitlines()}
    assert float(lost["idec"]) == 1
    assert lost["eschr"] == ""  # it may well have fewer clusters than there are types


@pytest.mark.parametrize("job", ["scvi_tools", "eschr", "desctorch", "clustpy_dec"])
def test_peers_that_preprocess_counts_are_given_counts(benchmark, counts, monkeypatch, job):
    rows = benchmark("rows")
    counts.var["highly_variable"] = np.arange(counts.n_vars) < 60
    monkeypatch.setattr(rows, "scanpy_pcs", lambda *_: "components")
    monkeypatch.setattr(rows.peers, "labels", lambda _job, _python, x, **_: x)
    given = rows.by_peer(job, "python", counts, {}, n_clusters=3, seeds=[0])
    assert rows.needs_counts(job) == (job != "clustpy_dec")
    if job == "clustpy_dec":
        assert given == "components"
    else:
        np.testing.assert_array_equal(given, counts.X.toarray()[:, :60])


def test_programs_of_peers_know_nothing_of_ours_and_old_pythons_read_them(benchmark):
    for name in [*(f"{peer}_peer" for peer in benchmark("peers").JOBS), "exchange"]:
        tree = ast.parse((FOLDER / "peers" / f"{name}.py").read_text(), feature_version=(3, 8))
        lines = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not [ast.unparse(line) for line in lines if "scdeepclust" in ast.unparse(line)]


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


@pytest.mark.parametrize("job", ["mae", "contrastive", "triplet"])
def test_one_training_serves_a_number_given_and_chosen(benchmark, types, job):
    """Rows that share a training have the labels that each would have alone."""
    rows = benchmark("rows")
    few = rows.few_steps(job)
    assert set(rows.steps_of(job, 0, 0).values()) == {0}
    together = {row: labels for row, labels, *_ in rows.ours(job, types, {}, n_clusters=2, seed=0, **few)}
    rows.TOGETHER.pop(job)
    for row in (job, f"{job}_auto"):
        ((_, alone, *_),) = rows.ours(row, types, {}, n_clusters=2, seed=0, **few)
        np.testing.assert_array_equal(together[row], alone)


def test_the_table_of_the_authors_code_compares_within_seeds(benchmark, tmp_path, monkeypatch):
    module = benchmark("scdeepcluster")
    head = "who,dataset,seed,epochs,n_obs,pretraining_us,seconds,ARI,NMI"
    runs = [("ours", 0, 10, 5, 0.5), ("theirs", 0, 40, 30, 0.7), ("ours", 1, 20, 5, 0.6), ("theirs", 1, 100, 10, 0.7)]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([head, *(f"{w},a,{s},80,9,{us},{t},{ari},0.5" for w, s, us, t, ari in runs)]))
    monkeypatch.setattr(module, "CSV", path)
    row = dict([part.strip() for part in line.split("|")[1:3]] for line in module.table().splitlines())
    assert row["pretraining, us/cell, ratio"] == "4.5"  # the median of 4 and 5
    assert row["whole run, s, ratio"] == "4.0"  # of 6 and 2
    assert row["ARI, ours"] == "0.550 ± 0.050"


def test_a_table_of_speed_has_whole_numbers_as_they_are_and_others_to_two_digits(benchmark):
    text = benchmark("speed").markdown(
        "From counts", [{"cells": 4_000, "s": 1.236, "peak": 3}, {"cells": 9, "s": 2.0, "peak": ""}]
    )
    assert text.splitlines() == [
        "### From counts",
        "",
        "| cells | s | peak |",
        "| --- | --- | --- |",
        "| 4000 | 1.24 | 3 |",
        "| 9 | 2.00 |  |",
    ]


def test_a_job_that_fails_is_named_after_the_tables_of_the_others(benchmark, tmp_path, monkeypatch, capsys):
    harness = benchmark("harness")
    (tmp_path / "job.py").write_text("def work(n):\n    print('{\"n\": 1}', flush=True)\n    1 / n\n")
    monkeypatch.setattr(harness, "HERE", tmp_path)
    assert [list(harness.rows_of("job", n)) for n in (1, 0)] == [[{"n": 1}]] * 2
    with pytest.raises(SystemExit, match="Rows are missing of 1 jobs that failed: job 0"):
        harness.publish(tmp_path / "rows.csv", "| a table |")
    assert (tmp_path / "rows.md").read_text() == "| a table |\n"
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_single_run_has_no_spread(benchmark):
    frame = pd.DataFrame({"value": [0.1, 0.3, 0.5], "row": ["a", "a", "b"]}).groupby("row")["value"]
    assert benchmark("harness").spelled(frame.mean(), frame.std()).to_list() == ["0.200 ± 0.141", "0.500"]


def test_a_table_that_does_not_end_leaves_the_one_there_was(benchmark, tmp_path):
    speed = benchmark("speed")

    def rows():
        yield {"cells": 4000, "ours": 1.0}
        raise KeyboardInterrupt

    speed.write(tmp_path / "t.md", "one", iter([{"cells": 1, "ours": 2.0}]))
    before = (tmp_path / "t.md").read_text()
    with pytest.raises(KeyboardInterrupt):
        speed.write(tmp_path / "t.md", "two", rows())
    assert (tmp_path / "t.md").read_text() == before
