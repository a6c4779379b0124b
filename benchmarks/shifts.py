"""Shifts that recur between clusters (`join_shifted` of `tl.n_clusters`): how often one is found where there is none, and where there is.

    python benchmarks/shifts.py             everything, as in docs/benchmarks.md
    python benchmarks/shifts.py --runs 2    two runs of each row instead of five

none      Sets without a batch or treatment that goes across their types, random halves of their cells, at Leiden resolutions 1
          and 2: a shift that is found is a mistake, or biology that recurs. Simulated types (`simulate_types`, 3 to 24, with each
          its own programme) and lineages (`simulate_lineage`, 3 to 8 branches): a mistake.
crossing  Simulated types of which each has cells of two batches, in which every gene's rate is multiplied by a factor, of the
          given standard deviation (of logarithms): ARI with the types when the shift is joined and when it is not.
labelled  The sets in which batches or treatments go across types; nobody is told which. ARI with the types, with and without.

Labels are used to score alone. Rows of random halves and of simulations differ by their seed.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from itertools import product
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import harness  # noqa: E402

CSV = HERE / "results" / "shifts.csv"
WITHOUT = [
    "pbmc4k_10x", "worm_neuron", "cbmc_citeseq", "paul15", "pbmc3k", "pollen14", "pbmc68k_reduced", "tusi18_bonemarrow",
]  # fmt: skip
CROSSED = ["cellbench_cell_lines", "cellbench_rnamix", "kang18_pbmc_ifnb"]
N_TYPES = (3, 6, 12, 24)
N_BRANCHES = (3, 4, 6, 8)
COLUMNS = ["kind", "name", "resolution", "seed", "shifts", "n_joined", "ari_joined", "n_apart", "ari_apart"]
SIZES = (0.3, 0.4, 0.5, 0.7)


def cells_of(kind, name, seed):
    """Cells of a row."""
    import numpy as np

    import scdeepclust as sdc

    rng = np.random.default_rng(seed)
    if kind == "crossing":
        return crossing(float(name), seed)
    if name.startswith("types "):
        return sdc.datasets.simulate_types(3000, 500, n_types=int(name.split()[1]), random_state=seed)
    if name.startswith("lineage "):
        return sdc.datasets.simulate_lineage(3000, 500, n_branches=int(name.split()[1]), random_state=seed)
    adata = getattr(sdc.datasets, name)()
    if kind == "none":
        adata = adata[np.sort(rng.choice(adata.n_obs, adata.n_obs // 2, replace=False))].copy()
    return adata


def crossing(size, seed, n_types=6):
    """Types of which each has cells of two batches."""
    import numpy as np
    from scipy import sparse

    import scdeepclust as sdc

    rng = np.random.default_rng(seed)
    adata = sdc.datasets.simulate_types(3000, 500, n_types=n_types, return_rates=True, random_state=seed)
    second = rng.random(adata.n_obs) < 0.5
    rate = np.asarray(adata.layers["rate"]) * adata.obs["size_factor"].to_numpy()[:, None]
    rate[second] *= np.exp(rng.normal(0, size, adata.n_vars))
    adata.X = sparse.csr_matrix(rng.poisson(rate), dtype=np.float32)
    adata.obs["batch"] = np.where(second, "b", "a")
    return adata


def work(kind, name, resolution, seed):
    """One row."""
    import scdeepclust as sdc

    warnings.simplefilter("ignore")
    adata = cells_of(kind, name, seed)
    row = {"kind": kind, "name": name, "resolution": resolution, "seed": seed}
    for join in (True,) if kind == "none" else (True, False):
        options = {"resolution": resolution, "join_shifted": join, "drop_empty": True, "random_state": seed}
        sdc.tl.n_clusters(adata, key_added="found", **options)
        labels = adata.obs["found"].astype(str).to_numpy()
        if join:
            row["shifts"] = adata.uns["found"]["shifts"]["shift"].nunique()
        what = "joined" if join else "apart"
        row[f"n_{what}"] = adata.obs["found"].nunique()
        if kind != "none":
            row[f"ari_{what}"] = sdc.metrics.ari(adata.obs["cell_type"].astype(str).to_numpy(), labels)
    return row


def tables():
    """What the rows come to."""
    import pandas as pd

    rows = pd.read_csv(CSV)
    none = rows[rows["kind"] == "none"].assign(found=lambda r: r["shifts"] > 0)
    none["resolution"] = none["resolution"].map("resolution {:g}".format)
    cells = {"index": "name", "columns": "resolution", "sort": False}
    by_resolution = none.pivot_table("found", aggfunc=lambda found: f"{found.sum()} of {len(found)}", **cells)
    rest = rows[rows["kind"] != "none"].sort_values(["kind", "name"]).assign(found=lambda r: r["shifts"] > 0)
    rest["name"] = rest["name"].where(rest["kind"] == "labelled", "batches, " + rest["name"])
    scores = rest.groupby(["kind", "name"], sort=False)[["n_apart", "n_joined", "ari_apart", "ari_joined"]].mean()
    scores.insert(0, "found", rest.groupby(["kind", "name"])["found"].agg(lambda f: f"{f.sum()} of {len(f)}"))
    scores = scores.reset_index("kind", drop=True).round({"n_apart": 1, "n_joined": 1, "ari_apart": 3, "ari_joined": 3})
    return (
        "In how many runs a shift was found where none is known, by the resolution that joining starts from:",
        harness.markdown(by_resolution),
        "Where one is; means over the runs:",
        harness.markdown(scores),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    without = [*WITHOUT, *(f"types {n}" for n in N_TYPES), *(f"lineage {n}" for n in N_BRANCHES)]
    jobs = [("none", *job) for job in product(without, (1.0, 2.0), range(options.runs))]
    jobs += [("crossing", str(size), 1.0, seed) for size, seed in product(SIZES, range(options.runs))]
    jobs += [("labelled", name, 1.0, seed) for name, seed in product(CROSSED, range(options.runs))]
    done = {(kind, str(name), *rest) for kind, name, *rest in harness.done(CSV, ["kind", "name", "resolution", "seed"])}
    for job in jobs:
        if job not in done:
            harness.append(work(*job), CSV, columns=COLUMNS)
    harness.publish(CSV, "\n\n".join(tables()))


if __name__ == "__main__":
    main()
