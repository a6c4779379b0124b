"""How many clusters each rule chooses without labels, against the published number of types, and on cells of one type.

    python benchmarks/n_clusters.py                      everything, as in docs/benchmarks.md
    python benchmarks/n_clusters.py --quick              three small sets, two seeds, ten sets of noise
    python benchmarks/n_clusters.py --methods signal_share leiden_1 --datasets pollen14 --seeds 5 --noise 0

Sets and their genes are those of benchmarks/clustering.py; of sets with more than 10,000 cells (bodenmiller12_cytof) a
random 10,000 serve. Rows already in the CSV are kept, so an interrupted run goes on; delete the file to start afresh.
Labels are used to score, and, in the row named `leiden_best_by_labels`, to choose the resolution: that row is an oracle.

signal_share            `tl.n_clusters` with its defaults (its curve of 50 numbers of clusters included in the seconds)
deepclust               `tl.deepclust` without a number of clusters: the same choice, then IDEC
knee                    k-means, 10 starts, with as many clusters as `uns["n_clusters"]["knee"]` says, on the same features
loss_minimum            the same with the number at which the held-out loss of that curve is lowest
silhouette              k-means, 10 starts, 2 to 30 clusters, same features; best silhouette on 1,000 cells
leiden_1_same_features  Leiden at resolution 1 on the same features: what signal_share starts from
leiden_1                Leiden at resolution 1 on scanpy's PCs
leiden_best_by_labels   ... at the best of ten resolutions by ARI: an oracle

Names that begin with `batch_` are the same, told the batches of the sets that have any: by `batch_key`, or, of Leiden, by harmonypy
on scanpy's PCs. On sets without batches they are what they are without, and the tables say so by repeating it.

Cells too shallow for signal_share to label count as one more cluster when it is scored, but not in K. A rare type has
fewer than 3 % of the cells, and is found if a cluster has an F1 above .5 with it. Noise is `simulate_types` with one
type, in 100 combinations of cells, depth, spread of depth and dispersion: the right answer is one cluster.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from itertools import product
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import harness  # noqa: E402
from batches import harmony  # noqa: E402
from clustering import MEASURED, QUICK, SETS, load  # noqa: E402
from rows import RESOLUTIONS, features, labels, leiden, scanpy_pcs  # noqa: E402

CSV = HERE / "results" / "n_clusters.csv"
METHODS = [
    "signal_share", "knee", "loss_minimum", "leiden_1_same_features", "silhouette", "deepclust", "leiden_1",
    "leiden_best_by_labels",
]  # fmt: skip
ORACLE = "leiden_best_by_labels"
TOLD = {f"batch_{name}": name for name in ("signal_share", "deepclust", "leiden_1", ORACLE)}
METHODS += TOLD
BATCHED = [
    "paul15",
    "kang18_pbmc_ifnb",
    "cellbench_cell_lines",
    "cellbench_rnamix",
    "bodenmiller12_cytof",
]  # all that have any
MOST_CELLS = 10_000
SILHOUETTE_CELLS = 1_000
RARE, FOUND = 0.03, 0.5
# n_obs, mean depth, standard deviation of log depth, dispersion
NOISE = list(product((300, 600, 1200, 2000, 4000), (500, 3000), (0.0, 0.3, 0.6, 0.9, 1.2), (0.0, 0.5)))


def cells(name):
    """A set, or noise, with at most `MOST_CELLS` cells and no gene without counts."""
    import numpy as np

    import scdeepclust as sdc

    if name.startswith("noise"):
        i = int(name.removeprefix("noise"))
        n_obs, depth, depth_sd, dispersion = NOISE[i]
        adata = sdc.datasets.simulate_types(
            n_obs, n_types=1, mean_depth=depth, depth_sd=depth_sd, dispersion=dispersion, random_state=i
        )
        adata.var["highly_variable"] = True
        source = {}
    else:
        adata, source = load(name)
    if adata.n_obs > MOST_CELLS:
        adata = adata[np.sort(np.random.default_rng(0).choice(adata.n_obs, MOST_CELLS, replace=False))].copy()
    return (adata if source else used(adata)), source


def used(adata):
    """Without genes and cells that have no counts."""
    adata = adata[:, adata.X.sum(0) > 0].copy()
    return adata[adata.X.sum(1) > 0].copy()


class Run:
    """One set and one seed; what several methods need is computed, and paid for by each of them, once."""

    def __init__(self, adata, source, seed, truth):
        self.adata, self.source, self.seed, self.truth = adata.copy(), source, seed, truth
        self._chosen = self._x = None

    def of(self, method):
        """Labels of every cell, -1 for none, and CPU seconds."""
        return self.told(TOLD[method]) if method in TOLD else self.labels(method)

    def told(self, method):
        """The same of methods that know of batches."""
        import scdeepclust as sdc

        adata, start = self.adata.copy(), time.process_time()  # other methods come back to what is written there
        if method == "deepclust":
            sdc.tl.deepclust(adata, random_state=self.seed, batch_key="batch", progress=False, **self.source)
            return adata.obs["deepclust"].cat.codes.to_numpy(), time.process_time() - start
        if method == "signal_share":
            sdc.tl.n_clusters(adata, random_state=self.seed, batch_key="batch", **self.source)
            return adata.obs["n_clusters"].cat.codes.to_numpy(), time.process_time() - start
        z = harmony(adata, scanpy_pcs(adata, self.source), self.seed)
        found = leiden(adata, z, RESOLUTIONS if method == ORACLE else (1.0,), seed=self.seed, truth=self.truth)
        return found.astype(int), time.process_time() - start

    def chosen(self):
        """The record of `tl.n_clusters`, and its seconds."""
        import scdeepclust as sdc

        if self._chosen is None:
            start = time.process_time()
            sdc.tl.n_clusters(self.adata, random_state=self.seed, **self.source)
            self._chosen = self.adata.uns["n_clusters"], time.process_time() - start
        return self._chosen

    def x(self):
        """The features in which it chose."""
        if self._x is None:
            start = time.process_time()
            self._x = features(self.adata, self.source, self.seed), time.process_time() - start
        return self._x

    def k_means(self, k):
        from sklearn.cluster import KMeans

        start = time.process_time()
        found = KMeans(k, n_init=10, random_state=self.seed).fit_predict(self.x()[0])
        return found, time.process_time() - start

    def labels(self, method):
        """Labels of every cell, -1 for none, and CPU seconds."""
        if method == "signal_share":
            _, seconds = self.chosen()
            return self.adata.obs["n_clusters"].cat.codes.to_numpy(), seconds
        if method in {"knee", "loss_minimum"}:
            record, seconds = self.chosen()
            curve = record["curve"]
            least = int(curve["n_clusters"][curve["loss"].idxmin()])
            found, more = self.k_means(int(record["knee"]) if method == "knee" else least)
            return found, seconds + self.x()[1] + more
        if method == "leiden_1_same_features":
            from scdeepclust import diffusion

            x, seconds = self.x()
            start = time.process_time()
            return diffusion.communities(x, random_state=self.seed), seconds + time.process_time() - start
        if method == "silhouette":
            return self.silhouette()
        if method == "deepclust":
            import scdeepclust as sdc

            start = time.process_time()
            sdc.tl.deepclust(self.adata, random_state=self.seed, progress=False, **self.source)
            return self.adata.obs["deepclust"].cat.codes.to_numpy(), time.process_time() - start
        name = {"leiden_1": "pca_leiden", ORACLE: "pca_leiden_best"}[method]
        row = labels(name, self.adata.copy(), self.source, n_clusters=None, seed=self.seed, truth=self.truth)
        _, found, seconds, _ = next(row)
        return found.astype(int), seconds

    def silhouette(self):
        import numpy as np
        from sklearn.metrics import silhouette_score

        x, total = self.x()
        some = np.random.default_rng(0).permutation(len(x))[:SILHOUETTE_CELLS]
        best = -np.inf
        for k in range(2, min(30, len(x) - 1) + 1):
            labels_k, seconds = self.k_means(k)
            start = time.process_time()
            score = silhouette_score(x[some], labels_k[some]) if len(set(labels_k[some])) > 1 else -1.0
            total += seconds + time.process_time() - start
            if score > best:
                best, found = score, labels_k
        return found, total


def rare_types(truth, found):
    """How many types are rare, and how many of them a cluster finds."""
    import scdeepclust as sdc

    table = sdc.metrics.confusion(truth, found)
    sizes = table.sum(1)
    f1 = 2 * table.to_numpy() / (sizes.to_numpy()[:, None] + table.sum(0).to_numpy())
    rare = sizes.to_numpy() < RARE * len(truth)
    return int(rare.sum()), int((f1[rare].max(axis=1) > FOUND).sum())


def work(jobs):
    """In a process of its own: sets one after another, one JSON line for every seed and method."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name, seeds in jobs:
        score(name, seeds)


