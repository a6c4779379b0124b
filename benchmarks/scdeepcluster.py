"""Our form of scDeepCluster against its authors' PyTorch code: seconds for as many epochs, and the labels that come out.

    python benchmarks/scdeepcluster.py --theirs FOLDER     a checkout of github.com/ttgump/scDeepCluster_pytorch

Both see the same genes, normalised as their script does (logarithm at median depth, z-scores), have layers of 256, 64, 32 and
pretrain for the same number of epochs in minibatches of 256; then each clusters with its own settings until its own rule stops
it. Their authors pretrain for 300 epochs, and ours by default for at most 1,000 minibatches; so that five seeds take minutes, both
are given the same smaller number here. Ours holds a tenth of the cells out of pretraining, so its microseconds are those of a cell
that it trains on. CPU seconds of one thread, each run in a process of its own, in turn. Labels give the number of clusters, and score.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import harness
from clustering import load

CSV = Path(__file__).parent / "results" / "scdeepcluster.csv"
SETS = ["kang18_pbmc_ifnb", "cellbench_rnamix"]
BATCH_SIZE, WARM = 256, 300


def ours(adata, n_clusters, n_epochs, seed):
    """Labels, seconds of pretraining and of all, and cells trained on in an epoch."""
    import scdeepclust as sdc
    from scdeepclust.data.cells import split
    from scdeepclust.train import Trainer

    seen = len(split(adata.n_obs, seed)[0])
    steps = n_epochs * -(-adata.n_obs // BATCH_SIZE)
    model = sdc.Model(
        adata, "scdeepcluster", n_clusters=n_clusters, pretrain_steps=steps, patience=n_epochs, random_state=seed
    )
    spent, run = {}, Trainer._run

    def timed(self, n, phase, **options):
        start = time.process_time()
        run(self, n, phase, **options)
        spent[phase.name] = time.process_time() - start

    Trainer._run = timed
    start = time.process_time()
    model.train(batch_size=BATCH_SIZE, progress=False)
    Trainer._run = run
    return model.predict(), spent["pretrain"], time.process_time() - start, seen


def theirs(adata, n_clusters, n_epochs, seed, folder):
    """The same by the authors' code, with the settings of its script."""
    import numpy as np
    import scanpy as sc
    import torch

    sys.path.insert(0, folder)
    from scDeepCluster import scDeepCluster

    adata = adata[:, adata.var["highly_variable"]].copy()
    raw = np.asarray(adata.X.toarray(), dtype="float64")
    totals = raw.sum(1)
    sc.pp.normalize_total(adata, target_sum=np.median(totals))
    sc.pp.log1p(adata)
    x = np.asarray(adata.X.toarray(), dtype="float64")
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 their k-means draws from it
    size = totals / np.median(totals)
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        start = time.process_time()
        model = scDeepCluster(raw.shape[1], 32, [256, 64], [64, 256], sigma=2.5, gamma=1.0, device="cpu")
        model.pretrain_autoencoder(x, raw, size, batch_size=BATCH_SIZE, epochs=n_epochs, ae_weights=f"{scratch}/ae")
        pretrained = time.process_time() - start
        labels, *_ = model.fit(x, raw, size, n_clusters, num_epochs=2000, save_dir=scratch)
    return labels, pretrained, time.process_time() - start, len(raw)


def work(who, name, n_epochs, seed, folder):
    """In a process of its own: one run, one JSON line."""
    import warnings

    import torch

    import scdeepclust as sdc

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    adata, _ = load(name)
    truth = adata.obs["cell_type"].astype(str).to_numpy()
    run = SimpleNamespace(ours=ours, theirs=lambda *given: theirs(*given, folder))
    few = adata[:WARM].copy()
    getattr(run, who)(few[:, few.X.sum(0) > 0].copy(), 3, 1, 0)  # no row pays for compilation
    labels, pretraining, seconds, seen = getattr(run, who)(adata, len(set(truth)), n_epochs, seed)
    row = {"who": who, "dataset": name, "seed": seed, "epochs": n_epochs, "n_obs": len(truth)}
    row |= {"pretraining_us": pretraining / (n_epochs * seen) * 1e6, "seconds": seconds}
    print(json.dumps(row | {name: sdc.metrics.scores(truth, labels)[name] for name in ("ARI", "NMI")}), flush=True)


def table():
    """Markdown: medians over seeds, the spread of ARI, and ratios within seeds."""
    import pandas as pd

    rows = pd.read_csv(CSV)
    lines = {}
    for name, some in rows.groupby("dataset"):
        both = some.pivot_table(index="seed", columns="who", values=["pretraining_us", "seconds", "ARI"]).dropna()
        line = {"seeds": len(both), "epochs": some["epochs"].iloc[0]}
        for values, shown in (("pretraining_us", "pretraining, us/cell"), ("seconds", "whole run, s")):
            line |= {f"{shown}, {who}": f"{both[values, who].median():.0f}" for who in ("ours", "theirs")}
            line[f"{shown}, ratio"] = f"{(both[values, 'theirs'] / both[values, 'ours']).median():.1f}"
        for who in ("ours", "theirs"):
            line[f"ARI, {who}"] = f"{both['ARI', who].mean():.3f} ± {both['ARI', who].std(ddof=0):.3f}"
        lines[name] = line
    return harness.markdown(pd.DataFrame(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--theirs", required=True, metavar="FOLDER")
    parser.add_argument("--datasets", nargs="+", default=SETS)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    done = harness.done(CSV, ["who", "dataset", "seed", "epochs"])
    for name in options.datasets:
        for seed in range(options.seeds):
            for who in ("theirs", "ours"):
                if (who, name, seed, options.epochs) in done:
                    continue
                for row in harness.rows_of("scdeepcluster", who, name, options.epochs, seed, options.theirs):
                    harness.append(row, CSV)
                    print("{dataset:20s}{who:8s}seed {seed}  {seconds:.0f} s  ARI {ARI:.3f}".format(**row), flush=True)
    harness.publish(CSV, table())


if __name__ == "__main__":
    main()
