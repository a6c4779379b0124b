"""What averages within soft clusters predict, of what they have read and of what they have not.

    python benchmarks/deepwak.py                      everything, as in docs/benchmarks.md
    python benchmarks/deepwak.py --part leak          one of: leak, counts, agreement, heads, denoising

Rows already in the CSV are kept, so an interrupted run goes on; delete the file to start afresh. Labels score, and choose
nothing, but for the number of clusters where a part says that it is given.

leak       A partitioner alone (50 features - 128 - clusters, ReLU, Adam 3e-3, 1,500 steps on all 1,000 cells), whose averages
           are predicted without encoder or decoder: `published` reads and predicts all features, `split` reads 25 and
           predicts the other 25. Noise: standard normal; blobs: five, centres with standard deviation 1 around zero. Loss on
           1,000 cells held out, averaged among themselves, over that of the mean of the others (0: nothing is
           predicted). On noise anything below zero is a leak.
counts     Real counts, molecules in two halves. Methods read the first only. `own`: the loss that a form reports of
           its held-out cells, over that of the mean; `true`: of features of the second half, which it has never seen.
agreement  Adjusted Rand index with published labels, the number of clusters given or chosen.
heads      Two annotations of the same cells: adjusted mutual information of each head's clusters with either.
denoising  Simulations: root mean squared error against the true expression, as in benchmarks/denoising.py; RNA mixtures:
           of the mean expression of each mixture (counts pooled over its pseudo-cells), over cells, and the share of the
           variance of the known proportions that denoised expression explains (ridge regression, cross-validated).
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import harness  # noqa: E402
from clustering import load  # noqa: E402
from denoising import halves  # noqa: E402

CSV = HERE / "results" / "deepwak.csv"
METHOD = "deepwak"
KEYS = ["part", "data", "form", "n", "seed", "score"]
REAL = ["paul15", "pbmc68k_reduced", "cellbench_rnamix"]
AGREEMENT = ["pbmc68k_reduced", "kang18_pbmc_ifnb", "paul15", "pbmc4k_10x", "cellbench_rnamix"]
TWO_WAYS = {
    "simulated": ("type", "state"),
    "kang18_pbmc_ifnb": ("cell_type", "condition"),
    "cellbench_cell_lines": ("cell_type", "technology"),
}


# -------------------------------------------------------------------------------------------------------------- leak


def leak(data, form, n, seed):
    """Held-out loss of a bare partitioner, minus that of the mean."""
    import torch

    from scdeepclust import diffusion, networks

    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2_000, 50, generator=generator)
    if data == "blobs":
        x += torch.randn(5, 50, generator=generator)[torch.randint(5, (2_000,), generator=generator)]
    seen, wanted = (x, x) if form == "published" else (x[:, :25], x[:, 25:])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = networks.mlp(seen.shape[1], 128, n)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3, fused=True)

    def loss(cells):
        return (diffusion.wak(net(seen[cells]).softmax(1), wanted[cells]) - wanted[cells]).square().mean()

    train, held_out = slice(0, 1_000), slice(1_000, 2_000)
    for _ in range(1_500):
        optimizer.zero_grad()
        loss(train).backward()
        optimizer.step()
    with torch.no_grad():
        null = diffusion.wak(torch.ones(1_000, 1), wanted[held_out]) - wanted[held_out]
        used = net(seen[held_out]).argmax(1).unique().numel()
        return {"held out": float(loss(held_out)) - float(null.square().mean()), "clusters used": used}


# ------------------------------------------------------------------------------------------------------ real counts


def counts(data, form, n, seed):
    """Loss as reported and as it is, both over that of the mean."""
    import numpy as np
    import torch

    import scdeepclust as sdc
    from scdeepclust.data import read

    adata, second = halves(data, seed, most_cells=None)
    split = {"published": "none", "split": "auto"}[form]
    model = sdc.Model(adata, METHOD, n_clusters=n, split=split, random_state=seed, mask_var=None, **SHORT)
    model.train(progress=False)
    reported = model.report["held_out"]
    raw = read(adata, mask_var=None)
    other = replace(raw, values=type(raw.values)(second), totals=np.maximum(np.asarray(second.sum(1)).ravel(), 1))
    target = model.inputs.project(other)
    target = target - target.mean(0)  # of halves of equal depth, but not exactly
    with torch.no_grad():
        found = model.net.predict(torch.from_numpy(model.get_latent_representation()))
    found = found - found.mean(0)
    true = float((found - target).square().mean() / target.square().mean())
    return {"own": reported["loss"] / reported["loss_of_mean"], "true": true}


# -------------------------------------------------------------------------------------------------------- agreement


def agreement(data, form, n, seed):
    import scdeepclust as sdc

    adata, source = load(data)
    known = adata.obs["cell_type"].nunique() if n else None
    parameters = {"n_heads": int(form.split()[0])} if "head" in form else {}
    method = METHOD if "head" in form else form
    model = sdc.Model(adata, method, n_clusters=known, random_state=seed, **source, **parameters)
    model.train(progress=False)
    found = model.predict()
    return {
        "ARI": sdc.metrics.ari(adata.obs["cell_type"], found),
        "NMI": sdc.metrics.nmi(adata.obs["cell_type"], found),
        "clusters": model.n_clusters,
    }


# ------------------------------------------------------------------------------------------------------------- heads


def two_ways(n_obs=1_500, n_vars=400, n_types=4, n_states=2, seed=0):
    """Counts of types and, independent of them, states, whose log-fold changes add up."""
    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    rng = np.random.default_rng(seed)
    types, states = rng.integers(n_types, size=n_obs), rng.integers(n_states, size=n_obs)
    effects = [1.2 * rng.standard_normal((n, n_vars)) * (rng.random((n, n_vars)) < 0.2) for n in (n_types, n_states)]
    rate = np.exp(rng.standard_normal(n_vars) + effects[0][types] + effects[1][states])
    rate *= 1_500 * rng.lognormal(0, 0.3, (n_obs, 1)) / rate.sum(1, keepdims=True)
    obs = pd.DataFrame({"type": types.astype(str), "state": states.astype(str)})
    adata = AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)), obs=obs.set_index(obs.index.astype(str)))
    return adata[:, np.asarray(adata.X.sum(0)).ravel() > 0].copy()


def heads(data, form, n, seed):
    import scdeepclust as sdc

    adata = two_ways(seed=seed) if data == "simulated" else load(data)[0]
    independence = {"independence 0": 0.0}.get(form, 0.1)
    n_clusters = adata.obs[TWO_WAYS[data][0]].nunique()
    options = {"n_heads": n, "n_clusters": n_clusters, "independence": independence, "prune": form == "pruned"}
    model = sdc.Model(adata, METHOD, random_state=seed, **options)
    model.train(progress=False)
    table, found = model.tables["heads"], {}
    for head in table:
        for annotation in TWO_WAYS[data]:
            found[f"{head} {annotation}"] = sdc.metrics.ami(adata.obs[annotation], table[head].astype(str))
        found[f"{head} clusters"] = len(table[head].cat.categories)
    found["between heads"] = sdc.metrics.ami(table["head0"].astype(str), table["head1"].astype(str))
    return found


# --------------------------------------------------------------------------------------------------------- denoising


def denoised(adata, form, seed):
    """Log-normalised expression by one way, cells x genes."""
    import numpy as np

    import scdeepclust as sdc

    if form == "pp.denoise":
        sdc.pp.denoise(adata, dense=True, progress=False, random_state=seed)
        return adata.layers["denoised"]
    if form == "none":
        x = adata.X.toarray()
        return np.log1p(x * (np.median(x.sum(1)) / x.sum(1))[:, None])
    n_heads = int(form.split()[0])
    model = sdc.Model(adata, METHOD, n_heads=n_heads, mask_var=None, random_state=seed)
    model.train(progress=False)
    return model.denoise().to_numpy()


def denoising(data, form, n, seed):
    import numpy as np

    if data != "cellbench_rnamix":
        from denoising import simulate

        adata, truth, _, _ = simulate(data, seed)
        adata = adata[:n].copy()
        return {"rmse": float(np.sqrt(np.square(denoised(adata, form, seed) - truth[:n]).mean()))}
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import cross_val_predict

    adata, _ = load(data)
    adata = adata[:, adata.var["highly_variable"]].copy()
    found = denoised(adata, form, seed)
    mixture, depth = adata.obs["cell_type"].to_numpy(), np.median(np.asarray(adata.X.sum(1)))
    pooled = {m: np.asarray(adata.X[mixture == m].sum(0)).ravel() for m in np.unique(mixture)}
    truth = np.stack([np.log1p(depth * pooled[m] / pooled[m].sum()) for m in mixture])
    proportions = adata.obs[["H2228_prop", "H1975_prop", "HCC827_prop"]].to_numpy(dtype=float)
    guess = cross_val_predict(RidgeCV(np.logspace(-2, 5, 15)), found, proportions, cv=5)
    return {
        "rmse": float(np.sqrt(np.square(found - truth).mean())),
        "proportions explained": 1
        - np.square(guess - proportions).sum() / np.square(proportions - proportions.mean(0)).sum(),
    }


# --------------------------------------------------------------------------------------------------------------- all

SHORT = {"pretrain_steps": 200, "cluster_steps": 400}
FORMS = ["published", "split"]


def jobs(part, n_seeds):
    """Data, form, number and seed of every run of a part."""
    from itertools import product

    if part == "leak":
        yield from product(["noise", "blobs"], FORMS, [2, 5, 14, 50], range(n_seeds))
    elif part == "counts":
        yield from product(REAL, FORMS, [2, 8, 30], range(n_seeds))
    elif part == "agreement":
        yield from product(AGREEMENT, ["1 head", "3 heads", "aekmeans"], [1, 0], range(n_seeds))
    elif part == "heads":
        yield from product(TWO_WAYS, ["default", "independence 0", "pruned"], [2], range(n_seeds))
    else:
        yield from product(["types-1000-0.2", "lineage-1000-0.2"], DENOISERS, [1_500], range(n_seeds))
        yield from product(["cellbench_rnamix"], DENOISERS, [0], range(n_seeds))


DENOISERS = ["none", "1 head", "3 heads", "pp.denoise"]
PARTS = {"leak": leak, "counts": counts, "agreement": agreement, "heads": heads, "denoising": denoising}
TITLES = {
    "leak": "A bare partitioner: held-out loss minus that of the mean (below zero on noise is a leak)",
    "counts": "Real counts: loss over that of the mean, as reported and as it is",
    "agreement": "Agreement with published labels (n 1: number of clusters given; 0: chosen)",
    "heads": "Two heads, two annotations (type and state, or condition, or technology): adjusted mutual information with either",
    "denoising": "Denoising: root mean squared error",
}


def _aligned(rows):
    """Annotations by their place, so that sets share columns, and heads by the annotation that they are for: they have no order."""
    rows = rows.copy()
    for data, of_data in rows.groupby("data"):
        for place, name in zip(("first", "second"), TWO_WAYS[data], strict=True):
            named = of_data["score"].str.endswith(f" {name}")
            rows.loc[of_data.index[named], "score"] = of_data["score"][named].str.replace(f" {name}", f" {place}")
    for _, run in rows.groupby(["data", "form", "n", "seed"]):
        value = run.set_index("score")["value"]
        if value["head0 first"] + value["head1 second"] < value["head1 first"] + value["head0 second"]:
            swapped = {"head0": "head1", "head1": "head0"}
            rows.loc[run.index, "score"] = run["score"].replace(swapped, regex=True)
    return rows.replace({"score": {"head0": "one head", "head1": "the other"}}, regex=True)


HEADS = [f"{head} {what}" for head in ("one head", "the other") for what in ("first", "second", "clusters")] + [
    "between heads"
]


def tables():
    """Markdown of everything in the CSV: a row for each data set and form, a column for each number and score."""
    import pandas as pd

    rows = pd.read_csv(CSV).drop_duplicates(KEYS, keep="last")
    text = []
    for part, title in TITLES.items():
        mine = rows[rows["part"] == part]
        if not len(mine):
            continue
        if part == "heads":
            mine = _aligned(mine)
        mean = mine.groupby(["data", "form", "n", "score"], sort=False)["value"].agg(["mean", "std", "count"])
        cell = mean.apply(lambda r: f"{r['mean']:.3f}" + (f" ± {r['std']:.3f}" if r["count"] > 1 else ""), axis=1)
        one = part in {"denoising", "heads"}
        across = ["score"] if one else ["n", "score"]
        wide = cell.unstack(across).fillna("")  # noqa: PD010
        columns = cell.index.droplevel([name for name in cell.index.names if name not in across]).unique()
        wide = wide[sorted(columns, key=HEADS.index) if part == "heads" else columns]
        wide = wide.loc[cell.index.droplevel(across).unique()]
        wide.index = [f"{data}, {form}" for data, form, *_ in wide.index]
        if not one:
            wide.columns = [f"{score} ({n})" for n, score in wide.columns]
        seconds = mine.groupby(["data", "form"])["seconds"].mean()
        text.append(
            f"### {title}\n\n{harness.markdown(wide)}\n\nCPU seconds a run: {seconds.min():.0f} to {seconds.max():.0f}."
        )
    return "\n\n".join(text) + "\n"


def main():
    import pandas as pd
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", nargs="+", default=None)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    done = harness.done(CSV, KEYS[:5])
    for part in options.part:
        for data, form, n, seed in jobs(part, options.seeds):
            if (part, data, form, n, seed) in done or (options.data and data not in options.data):
                continue
            start = time.process_time()
            found = PARTS[part](data, form, n, seed)
            seconds = time.process_time() - start
            rows = [(part, data, form, n, seed, score, value, seconds) for score, value in found.items()]
            frame = pd.DataFrame(rows, columns=[*KEYS, "value", "seconds"]).round(5)
            frame.to_csv(CSV, mode="a", header=not CSV.exists(), index=False)
            print(part, data, form, n, seed, {k: round(v, 3) for k, v in found.items()}, f"{seconds:.0f} s", flush=True)
    harness.publish(CSV, tables())


if __name__ == "__main__":
    main()