def score(name, seeds):
    import numpy as np

    import scdeepclust as sdc

    adata, source = cells(name)
    truth = adata.obs["cell_type"].astype(str).to_numpy()
    few = adata[:300].copy()
    few = few if source else used(few)
    few.obsm.pop("pcs", None)
    if "batch" in few.obs:
        few.obs["batch"] = ["a", "b"] * (few.n_obs // 2) + ["a"] * (few.n_obs % 2)
    warm = Run(few, source, 0, truth[: len(few)])
    for method in {method for _, methods in seeds for method in methods}:
        if method.endswith("deepclust"):
            sdc.tl.deepclust(few.copy(), n_clusters=3, pretrain_steps=20, cluster_steps=20, progress=False, **source)
        elif method != "silhouette":
            warm.of(method)  # no seed pays for compilation
    n_types = len(set(truth))
    for seed, methods in seeds:
        run = Run(adata, source, seed, truth)
        for method in methods:
            found, seconds = run.of(method)
            k = len(set(found[found >= 0]))
            rare, n_found = rare_types(truth, found)
            scores = {name: sdc.metrics.scores(truth, found)[name] for name in ("ARI", "NMI")}
            row = {"method": method, "dataset": name, "seed": seed, **scores, "n_clusters": k, "n_types": n_types}
            row |= {"log2_ratio": float(np.log2(k / n_types)), "n_rare": rare, "n_rare_found": n_found}
            row |= {"n_obs": len(truth), "n_unlabelled": int((found < 0).sum()), "seconds": seconds}
            print(json.dumps(row), flush=True)


def run(jobs):
    """Run jobs, each in a process, one after another, and append their rows to the CSV as they come."""
    real = [[job] for job in jobs if not job[0].startswith("noise")]
    noise = [job for job in jobs if job[0].startswith("noise")]
    for some in [*real, *(noise[i : i + 20] for i in range(0, len(noise), 20))]:
        for row in harness.rows_of("n_clusters", some):
            harness.append(row, CSV)
            print(
                "{dataset:22s}{method:26s}seed {seed}  {n_clusters} of {n_types}  ARI {ARI:.3f}".format(**row),
                flush=True,
            )


def tables(path=CSV):
    """Markdown: a summary, ARI and number of clusters of each method on each set, and how noise fares."""
    import pandas as pd

    rows = pd.read_csv(path).drop_duplicates(["method", "dataset", "seed"], keep="last")
    without = rows[~rows["dataset"].isin(BATCHED) & ~rows["dataset"].str.startswith("noise")]
    same = [without[without["method"] == name].assign(method=told) for told, name in TOLD.items()]
    rows = pd.concat([rows, *same])
    noise = rows["dataset"].str.startswith("noise")
    real, noise = rows[~noise], rows[noise]
    by_set = real.groupby(["method", "dataset"])[
        ["ARI", "NMI", "log2_ratio", "n_rare", "n_rare_found", "seconds"]
    ].mean()
    by_set["|log2|"] = real["log2_ratio"].abs().groupby([real["method"], real["dataset"]]).median()
    n_sets = real["dataset"].nunique()
    lines = {}
    for method in by_set.index.unique("method"):
        part = by_set.loc[method]
        counts = part.drop(MEASURED, errors="ignore")
        if len(part) < n_sets:
            continue
        lines[method] = {
            "ARI": f"{part['ARI'].mean():.3f}",
            "NMI": f"{part['NMI'].mean():.3f}",
            "ARI, counts": f"{counts['ARI'].mean():.3f}",
            "ARI, counts without batches": f"{counts.drop(BATCHED, errors='ignore')['ARI'].mean():.3f}",
            "median abs log2(K/types)": f"{part['|log2|'].median():.2f}",
            "mean log2(K/types)": f"{part['log2_ratio'].mean():+.2f}",
            "rare types found": f"{part['n_rare_found'].sum():.1f} / {part['n_rare'].sum():.0f}",
            "seconds": f"{part['seconds'].mean():.1f}",
        }
    summary = pd.DataFrame(lines).T
    order = summary["ARI"].astype(float).sort_values(ascending=False).index if len(summary) else by_set.index.levels[0]
    mean = real.pivot_table(index="dataset", columns="method", values="ARI", aggfunc="mean")
    spread = real.pivot_table(index="dataset", columns="method", values="ARI", aggfunc="std")
    ari = harness.spelled(mean, spread.reindex_like(mean))
    k = real.pivot_table(index="dataset", columns="method", values="n_clusters", aggfunc=_spell)
    k.insert(0, "published", real.groupby("dataset")["n_types"].first())
    text = [
        "### Summary, mean over sets",
        harness.markdown(summary.loc[order]),
        "### ARI",
        harness.markdown(ari[order]),
    ]
    text += ["### Number of clusters (of each seed)", harness.markdown(k[["published", *order]])]
    if len(noise):
        found = noise.groupby("method")["n_clusters"].agg(
            runs="size", one_cluster=lambda k: int((k == 1).sum()), most="max"
        )
        text += ["### Cells of one type", harness.markdown(found)]
    return "\n\n".join(text) + "\n"


def _spell(k):
    return " ".join(map(str, sorted(k)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--datasets", nargs="+", default=None, choices=SETS)
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--noise", type=int, default=None, help="sets of one type, at most 100")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    seeds = options.seeds or (2 if options.quick else 5)
    sets = options.datasets or (QUICK if options.quick else SETS)
    n_noise = (10 if options.quick else len(NOISE)) if options.noise is None else options.noise
    done = harness.done(CSV, ["method", "dataset", "seed"])
    jobs = [
        (name, [(s, [m for m in options.methods if m not in TOLD or name in BATCHED]) for s in range(seeds)])
        for name in sets
    ]
    every = max(1, len(NOISE) // 10)
    for i in range(n_noise):
        methods = [m for m in ("signal_share", "leiden_1")[: 2 if i % every == 0 else 1] if m in options.methods]
        jobs.append((f"noise{i}", [(0, methods)]))
    left = [(name, [(s, [m for m in ms if (m, name, s) not in done]) for s, ms in seeds]) for name, seeds in jobs]
    left = [(name, [job for job in seeds if job[1]]) for name, seeds in left]
    run([job for job in left if job[1]])
    harness.publish(CSV, tables())


if __name__ == "__main__":
    main()
