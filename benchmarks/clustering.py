"""Methods x data sets x seeds, agreement with the published labels, CPU seconds (one thread) and peak memory.

    python benchmarks/clustering.py                      everything, as in docs/benchmarks.md
    python benchmarks/clustering.py --quick              three small sets, two seeds
    python benchmarks/clustering.py --methods idec dec --datasets pollen14 --seeds 5

Rows already in the CSV are kept, so an interrupted run goes on; delete the file to start afresh. Data sets are found as
`scdeepclust.datasets` finds them (set SCDEEPCLUST_DATASETS). Labels are used to score, and, in the rows named
`pca_leiden_best`, to choose the resolution: that row is an oracle, not a method.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

HERE = Path(__file__).parent
CSV = HERE / "results" / "clustering.csv"
SETS = [
    "pbmc4k_10x", "worm_neuron", "cbmc_citeseq", "paul15", "pbmc3k", "kang18_pbmc_ifnb", "pollen14",
    "cellbench_cell_lines", "cellbench_rnamix", "pbmc68k_reduced", "krumsiek11", "bodenmiller12_cytof",
]  # fmt: skip
MEASURED = ["krumsiek11", "bodenmiller12_cytof"]  # values that are no counts
QUICK = ["pbmc68k_reduced", "pollen14", "kang18_pbmc_ifnb"]
# Our methods with other parameters; `_auto` is without a number of clusters, which the data then choose.
VARIANTS = {
    "vade_zinb": ("vade", {"likelihood": "zinb"}),
    "vade_mse": ("vade", {"likelihood": "mse"}),
    "vade_auto": ("vade", {"n_clusters": None}),
    "idec_zinb": ("idec", {"likelihood": "zinb"}),
    "idec_auto": ("idec", {"n_clusters": None}),
    "scvi_leiden": ("scvi", {"n_clusters": None, "cluster": "leiden", "resolution": 1.0}),
    "scvi_auto": ("scvi", {"n_clusters": None}),
}
PEERS = ["pca_kmeans", "pca_diffused_kmeans", "features_diffused_kmeans", "pca_leiden", "pca_leiden_best"]
MOST_CELLS = 20_000  # a random sample of larger sets, so that five seeds of every method end the same day
RESOLUTIONS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.3, 1.6, 2.0)


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


def scanpy_pcs(adata, source, n_comps=50):
    """PCs as in scanpy's tutorials: normalised, log1p, z-scored, clipped."""
    import scanpy as sc

    if source:
        return adata.obsm["values"]
    bare = adata.copy()
    sc.pp.normalize_total(bare, target_sum=1e4)
    sc.pp.log1p(bare)
    bare = bare[:, bare.var["highly_variable"]].copy()
    sc.pp.scale(bare, max_value=10)
    sc.pp.pca(bare, n_comps=min(n_comps, min(bare.shape) - 1), svd_solver="arpack")
    return bare.obsm["X_pca"]


def features(adata, source, seed, **parameters):
    """What our networks read; `gene_scaling=0` and 20 PCs is the baseline that counts."""
    import scdeepclust as sdc
    from scdeepclust.data import read

    raw = read(adata, **source)
    return sdc.methods.get("idec", **parameters).inputs(raw.kind).fit(raw, seed=seed).numpy()


def labels(method, adata, source, *, n_clusters, seed, truth, **parameters):
    """Labels by one method, the CPU seconds it took, and what it kept of neighbourhoods if it is one of ours.

    Parameters go to our own methods.
    """
    import scanpy as sc
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score
    from sklearn.neighbors import KNeighborsTransformer

    import scdeepclust as sdc
    from scdeepclust import diffusion

    start, preservation = time.process_time(), {}
    if method in VARIANTS or method in sdc.methods.registry():
        name, changed = VARIANTS.get(method, (method, {}))
        model = sdc.Model(adata, name, random_state=seed, **source, **{"n_clusters": n_clusters} | changed | parameters)
        model.train(progress=False)
        found, preservation = model.predict(), model.preservation
    elif method == "pca_kmeans":
        found = KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(scanpy_pcs(adata, source))
    elif method in {"pca_diffused_kmeans", "features_diffused_kmeans"}:
        scaling = {"gene_scaling": 0.0} if method == "pca_diffused_kmeans" else {}
        x = diffusion.average(features(adata, source, seed, **scaling), n_neighbors=10, n_steps=1)
        found = KMeans(n_clusters, n_init=30, random_state=seed).fit_predict(x)
    else:
        adata.obsm["pcs"] = scanpy_pcs(adata, source)
        search = KNeighborsTransformer(n_neighbors=15) if adata.n_obs <= MOST_CELLS else None
        sc.pp.neighbors(adata, n_neighbors=15, use_rep="pcs", transformer=search, random_state=seed)
        best = -1.0
        for resolution in RESOLUTIONS if method == "pca_leiden_best" else (1.0,):
            sc.tl.leiden(
                adata, resolution, random_state=seed, flavor="igraph", n_iterations=2, directed=False, key_added="l"
            )
            score = adjusted_rand_score(truth, adata.obs["l"])
            if score > best:
                best, found = score, adata.obs["l"].to_numpy()
    return found, time.process_time() - start, preservation.get("after")


