"""Shifts that recur between clusters (`join_shifted` of `tl.n_clusters`): how often one is found where there is none, and where there is.

    python benchmarks/shifts.py             everything, as in docs/benchmarks.md
    python benchmarks/shifts.py --runs 2    two runs of each row instead of five

random    Points at random in the place of clusters (normal, in groups, along a walk), without noise: a shift is chance.
grids     Points that are kinds of cells in batches, which differ by a multiple of what kinds differ by: what is taken for the shift.
none      Sets without a batch or treatment that goes across their types, random halves of their cells, at Leiden resolutions 1
          and 2: a shift that is found is a mistake, or biology that recurs. Simulated types (`simulate_types`, 3 to 24, with each
          its own programme) and lineages (`simulate_lineage`, 3 to 8 branches): a mistake.
crossing  Simulated types of which each has cells of two batches, in which every gene's rate is multiplied by a factor, of the
          given standard deviation (of logarithms): ARI with the types when the shift is joined and when it is not.
labelled  The sets in which batches or treatments go across types; nobody is told which. ARI with the types, with and without, and
          (`strict`) where a second shift has to be as clear as the first.

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
COLUMNS = [
    "kind",
    "name",
    "resolution",
    "seed",
    "shifts",
    "n_joined",
    "ari_joined",
    "n_apart",
    "ari_apart",
    "n_strict",
    "ari_strict",
]
GRIDS = [(4, 2), (8, 2), (6, 3), (4, 4), (8, 6)]
POINTS = [(8, 5), (12, 8), (16, 10), (20, 10), (20, 19), (30, 12), (30, 19)]
SIZES = (0.3, 0.4, 0.5, 0.7)


def at_random(layout, n_clusters, n_features, rng):
    """Centres of clusters that know of no shift."""
    import numpy as np

    steps = rng.normal(size=(n_clusters, n_features))
    if layout == "groups":
        n_groups = max(2, n_clusters // 4)
        return steps + 2 * rng.normal(size=(n_groups, n_features))[rng.integers(n_groups, size=n_clusters)]
    return np.cumsum(steps, 0) if layout == "walk" else steps


def chance(n_draws=40):
    """In how many draws of points at random a shift is found."""
    import numpy as np
    import pandas as pd

    from scdeepclust.diffusion import shifts
    from scdeepclust.diffusion.signal import Sums

    rng, table = np.random.default_rng(0), {}
    for n_clusters, n_features in POINTS:
        one, found = np.ones(n_clusters), {}
        for layout in ("normal", "groups", "walk"):
            draws = [at_random(layout, n_clusters, n_features, rng) for _ in range(n_draws)]
            n = sum(shifts.recurring([Sums(x - x.mean(0), one, x - x.mean(0), one)]) is not None for x in draws)
            found[layout] = f"{n} of {n_draws}"
        table[f"{n_clusters} points, {n_features} dimensions"] = found
    return pd.DataFrame(table).T


def grids(n_draws=20):
    """How often batches, kinds of cells, or nothing is taken for a shift; by how much batches differ, for one of kinds."""
    import numpy as np
    import pandas as pd

    from scdeepclust.diffusion import shifts
    from scdeepclust.diffusion.signal import Sums

    rng, table = np.random.default_rng(0), {}
    for n_kinds, n_batches in GRIDS:
        row = {}
        for size in (0.25, 0.5, 1.0, 2.0):
            taken = {"batches": 0, "kinds": 0, "nothing": 0}
            for _ in range(n_draws):
                kinds, batches = rng.normal(size=(n_kinds, 1, 15)), size * rng.normal(size=(1, n_batches, 15))
                x = (kinds + batches + 0.15 * rng.normal(size=(n_kinds, n_batches, 15))).reshape(-1, 15)
                found = shifts.recurring([Sums(x - x.mean(0), np.ones(len(x)), x - x.mean(0), np.ones(len(x)))])
                right = found and all(i // n_batches == j // n_batches for i, j in found.pairs)
                taken["batches" if right else "kinds" if found else "nothing"] += 1
            row[f"batches, {size:g}"] = ", ".join(f"{what} {n}" for what, n in taken.items() if n)
        table[f"{n_kinds} kinds, {n_batches} batches"] = row
    return pd.DataFrame(table).T


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
    from scdeepclust.diffusion import shifts

    warnings.simplefilter("ignore")
    adata = cells_of(kind, name, seed)
    row = {"kind": kind, "name": name, "resolution": resolution, "seed": seed}
    then = shifts.ALIKE_THEN
    for what in {"none": ["joined"], "crossing": ["joined", "apart"]}.get(kind, ["joined", "apart", "strict"]):
        join = what != "apart"
        shifts.ALIKE_THEN = shifts.ALIKE if what == "strict" else then
        options = {"resolution": resolution, "join_shifted": join, "drop_empty": True, "random_state": seed}
        sdc.tl.n_clusters(adata, key_added="found", **options)
        labels = adata.obs["found"].astype(str).to_numpy()
        if what == "joined":
            row["shifts"] = adata.uns["found"]["shifts"]["shift"].nunique()
        row[f"n_{what}"] = adata.obs["found"].nunique()
        if kind != "none":
            row[f"ari_{what}"] = sdc.metrics.ari(adata.obs["cell_type"].astype(str).to_numpy(), labels)
    shifts.ALIKE_THEN = then
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
    scores = rest.groupby(["kind", "name"], sort=False)[COLUMNS[5:]].mean()
    scores.insert(0, "found", rest.groupby(["kind", "name"])["found"].agg(lambda f: f"{f.sum()} of {len(f)}"))
    scores = (
        scores.reset_index("kind", drop=True)
        .round(dict.fromkeys(COLUMNS[5::2], 1) | dict.fromkeys(COLUMNS[6::2], 3))
        .astype(object)
    )
    scores = scores.where(scores.notna(), "")
    return (
        "Among points at random:",
        harness.markdown(chance()),
        "Kinds of cells in batches, points as well, twenty draws: what is taken for the shift, by how much batches differ:",
        harness.markdown(grids()),
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
