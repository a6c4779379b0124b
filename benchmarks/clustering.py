"""Methods x data sets x seeds, agreement with the published labels, CPU seconds (one thread) and peak memory.

    python benchmarks/clustering.py                      everything, as in docs/benchmarks.md
    python benchmarks/clustering.py --quick              three small sets, two seeds
    python benchmarks/clustering.py --methods idec dec --datasets pollen14 --seeds 5
    python benchmarks/clustering.py --peer clustpy=OTHER/bin/python --peer scvi_tools=OTHER/bin/python

Every method of the registry, told the number of clusters and not (`_auto`), some of its variants, and what scanpy's steps
give; rows.py says what each row is. Peers (`benchmarks/peers/`) run only with `--peer`, in a Python that has them. All see the
same genes. Rows already in the CSV are kept, so an interrupted run goes on; delete the file to start afresh. Data sets are
found as `scdeepclust.datasets` finds them (set SCDEEPCLUST_DATASETS). Labels are used to score, and, in the rows named
`pca_leiden_best`, to choose the resolution: that row is an oracle, not a method.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import harness

HERE = Path(__file__).parent
CSV = HERE / "results" / "clustering.csv"
SETS = [
    "pbmc4k_10x", "worm_neuron", "cbmc_citeseq", "paul15", "pbmc3k", "kang18_pbmc_ifnb", "pollen14",
    "cellbench_cell_lines", "cellbench_rnamix", "pbmc68k_reduced", "krumsiek11", "bodenmiller12_cytof",
]  # fmt: skip
MEASURED = ["krumsiek11", "bodenmiller12_cytof"]  # values that are no counts
QUICK = ["pbmc68k_reduced", "pollen14", "kang18_pbmc_ifnb"]
MOST_CELLS = 20_000  # a random sample of larger sets, so that five seeds of every method end the same day
COLUMNS = [
    "method", "dataset", "seed", "ACC", "NMI", "AMI", "ARI", "macro_F1", "n_clusters", "n_types", "n_obs", "seconds", "peak_mb",
    "preservation",
]  # fmt: skip


def load(name):
    """A set with its genes chosen once, so that every method sees the same."""
    import numpy as np

    import scdeepclust as sdc
    from scdeepclust.data import read

    adata = getattr(sdc.datasets, name)()
    if adata.n_obs > MOST_CELLS:
        adata = adata[np.sort(np.random.default_rng(0).choice(adata.n_obs, MOST_CELLS, replace=False))].copy()
    if name in MEASURED:  # every method reads the values as they are
        if "marker_class" in adata.var:  # state markers tell the stimulus, not the type
            adata = adata[:, adata.var["marker_class"] == "lineage"].copy()
        adata.obsm["values"] = np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X)
        return adata, {"use_rep": "values"}
    raw = read(adata, drop_empty=True)
    adata = adata[raw.kept].copy()
    adata.var["highly_variable"] = adata.var_names.isin(raw.var_names)
    return adata, {}


def work(job, name, seeds, python):
    """In a process of its own: the rows of one job on one set, one JSON line for a row and seed."""
    import rows
    import torch

    import scdeepclust as sdc

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    adata, source = load(name)
    truth = adata.obs["cell_type"].astype(str).to_numpy()

    def found():
        n_clusters = len(set(truth))
        if python:
            for *row, peak in rows.by_peer(job, python, adata, source, n_clusters=n_clusters, seeds=seeds):
                yield *row, None, peak
            return
        rows.warm(job, adata, source, truth)
        for seed in seeds:
            for row in rows.labels(job, adata.copy(), source, n_clusters=n_clusters, seed=seed, truth=truth):
                yield seed, *row, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    for seed, method, labels, seconds, kept, peak in found():
        row = {"method": method, "dataset": name, "seed": seed, **sdc.metrics.scores(truth, labels)}
        row |= {"n_clusters": len(set(labels)), "n_types": len(set(truth)), "n_obs": len(truth)}
        row |= {"seconds": seconds, "peak_mb": peak, "preservation": kept}
        print(json.dumps(row), flush=True)


def run(jobs, workers, wanted):
    """Run jobs, each in a process, and append the rows that are wanted to the CSV as they come."""
    writing = Lock()

    def one(job):
        for row in harness.rows_of("clustering", *job):
            if (row["method"], row["dataset"], row["seed"]) in wanted:
                with writing:
                    harness.append(row, CSV, columns=COLUMNS)
                print("{method:28s}{dataset:22s}seed {seed}  ARI {ARI:.3f}".format(**row), flush=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, jobs))


def tables(path=CSV):
    """Markdown: ARI of each method on each set, told the number of clusters or not, seconds, and all scores, averaged.

    ARI is the mean ± standard deviation over seeds, or that of a single one. Means run over the sets with counts, and are
    left out for a method that has not been run on all of them. `lost` is in how many of all runs that were told the number
    of clusters one of them had no cells; `preservation` is that of lineages (`scdeepclust.metrics.lineage_preservation`),
    where it was measured.
    """
    import pandas as pd
    from rows import told

    rows = pd.read_csv(path).drop_duplicates(["method", "dataset", "seed"], keep="last").reindex(columns=COLUMNS)
    cells = {"index": "method", "columns": "dataset"}
    mean, seconds = rows.pivot_table("ARI", **cells), rows.pivot_table("seconds", **cells)
    spread = rows.pivot_table("ARI", aggfunc="std", **cells).reindex_like(mean)
    shared = mean.columns.difference(MEASURED)
    average = mean[shared].mean(axis=1, skipna=False)
    order = mean.assign(average=average, some=mean[shared].mean(axis=1)).sort_values(
        ["average", "some"], ascending=False
    )
    given = order.index.map(told).astype(bool)
    columns = [*shared, *mean.columns.intersection(MEASURED)]

    def by_set(methods):
        text = harness.spelled(mean, spread)
        text.insert(0, "**mean**", average.map("{:.3f}".format).replace("nan", ""))
        return harness.markdown(text.loc[methods, ["**mean**", *columns]])

    complete = [method for method in order.index if pd.notna(average[method])]
    kept = rows[rows["dataset"].isin(shared)]
    values = ["ARI", "NMI", "AMI", "ACC", "macro_F1", "seconds", "peak_mb", "preservation"]
    scores = kept.groupby(["method", "dataset"])[values].mean().loc[complete].groupby("method").mean()
    runs = rows[rows["method"].isin(order.index[given])]
    scores["lost"] = (runs["n_clusters"] < runs["n_types"]).groupby(runs["method"]).sum()
    scores = scores.round({"seconds": 1, "peak_mb": 0}).round(3).astype(object)
    return (
        "ARI, told the number of clusters:",
        by_set(order.index[given]),
        "ARI, not told:",
        by_set(order.index[~given]),
        "CPU seconds:",
        harness.markdown(seconds.reindex(index=order.index, columns=columns).map("{:.1f}".format).replace("nan", "")),
        "Means over the sets with counts:",
        harness.markdown(scores.where(scores.notna(), "").loc[complete]),
    )


def main():
    import peers
    import rows

    every = rows.every()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--methods", nargs="+", default=None, choices=[row for names in every.values() for row in names]
    )
    parser.add_argument("--datasets", nargs="+", default=None, choices=SETS)
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--workers", type=int, default=max(1, os.cpu_count() or 1))
    parser.add_argument("--quick", action="store_true")
    harness.add_peers(parser, peers.JOBS)
    options = parser.parse_args()
    pythons = dict(options.peer)
    asked = set(options.methods or [row for names in every.values() for row in names])
    done = harness.done(CSV, ["method", "dataset", "seed"])
    jobs, wanted = [], set()
    for name in options.datasets or (QUICK if options.quick else SETS):
        for job, names in every.items():
            python = pythons.get(peers.PEER.get(job))
            if (job in peers.PEER and not python) or (name in MEASURED and rows.needs_counts(job)):
                continue
            seeds = range(options.seeds or (2 if options.quick else 5))
            missing = {seed for row in asked.intersection(names) for seed in seeds if (row, name, seed) not in done}
            # A job gives all of its rows, asked for or not: another run of it would cost as much again.
            wanted |= {(row, name, seed) for row in names for seed in missing} - done
            if missing:
                jobs.append((job, name, sorted(missing), python))
    run(jobs, options.workers, wanted)
    harness.publish(CSV, "\n\n".join(tables()))


if __name__ == "__main__":
    main()