def work(method, name, seeds):
    """In a process of its own: one method on one set, one JSON line a seed."""
    import torch

    import scdeepclust as sdc

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    adata, source = load(name)
    truth = adata.obs["cell_type"].astype(str).to_numpy()
    few = adata[:300].copy()
    few = few[:, few.X.sum(0) > 0].copy() if not source else few
    kind = sdc.methods.registry().get(VARIANTS.get(method, (method,))[0])
    known = {f.name for f in fields(kind)} if kind else set()
    short = dict.fromkeys(known & {"pretrain_steps", "cluster_steps"}, 20) | dict.fromkeys(known & {"max_epochs"}, 2)
    labels(method, few, source, n_clusters=3, seed=0, truth=truth[:300], **short)  # no seed pays for compilation
    for seed in seeds:
        found, seconds, kept = labels(method, adata.copy(), source, n_clusters=len(set(truth)), seed=seed, truth=truth)
        row = {"method": method, "dataset": name, "seed": seed, **sdc.metrics.scores(truth, found)}
        row |= {"n_clusters": len(set(found)), "n_types": len(set(truth)), "n_obs": len(truth), "seconds": seconds}
        row["preservation"] = kept
        row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(row), flush=True)


def run(jobs, workers):
    """Run jobs, each in a process, and append their rows to the CSV."""
    import pandas as pd

    def one(job):
        method, name, seeds = job
        code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import clustering; clustering.work({method!r}, {name!r}, {seeds!r})"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
        )
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode:
            print(done.stderr[-1500:], file=sys.stderr)
        return rows

    CSV.parent.mkdir(exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        for rows in pool.map(one, jobs):
            if rows:
                known = [pd.read_csv(CSV)] if CSV.exists() else []
                pd.concat([*known, pd.DataFrame(rows).round(4)]).to_csv(CSV, index=False)
                ari = [row["ARI"] for row in rows]
                print(f"{rows[0]['method']:26s}{rows[0]['dataset']:22s}ARI {sum(ari) / len(ari):.3f}", flush=True)


def tables(path=CSV):
    """Markdown: ARI of each method on each set (mean ± standard deviation over seeds), then all scores, averaged.

    Means run over the sets with counts, and are left out for a method that has not been run on all of them. `lost` is in
    how many of all runs that were told the number of clusters one of them had no cells; `preservation` is that of
    lineages (`scdeepclust.metrics.lineage_preservation`), where it was measured.
    """
    import pandas as pd

    rows = pd.read_csv(path).drop_duplicates(["method", "dataset", "seed"], keep="last")
    mean = rows.pivot_table(index="method", columns="dataset", values="ARI", aggfunc="mean")
    spread = (
        rows.pivot_table(index="method", columns="dataset", values="ARI", aggfunc="std").reindex_like(mean).fillna(0)
    )
    shared = mean.columns.difference(MEASURED)
    order = mean[shared].mean(axis=1, skipna=False).sort_values(ascending=False).index
    by_set = pd.DataFrame({"**mean**": mean[shared].mean(axis=1, skipna=False).map("{:.3f}".format).replace("nan", "")})
    for name in [*shared, *mean.columns.difference(shared)]:
        text = mean[name].map("{:.3f}".format) + " ± " + spread[name].map("{:.3f}".format)
        by_set[name] = text.where(mean[name].notna(), "")
    scores = rows[rows["dataset"].isin(shared)].pivot_table(
        index=["method", "dataset"], values=["ARI", "NMI", "AMI", "ACC", "macro_F1", "seconds", "peak_mb"]
    )
    complete = mean.index[mean[shared].notna().all(axis=1)]
    scores = scores.loc[complete].groupby("method").mean().round({"seconds": 1, "peak_mb": 0}).round(3)
    told = rows[~rows["method"].str.endswith(("_auto", "leiden", "leiden_best"))]
    scores["lost"] = (told["n_clusters"] < told["n_types"]).groupby(told["method"]).sum()
    if "preservation" in rows:
        scores["preservation"] = rows[rows["dataset"].isin(shared)].groupby("method")["preservation"].mean().round(3)
    return _markdown(by_set.loc[order].T), _markdown(scores.loc[[m for m in order if m in complete]])


def _markdown(frame):
    head = ["", *map(str, frame.columns)]
    lines = [
        head,
        ["---"] * len(head),
        *([str(i), *map(str, r)] for i, r in zip(frame.index, frame.to_numpy(), strict=True)),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main():
    import pandas as pd

    import scdeepclust as sdc

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = [*sdc.methods.registry(), *VARIANTS, *PEERS]
    parser.add_argument("--methods", nargs="+", default=every, choices=every)
    parser.add_argument("--datasets", nargs="+", default=None, choices=SETS)
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--workers", type=int, default=max(1, os.cpu_count() or 1))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    seeds = options.seeds or (2 if options.quick else 5)
    sets = options.datasets or (QUICK if options.quick else SETS)
    done = set()
    if CSV.exists():
        done = set(pd.read_csv(CSV)[["method", "dataset", "seed"]].itertuples(index=False, name=None))
    jobs = [(m, n, [s for s in range(seeds) if (m, n, s) not in done]) for n in sets for m in options.methods]
    run([job for job in jobs if job[2]], options.workers)
    text = "\n\n".join(tables())
    CSV.with_suffix(".md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
