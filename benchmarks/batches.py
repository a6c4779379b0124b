"""Batches: do clusters follow cell types or batches, with and without correction; ours, scVI and Harmony.

    python benchmarks/batches.py                  five seeds
    python benchmarks/batches.py --seeds 1        one
    python benchmarks/batches.py --methods idec_batch vade_batch --datasets cellbench_cell_lines

Cell lines in five batches of two technologies (labels by genotype, so independent of the expression), PBMC of two donors
with and without interferon, and mixtures of RNA read by two technologies (labels by proportion). Rows already in the CSV
are kept. All methods see the same genes. Labels are used for scoring alone; the number of clusters is given, but for rows that end in `_leiden` (resolution 1) and in `_auto` (chosen by the
data). One thread, CPU seconds. `harmony_*` needs harmonypy.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import harness
from clustering import load
from rows import few_steps, scanpy_pcs

HERE = Path(__file__).parent
CSV = HERE / "results" / "batches.csv"
SETS = ["cellbench_cell_lines", "kang18_pbmc_ifnb", "cellbench_rnamix"]
OURS = {
    "idec": ("idec", {}),
    "idec_batch": ("idec", {"batch_key": "batch"}),
    "idec_batch_auto": ("idec", {"batch_key": "batch", "n_clusters": None}),
    "idec_zinb_batch": ("idec", {"batch_key": "batch", "likelihood": "zinb"}),
    "vade": ("vade", {}),
    "vade_batch": ("vade", {"batch_key": "batch"}),
    "vade_batch_auto": ("vade", {"batch_key": "batch", "n_clusters": None}),
    "features_batch_kmeans": ("none", {"batch_key": "batch"}),
    "features_batch_leiden": ("none", {"batch_key": "batch", "n_clusters": None, "cluster": "leiden", "resolution": 1.0}),
    "scvi_batch_kmeans": ("scvi", {"batch_key": "batch"}),
    "scvi_batch_leiden": ("scvi", {"batch_key": "batch", "n_clusters": None, "cluster": "leiden", "resolution": 1.0}),
}  # fmt: skip
PEERS = ["pca_kmeans", "pca_leiden", "harmony_kmeans", "harmony_leiden"]
N_NEIGHBORS = 15


def harmony(adata, z, seed):
    """Components corrected by harmonypy with its defaults."""
    import harmonypy
    import numpy as np

    z = np.asarray(z, dtype=float)
    found = np.asarray(harmonypy.run_harmony(z, adata.obs, "batch", verbose=False, random_state=seed).Z_corr)
    return found if len(found) == adata.n_obs else found.T  # its orientation differs between versions


def by_peer(method, adata, n_clusters, seed):
    """Clusters and embedding by scanpy's usual PCs, corrected by harmonypy or not."""
    import numpy as np
    from sklearn.cluster import KMeans

    from scdeepclust import diffusion

    z = np.asarray(scanpy_pcs(adata, {}))
    representation, kind = method.split("_")
    if representation == "harmony":
        z = harmony(adata, z, seed)
    if kind == "kmeans":
        return KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(z), z
    return diffusion.communities(z, resolution=1.0, n_neighbors=N_NEIGHBORS, random_state=seed), z


def by_ours(method, adata, n_clusters, seed):
    import scdeepclust as sdc

    name, options = OURS[method]
    model = sdc.Model(adata, name, random_state=seed, **{"n_clusters": n_clusters} | options)
    model.train(progress=False)
    return model.predict(), model.get_latent_representation()


def shares(z, batch, types):
    """Share of neighbours of the same batch, and what it were if batches were mixed: everywhere, or within types."""
    import pandas as pd
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=N_NEIGHBORS + 1).fit(z).kneighbors(z, return_distance=False)[:, 1:]
    table = pd.crosstab(types, batch).to_numpy()
    within = ((table / table.sum(1, keepdims=True)) ** 2).sum(1) @ table.sum(1) / table.sum()
    everywhere = ((table.sum(0) / table.sum()) ** 2).sum()
    return {"same_batch": (batch[near] == batch[:, None]).mean(), "if_mixed": everywhere, "if_mixed_in_types": within}


def warm(method, adata):
    """Run a method on a few cells, so that no seed pays for compilation and imports."""
    few = adata[:300].copy()
    few = few[:, few.X.sum(0) > 0].copy()
    few.var["highly_variable"] = True
    if method not in OURS:
        by_peer(method, few, 3, 0)
        return
    import scdeepclust as sdc

    name, options = OURS[method]
    sdc.Model(few, name, **{"n_clusters": 3} | options | few_steps(name)).train(progress=False)


def work(method, name, seeds):
    """In a process of its own: one method on one set, one JSON line a seed."""
    import torch
    from sklearn.metrics import normalized_mutual_info_score

    import scdeepclust as sdc

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    adata, _ = load(name)
    types, batch = (adata.obs[key].astype(str).to_numpy() for key in ("cell_type", "batch"))
    n_clusters = len(set(types))
    warm(method, adata)
    for seed in seeds:
        start = time.process_time()
        find = by_ours if method in OURS else by_peer
        found, z = find(method, adata.copy(), n_clusters, seed)
        row = {"method": method, "dataset": name, "seed": seed, **sdc.metrics.scores(types, found)}
        row |= {"NMI_batch": normalized_mutual_info_score(batch, found), "n_clusters": len(set(found))}
        row |= shares(z, batch, types) | {"seconds": time.process_time() - start}
        print(json.dumps(row, default=float), flush=True)


def tables(path=CSV):
    """Markdown, a table a set: means over seeds."""
    import pandas as pd

    rows = pd.read_csv(path).drop_duplicates(["method", "dataset", "seed"], keep="last")
    columns = ["ARI", "NMI", "NMI_batch", "same_batch", "n_clusters", "seconds"]
    parts = []
    for name, part in rows.groupby("dataset"):
        mean = part.groupby("method")[columns].mean().sort_values("ARI", ascending=False)
        mean["ARI"] = harness.spelled(mean["ARI"], part.groupby("method")["ARI"].std().reindex(mean.index))
        mean = mean.round({"NMI": 3, "NMI_batch": 3, "same_batch": 3, "n_clusters": 1, "seconds": 1})
        first = part.iloc[0]
        parts.append(
            f"{name}: same-batch share if mixed {first['if_mixed']:.2f}, if mixed within types "
            f"{first['if_mixed_in_types']:.2f}; {part['seed'].nunique()} seeds.\n\n{harness.markdown(mean)}"
        )
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=[*OURS, *PEERS], choices=[*OURS, *PEERS])
    parser.add_argument("--datasets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    done = harness.done(CSV, ["method", "dataset", "seed"])
    for name in options.datasets:
        for method in options.methods:
            seeds = [seed for seed in range(options.seeds) if (method, name, seed) not in done]
            for row in harness.rows_of("batches", method, name, seeds) if seeds else ():
                harness.append(row, CSV)
                print("{method:26s}{dataset:22s}seed {seed}  ARI {ARI:.3f}".format(**row), flush=True)
    harness.publish(CSV, tables())


if __name__ == "__main__":
    main()
