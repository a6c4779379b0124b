"""What the rows of benchmarks/clustering.py are: our methods, scanpy's steps, and peers in a Python of their own."""

from __future__ import annotations

import time
from dataclasses import fields

import peers

import scdeepclust as sdc

# Our methods with other parameters; `_auto` is without a number of clusters, which the data then choose.
VARIANTS = {f"{name}_auto": (name, {"n_clusters": None}) for name in sdc.methods.registry()} | {
    "vade_zinb": ("vade", {"likelihood": "zinb"}),
    "vade_mse": ("vade", {"likelihood": "mse"}),
    "idec_zinb": ("idec", {"likelihood": "zinb"}),
    "idec_zinb_auto": ("idec", {"likelihood": "zinb", "n_clusters": None}),
    "scvi_leiden": ("scvi", {"n_clusters": None, "cluster": "leiden", "resolution": 1.0}),
}
SCANPY = ["pca_kmeans", "pca_diffused_kmeans", "features_diffused_kmeans", "pca_leiden", "pca_leiden_best"]
UNTOLD = {"pca_leiden", "pca_leiden_best"} | peers.UNTOLD
# Rows that one training serves, by the name of the job that trains; other jobs have one row, of their name.
AFTERWARDS = {name: (name, f"{name}_auto") for name in ("contrastive", "mae", "triplet")}  # find clusters once trained
TOGETHER = {**AFTERWARDS, "scvi": ("scvi", "scvi_auto", "scvi_leiden"), **peers.ROWS}
RESOLUTIONS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.3, 1.6, 2.0)


def every():
    """All rows by the job that makes them, the quick ones first."""
    served = {row for rows in TOGETHER.values() for row in rows}
    alone = [row for row in [*sdc.methods.registry(), *VARIANTS, *SCANPY] if row not in served]
    return {row: (row,) for row in alone} | TOGETHER


def settings(row):
    """Method and parameters of a row of ours; nothing for the others."""
    return VARIANTS.get(row, (row, {}) if row in sdc.methods.registry() else None)


def told(row):
    """Whether a row is given the number of clusters."""
    ours = settings(row)
    return ours[1].get("n_clusters", "given") is not None if ours else row not in UNTOLD


def needs_counts(job):
    """Whether a job has no rows for values that are no counts."""
    ours = settings(job)
    return sdc.methods.get(ours[0], **ours[1]).needs_counts if ours else peers.reads_counts(job)


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
    from scdeepclust.data import read

    raw = read(adata, **source)
    return sdc.methods.get("idec", **parameters).inputs(raw.kind).fit(raw, seed=seed).numpy()


def ours(job, adata, source, *, n_clusters, seed, **parameters):
    """The rows of a job of ours: name, labels, CPU seconds, and what was kept of neighbourhoods.

    Rows that share a training start from its weights and go the whole way of the method from there, the choice of the
    number of clusters from the counts included. Their seconds are those of the first row and their own, so they hold
    the k-means of the first row too.
    """
    weights, before = {}, 0.0
    for row in TOGETHER.get(job, (job,)):
        start = time.process_time()
        name, changed = settings(row)
        trained = steps_of(name, 0, 0) if weights else {}
        model = sdc.Model(
            adata, name, random_state=seed, **source, **{"n_clusters": n_clusters} | changed | parameters | trained
        )
        model._initial |= weights
        model.train(progress=False)
        seconds = time.process_time() - start
        yield row, model.predict(), before + seconds, model.preservation.get("after")
        if not weights:
            before = seconds
            weights = {key: w for key, w in model.net.state_dict().items() if not key.startswith("head.")}


def by_scanpy(method, adata, source, *, n_clusters, seed, truth):
    """Labels by scanpy's or scikit-learn's steps on PCs, or on our features; the truth chooses in `pca_leiden_best`."""
    from sklearn.cluster import KMeans

    from scdeepclust import diffusion

    if method == "pca_kmeans":
        return KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(scanpy_pcs(adata, source))
    if method in {"pca_diffused_kmeans", "features_diffused_kmeans"}:
        scaling = {"gene_scaling": 0.0} if method == "pca_diffused_kmeans" else {}
        x = diffusion.average(features(adata, source, seed, **scaling), n_neighbors=10, n_steps=1)
        return KMeans(n_clusters, n_init=30, random_state=seed).fit_predict(x)
    resolutions = RESOLUTIONS if method == "pca_leiden_best" else (1.0,)
    return leiden(adata, scanpy_pcs(adata, source), resolutions, seed=seed, truth=truth)


def leiden(adata, z, resolutions, *, seed, truth):
    """Scanpy's neighbours and Leiden on an embedding; of several resolutions the best, as the truth says."""
    import scanpy as sc
    from sklearn.metrics import adjusted_rand_score
    from sklearn.neighbors import KNeighborsTransformer

    adata.obsm["pcs"] = z
    sc.pp.neighbors(adata, 15, use_rep="pcs", transformer=KNeighborsTransformer(n_neighbors=15), random_state=seed)
    best = -1.0
    for resolution in resolutions:
        sc.tl.leiden(
            adata, resolution, random_state=seed, flavor="igraph", n_iterations=2, directed=False, key_added="l"
        )
        score = adjusted_rand_score(truth, adata.obs["l"])
        if score > best:
            best, found = score, adata.obs["l"].to_numpy()
    return found


def labels(job, adata, source, *, n_clusters, seed, truth, **parameters):
    """Rows of a job that runs in this process: name, labels, CPU seconds, what was kept of neighbourhoods or None.

    Parameters go to our own methods.
    """
    if settings(job):
        yield from ours(job, adata, source, n_clusters=n_clusters, seed=seed, **parameters)
        return
    start = time.process_time()
    found = by_scanpy(job, adata, source, n_clusters=n_clusters, seed=seed, truth=truth)
    yield job, found, time.process_time() - start, None


def warm(job, adata, source, truth):
    """Run a job on a few cells and steps, so that no seed pays for compilation."""
    few = adata[:300].copy()
    few = few[:, few.X.sum(0) > 0].copy() if not source else few
    steps = few_steps(settings(job)[0]) if settings(job) else {}
    list(labels(job, few, source, n_clusters=3, seed=0, truth=truth[:300], **steps))


def few_steps(method):
    """Parameters with which a method hardly trains."""
    return steps_of(method, 20, 2)


def steps_of(method, n_steps, n_epochs):
    """Parameters with which a method trains for so many minibatches, or epochs where it counts these."""
    known = {f.name for f in fields(sdc.methods.registry()[method])}
    steps = dict.fromkeys(known & {"pretrain_steps", "cluster_steps"}, n_steps)
    return steps | dict.fromkeys(known & {"max_epochs"}, n_epochs)


def by_peer(job, python, adata, source, *, n_clusters, seeds):
    """Rows of a peer: seed, name, labels, CPU seconds, peak memory. It reads scanpy's PCs or counts of the genes chosen."""
    if peers.reads_counts(job):
        x = adata.X[:, adata.var["highly_variable"].to_numpy()]
        x = x.toarray() if hasattr(x, "toarray") else x
    else:
        x = scanpy_pcs(adata, source)
    return peers.labels(job, python, x, n_clusters=n_clusters, seeds=seeds)
