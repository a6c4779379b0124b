"""Can held-out molecules choose the transformation of counts, set by set, without labels?

    python benchmarks/transforms.py               five seeds of the ten sets with counts
    python benchmarks/transforms.py --seeds 1     one

Square root or logarithm of counts at median depth, genes divided by a power of their standard deviation, 20 principal components.
Two partitions of each: k-means of features averaged over ten neighbours, told the number of clusters, and that of
`tl.n_clusters`, which is not. Two scores, in one currency for all transformations: how much better the clusters of one half of
the molecules predict the counts of the other than a single cluster does (Poisson, nats a cell, both directions). With the number
given, the half is clustered by itself; else its cells go to the nearest of the clusters found. Then, of each set, the transformation
with the highest score is taken, and its agreement with the labels compared with that of one transformation for all sets, and
with the best that labels could choose. Rows already in the CSV are kept.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import harness
from clustering import MEASURED, SETS, load

CSV = Path(__file__).parent / "results" / "transforms.csv"
COUNTED = [name for name in SETS if name not in MEASURED]
TRANSFORMS = [(transform, scaling) for transform in ("sqrt", "log1p") for scaling in (0.0, 0.5, 1.0)]
N_PCS, N_SPLITS = 20, 2
SHOWN = {"given": "number given", "chosen": "number chosen"}


def work(name, seeds):
    """In a process of its own: one set, one JSON line for a transformation and seed."""
    import numpy as np
    import torch
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    from scdeepclust import diffusion
    from scdeepclust.data import Inputs, read
    from scdeepclust.diffusion import prediction
    from scdeepclust.selection.halves import halve
    from scdeepclust.selection.n_clusters import choose_n_clusters

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    adata, _ = load(name)
    truth, raw = adata.obs["cell_type"].astype(str).to_numpy(), read(adata)
    n_clusters = len(set(truth))

    def k_means(x):
        x = diffusion.average(x, n_neighbors=10)
        return KMeans(n_clusters, n_init=30, random_state=seed).fit_predict(x)

    for seed in seeds:
        rows = []
        for transform, scaling in TRANSFORMS:
            inputs = Inputs(raw.kind, transform, scaling, N_PCS)
            choice = choose_n_clusters(raw, inputs, curve=False, seed=seed)
            rng, scores = np.random.default_rng(seed), {"given": [], "chosen": []}
            for _ in range(N_SPLITS):
                halves = halve(raw, "count_split", inputs, rng, seed=seed)
                for x, other in ((halves.x, halves.b), (halves.y, halves.a)):
                    scores["given"].append(prediction.poisson_gain(other.values, k_means(x)).mean())
                    found = diffusion.nearest_mean(x, choice.labels)
                    scores["chosen"].append(prediction.poisson_gain(other.values, found).mean())
            found = {"given": k_means(Inputs(**inputs.config).fit(raw, seed=seed).numpy()), "chosen": choice.labels}
            row = {"dataset": name, "seed": seed, "transform": transform, "gene_scaling": scaling}
            row |= {f"ARI_{kind}": adjusted_rand_score(truth, labels) for kind, labels in found.items()}
            row |= {f"gain_{kind}": float(np.mean(gains)) for kind, gains in scores.items()}
            rows.append(json.dumps(row | {"n_clusters": choice.n_clusters}))
        print("\n".join(rows), flush=True)  # all of a seed or none, so that an interrupted run goes on


def tables(path=CSV):
    """Markdown: ARI of every transformation, and of what the score and what the labels choose, set by set and on the mean."""
    import pandas as pd

    rows = pd.read_csv(path)
    rows["name"] = rows["transform"] + ", " + rows["gene_scaling"].astype(str)
    parts = []
    for kind, shown in SHOWN.items():
        ari, gain = (
            rows.pivot_table(index=["dataset", "seed"], columns="name", values=f"{v}_{kind}") for v in ("ARI", "gain")
        )
        chosen = {"chosen by the score": gain.idxmax(axis=1), "chosen by the labels": ari.idxmax(axis=1)}
        for column, names in chosen.items():
            ari[column] = [ari.loc[at, name] for at, name in names.items()]
        by_seed = ari.groupby("seed").mean()
        of_sets = ari.groupby("dataset").mean().map("{:.3f}".format)
        mean = by_seed.mean().map("{:.3f}".format) + " ± " + by_seed.std(ddof=0).map("{:.3f}".format)
        of_sets.loc["**mean**"] = mean
        parts.append(f"ARI, {shown}; {len(by_seed)} seeds:\n\n{harness.markdown(of_sets)}")
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=COUNTED, choices=COUNTED)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    done = harness.done(CSV, ["dataset", "seed"])
    for name in options.datasets:
        seeds = [seed for seed in range(options.seeds) if (name, seed) not in done]
        for row in harness.rows_of("transforms", name, seeds) if seeds else ():
            harness.append(row, CSV)
            print(
                "{dataset:22s}seed {seed}  {transform} {gene_scaling}  ARI {ARI_given:.3f} {ARI_chosen:.3f}".format(
                    **row
                ),
                flush=True,
            )
    harness.publish(CSV, tables())


if __name__ == "__main__":
    main()
