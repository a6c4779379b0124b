"""Representations x data sets x seeds, each with the clusters found on it: agreement, neighbourhoods, lineages, seconds.

    python benchmarks/representations.py                        everything
    python benchmarks/representations.py --datasets paul15 --seeds 1 --embeddings "graph" "all cells"

The number of clusters is given (as many as labels), or chosen by the data in the rows of `given` = False. `lineage` is
`scdeepclust.metrics.lineage_preservation` against the principal components that `scdeepclust.pp.neighbors` chooses, `purity` the
share of a cell's neighbours that have its label, `rank` the effective rank. Seconds are CPU seconds of one thread. Labels score and
do nothing else. Rows already in the CSV are kept, so an interrupted run goes on; delete the file to start afresh.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
from clustering import MEASURED, SETS, load
from lineage import reference
from rows import few_steps

HERE = Path(__file__).parent
CSV = HERE / "results" / "representations.csv"
QUICK = ["pbmc4k_10x", "worm_neuron", "paul15"]
SIMCLR = {"similarity": "cosine", "temperature": 0.5, "projection": (64, 32)}
EMBEDDINGS = {
    "PCA": ("none", {}),
    "PCA, mixture": ("none", {"cluster": "gmm"}),
    "PCA, Leiden": ("none", {"cluster": "leiden"}),
    "PCA, Ward": ("none", {"cluster": "agglomerative"}),
    "idec": ("idec", {}),
    "idec, ZINB": ("idec", {"likelihood": "zinb"}),
    "vade": ("vade", {}),
    "scvi": ("scvi", {}),
    "graph": ("contrastive", {}),
    "graph, Leiden": ("contrastive", {"cluster": "leiden"}),
    "graph, clusters": ("contrastive", {"cluster_weight": 1.0}),
    "not neighbours": ("contrastive", {"negatives": "not_neighbors"}),
    "all cells": ("contrastive", {"negatives": "all"}),
    "all cells, decoupled": ("contrastive", {"negatives": "all", "decoupled": True}),
    "all cells, masking": ("contrastive", {"negatives": "all", "views": ("mask",)}),
    "SimCLR": ("contrastive", {"negatives": "all", **SIMCLR}),
    "SimCLR, graph": ("contrastive", SIMCLR),
    "triplet": ("triplet", {}),
    "triplet, FaceNet's": ("triplet", {"margin": 0.2, "lr": 1e-3}),
    "mae": ("mae", {}),
    "scmae": ("mae", {"form": "scmae"}),
    "dino": ("dino", {}),
    "dino, k-means": ("dino", {"cluster": "kmeans"}),
}
CHOSEN = {}  # partitions that the data choose, by seed and features: the same for methods that read the same
MOST_PAIRS = 10_000  # cells of which an algorithm that needs all pairs sees all
FEATURES = ("thin", "mask")  # views of genes, which measured values do not have


def work(name, jobs):
    """In a process of its own: all jobs of one set, one JSON line each."""
    import torch

    import scdeepclust as sdc

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    adata, source = load(name)
    truth = adata.obs["cell_type"].astype(str).to_numpy()
    space = reference(adata, source)
    few = adata[:300].copy()
    few = few[:, few.X.sum(0) > 0].copy() if not source else few
    for method in {EMBEDDINGS[embedding][0] for embedding, _, _ in jobs}:  # no row pays for compilation
        sdc.Model(few, method, n_clusters=3, **source, **few_steps(method)).train(progress=False)
    for embedding, seed in dict.fromkeys((embedding, seed) for embedding, seed, _ in jobs):
        wanted = [given for *job, given in jobs if job == [embedding, seed]]
        for row in rows(adata, source, truth, embedding=embedding, seed=seed, wanted=wanted):
            row |= {"lineage": sdc.metrics.lineage_preservation(row.pop("z"), space)["score"]}
            print(json.dumps({"embedding": embedding, "dataset": name, "seed": seed} | row), flush=True)


def rows(adata, source, truth, *, embedding, seed, wanted):
    """Scores with the number of clusters given, chosen, or both.

    Where clusters are found after training, one training serves both: the data's choice does not depend on it.
    """
    import scdeepclust as sdc

    method, params = EMBEDDINGS[embedding]
    n_types = len(set(truth))
    model = None
    for given in sorted(wanted, reverse=True):
        start = time.process_time()
        if given or model is None or not finds_after(model.method, adata.n_obs):
            n_clusters = n_types if given else None
            model = sdc.Model(adata, method, n_clusters=n_clusters, random_state=seed, **source, **params)
            model.train(progress=False)
            found, seconds = model.predict(), time.process_time() - start
            trained = seconds
        else:
            found = again(adata, source, model, seed)
            seconds = trained + time.process_time() - start
        z = model.get_latent_representation()
        row = {"given": given, "ARI": sdc.metrics.ari(truth, found), "NMI": sdc.metrics.nmi(truth, found)}
        row |= {"purity": sdc.metrics.knn_purity(z, truth), "n_clusters": len(set(found))}
        yield row | {"rank": sdc.metrics.effective_rank(z), "seconds": seconds, "z": z}


def finds_after(method, n_obs):
    """Whether a method learns without knowing of clusters, and finds them by an algorithm that sees all cells."""
    from scdeepclust.methods.representation import ClusteredMethod

    if not isinstance(method, ClusteredMethod) or getattr(method, "cluster_weight", 0):
        return False
    return method.cluster in {"kmeans", "gmm", "leiden"} or (method.cluster == "agglomerative" and n_obs < MOST_PAIRS)


def again(adata, source, model, seed):
    """Clusters in an embedding, from those that the data choose, as training without a number would have found them."""
    from scdeepclust import clustering, diffusion
    from scdeepclust.data import read
    from scdeepclust.selection import choose_n_clusters

    raw, z, method = read(adata, **source), model.get_latent_representation(), model.method
    inputs = method.inputs(raw.kind)
    key = seed, repr(inputs.config)
    if key not in CHOSEN:
        CHOSEN[key] = choose_n_clusters(raw, inputs, curve=False, seed=seed).labels
    start = diffusion.means(z, CHOSEN[key])
    options = {"start": start, "n_neighbors": method.n_neighbors, "n_init": method.n_init, "random_state": seed}
    return clustering.find(z, method.cluster, len(start), **options).labels


def reads_values(embedding):
    """Whether an embedding can be made of values that are no counts and have no genes behind them."""
    import scdeepclust as sdc

    method, params = EMBEDDINGS[embedding]
    return not (sdc.methods.get(method, **params).needs_counts or set(FEATURES) & set(params.get("views", ())))


def run(name, jobs):
    """All jobs of one set in a process, each row appended to the CSV as it comes."""
    for row in harness.rows_of("representations", name, jobs):
        harness.append(row, CSV)
        print(json.dumps(row), flush=True)


def tables():
    """Markdown, the number given or chosen: ARI of each embedding on each set, then all scores, averaged over the sets with counts."""
    import pandas as pd

    rows = pd.read_csv(CSV).drop_duplicates(["embedding", "dataset", "seed", "given"], keep="last")
    texts = []
    for given in (True, False):
        some = rows[rows["given"] == given]
        if some.empty:
            continue
        order = [name for name in EMBEDDINGS if name in set(some["embedding"])]
        ari = some.pivot_table(index="embedding", columns="dataset", values="ARI").reindex(order)
        shared = ari.columns.difference(MEASURED)
        ari = ari[[*shared, *ari.columns.intersection(MEASURED)]]
        spread = some.pivot_table(index="embedding", columns="dataset", values="ARI", aggfunc="std").reindex_like(ari)
        text = harness.spelled(ari, spread)
        text.insert(0, "**mean**", ari[shared].mean(axis=1, skipna=False).map("{:.3f}".format).replace("nan", ""))
        scores = ["ARI", "NMI", "purity", "lineage", "rank", "n_clusters", "seconds"]
        complete = ari.index[ari[shared].notna().all(axis=1)]
        counted = some[some["dataset"].isin(shared)]
        by_set = counted.groupby(["embedding", "dataset"])[scores].mean().groupby("embedding").mean()
        texts += [f"Number of clusters {'given' if given else 'chosen'}:", harness.markdown(text)]
        texts.append(harness.markdown(by_set.loc[complete].round({"seconds": 1, "rank": 1, "n_clusters": 1}).round(3)))
    return "\n\n".join(texts)


def main():
    import scdeepclust as sdc

    known = [name for name, (method, _) in EMBEDDINGS.items() if method in sdc.methods.registry()]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--embeddings", nargs="+", default=known, choices=known)
    parser.add_argument("--datasets", nargs="+", default=None, choices=SETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--given", action="store_true", help="only with the number of clusters given")
    parser.add_argument("--workers", type=int, default=max(1, os.cpu_count() or 1))
    parser.add_argument("--quick", action="store_true", help="three sets")
    options = parser.parse_args()
    done = harness.done(CSV, ["dataset", "embedding", "seed", "given"])
    work_of = {}
    for name in options.datasets or (QUICK if options.quick else SETS):
        jobs = [
            (embedding, seed, given)
            for seed in range(options.seeds)
            for given in ((True,) if options.given else (True, False))
            for embedding in options.embeddings
            if (name, embedding, seed, given) not in done and (name not in MEASURED or reads_values(embedding))
        ]
        if jobs:
            work_of[name] = jobs
    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(run, work_of, work_of.values()))
    harness.publish(CSV, tables())


if __name__ == "__main__":
    main()
