"""Methods x data with lineages x seeds: what each embedding kept of neighbours and distances along them, and its ARI.

    python benchmarks/lineage.py                     everything, as in docs/benchmarks.md
    python benchmarks/lineage.py --datasets paul15 --seeds 1

The reference is label-free: principal components, as many as `scdeepclust.pp.neighbors` chooses by splitting counts (the
values themselves where there are no counts). `order` is the agreement of diffusion pseudotime, rooted at the first cell of
the known order, with that order, where there is one. Rows already in the CSV are kept.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import harness
from rows import scanpy_pcs

HERE = Path(__file__).parent
CSV = HERE / "results" / "lineage.csv"
SETS = ["paul15", "tusi18_bonemarrow", "krumsiek11", "simulated, 4 ends", "simulated, 8 ends, shallow"]
MOST_CELLS = 5_000
UNLABELLED = 10  # clusters where no labels say how many
COLUMNS = [
    "dataset", "embedding", "seed", "score", "neighbors", "trustworthiness", "geodesic", "connected", "order", "ARI",
]  # fmt: skip
EMBEDDINGS = {
    "PCA": None,
    "UMAP": None,
    "aekmeans": ("aekmeans", {}),
    "dec": ("dec", {}),
    "idec": ("idec", {}),
    "idec, locality=1": ("idec", {"locality": 1.0}),
    "idec, weight=1": ("idec", {"weight": 1.0}),
    "idec, before clustering": ("idec", {}),
}


def load(name):
    """Cells with `highly_variable` genes chosen once, what to read, and the known order or None."""
    import numpy as np

    import scdeepclust as sdc
    from scdeepclust.data import read

    if name.startswith("simulated"):
        shallow = {"n_branches": 8, "mean_depth": 500.0, "n_obs": 2500} if "shallow" in name else {}
        adata = sdc.datasets.simulate_lineage(**({"n_obs": 2000, "n_branches": 4} | shallow), random_state=0)
        adata.var["highly_variable"] = True
        return adata, {}, adata.obs["pseudotime"].to_numpy()
    adata = getattr(sdc.datasets, name)()
    if adata.n_obs > MOST_CELLS:
        adata = adata[np.sort(np.random.default_rng(0).choice(adata.n_obs, MOST_CELLS, replace=False))].copy()
    if name == "krumsiek11":
        adata.obsm["values"] = np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X)
        return adata, {"use_rep": "values"}, None
    raw = read(adata, drop_empty=True)
    adata = adata[raw.kept].copy()
    adata.var["highly_variable"] = adata.var_names.isin(raw.var_names)
    return adata, {}, None


def reference(adata, source):
    """The space, chosen without labels or clusters, that embeddings are compared with."""
    import scdeepclust as sdc

    if source:
        return adata.obsm[source["use_rep"]]
    sdc.pp.neighbors(adata, mask_var="highly_variable", progress=False)
    return adata.obsm["X_n2s"]


def embedding(name, adata, source, seed):
    """An embedding, and the clusters that belong to it."""
    import scanpy as sc
    from anndata import AnnData
    from sklearn.cluster import KMeans
    from sklearn.neighbors import KNeighborsTransformer

    import scdeepclust as sdc

    n_clusters = adata.obs["cell_type"].nunique() if "cell_type" in adata.obs else UNLABELLED
    if EMBEDDINGS[name] is None:
        x = scanpy_pcs(adata, source)
        if name == "UMAP":
            bare = AnnData(obsm={"x": x})
            sc.pp.neighbors(bare, use_rep="x", transformer=KNeighborsTransformer(n_neighbors=15), random_state=seed)
            sc.tl.umap(bare, random_state=seed)
            x = bare.obsm["X_umap"]
        return x, KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(x)
    method, params = EMBEDDINGS[name]
    model = sdc.Model(
        adata, method, n_clusters=n_clusters, random_state=seed, drop_empty=not source, **source, **params
    )
    model.train(progress=False)
    z = model.latent_before if "before" in name else model.get_latent_representation()
    return z, model.predict()


def order(z, known):
    """Agreement of diffusion pseudotime with a known order."""
    import numpy as np
    from anndata import AnnData

    import scdeepclust as sdc

    if known is None:
        return np.nan
    bare = AnnData(obsm={"X_z": z})
    bare.obs["all"] = np.where(np.arange(len(z)) % 2, "a", "b")
    bare.obs["all"] = bare.obs["all"].astype("category")
    sdc.tl.lineage(bare, "all", use_rep="X_z", root=int(np.argmin(known)), min_confidence=0, fates=None)
    return sdc.metrics.pseudotime_agreement(bare.obs["lineage_pseudotime"].to_numpy(), known)["score"]


def work(name, jobs):
    """In a process of its own: all jobs of one set, one JSON line each."""
    import torch

    import scdeepclust as sdc

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    adata, source, known = load(name)
    space = reference(adata, source)
    for method, seed in jobs:
        z, labels = embedding(method, adata, source, seed)
        kept = sdc.metrics.lineage_preservation(z, space)
        row = {"dataset": name, "embedding": method, "seed": seed, **kept}
        row["order"] = order(z, known)
        if "cell_type" in adata.obs:
            row["ARI"] = sdc.metrics.ari(adata.obs["cell_type"].astype(str).to_numpy(), labels)
        print(json.dumps(row), flush=True)


def tables():
    """Markdown: preservation relative to PCA's on each set, then all parts, averaged over sets."""
    import pandas as pd

    rows = pd.read_csv(CSV).drop_duplicates(["dataset", "embedding", "seed"], keep="last")
    mean = rows.pivot_table(index="embedding", columns="dataset", values="score").reindex(list(EMBEDDINGS))
    spread = rows.pivot_table(index="embedding", columns="dataset", values="score", aggfunc="std").reindex_like(mean)
    text = harness.spelled(mean, spread, 2)[[name for name in SETS if name in mean]]
    text.insert(0, "**of PCA's**", (mean.div(mean.loc["PCA"]).mean(axis=1)).map("{:.2f}".format))
    parts = ["score", "neighbors", "trustworthiness", "geodesic", "connected", "order", "ARI"]
    by_part = rows.groupby(["embedding", "dataset"])[parts].mean().groupby("embedding").mean()
    return harness.markdown(text), harness.markdown(by_part.reindex(list(EMBEDDINGS)).round(3))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    done = harness.done(CSV, ["dataset", "embedding", "seed"])
    for name in options.datasets:
        # PCA has no seed, but the k-means that gives its ARI has.
        jobs = [(m, s) for m in EMBEDDINGS for s in range(options.seeds) if (name, m, s) not in done]
        for row in harness.rows_of("lineage", name, jobs) if jobs else ():
            harness.append(row, CSV, columns=COLUMNS)
            print(json.dumps(row)[:150], flush=True)
    harness.publish(CSV, "\n\n".join(tables()))


if __name__ == "__main__":
    main()
