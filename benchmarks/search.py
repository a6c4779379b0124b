"""What a search over neighbours costs, as ratios in one run: seconds are of CPU with one thread, medians of three.

    python benchmarks/search.py                       4,000 and 20,000 cells
    python benchmarks/search.py --large               ... and 100,000, with peak memory
    python benchmarks/search.py --parts pass whole --cells 4000

Rows already in the CSV are kept, so an interrupted run goes on; delete the file to start afresh. Every part runs in a
process of its own, on a bootstrap of pbmc4k_10x (benchmarks/speed.py) with 2,000 genes, after a warm-up that pays for
compilation. Goals are those of the project's performance notes.

pass     For a number of components: the 100 nearest neighbours of all cells (exact up to 10,000 cells, by lists
         above), and the losses of all 100 numbers of neighbours on all cells and genes in one pass. Goal: search and
         pass together at most twice the search, from 20,000 cells on. `as run` is what `pp.neighbors` does for a number
         of components: it searches and scores 5,000 cells, with two kinds of weights.
point    The pass, divided by its 100 points, against one point done alone: a kernel over k neighbours times the dense
         values, and the squared error, on average of k = 10, 30, 50, 70, 90; its search is not counted. Goal: 40 times
         less, and losses equal to 1e-5.
whole    `pp.neighbors` over 500 points (5 numbers of components x 100 of neighbours, one split; goal: less than a run of
         MAGIC at 20,000 cells), and with its defaults (7 x 100 x 2 weights x 3 splits, and steps), then `pp.denoise` of all genes, against one run of MAGIC with its defaults (the faster of sparse and
         dense values; --magic names a Python that has magic-impute).
memory   Peak memory of reading, and of reading, `pp.neighbors` and `pp.denoise` of 20 genes. Only with --large.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import harness  # noqa: E402
from denoising import works  # noqa: E402

CSV = HERE / "results" / "search.csv"
PARTS = ["pass", "point", "whole", "memory"]
N_PCS = (5, 20, 50)
K = 100
SOME_K = (10, 30, 50, 70, 90)
ROUNDS = 3
N_DENOISED = 20
MAGIC = """
import sys, time, warnings
import numpy as np
from scipy import sparse
warnings.simplefilter("ignore")
import magic
values = sparse.load_npz(sys.argv[1])
best = np.inf
for some in (values, values.toarray()):
    magic.MAGIC(verbose=0, random_state=0).fit_transform(some[:500])
    for _ in range(int(sys.argv[2])):
        start = time.process_time()
        magic.MAGIC(verbose=0, random_state=0).fit_transform(some, genes="all_genes")
        best = min(best, time.process_time() - start)
print(best)
"""


def seconds_of(run, rounds=ROUNDS):
    """Median of CPU seconds."""
    found = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return median(found)


def split(n_obs):
    """Features of one half of the molecules, and log-normalised values of both."""
    import numpy as np
    from speed import bootstrap

    from scdeepclust.data import Inputs, read
    from scdeepclust.selection.halves import halve, log_normalised

    raw = read(bootstrap(n_obs), mask_var=None, drop_empty=True)
    inputs = Inputs(raw.kind, "sqrt", 0.5, max(N_PCS))
    both = halve(raw, "count_split", inputs, np.random.default_rng(0), seed=0)
    return both.x, log_normalised(both.a), log_normalised(both.b)


def one_pass(n_obs, _):
    """Search, and search with all losses, for each number of components."""
    import numpy as np

    from scdeepclust import diffusion
    from scdeepclust.selection.neighbors import MOST_SCORED

    x, source, target = split(n_obs)
    some = np.sort(np.random.default_rng(0).choice(len(x), min(MOST_SCORED, len(x)), replace=False))

    def search(d, rows=None):
        return diffusion.neighbors(x[:, :d], K, rows=rows)

    def losses(found, weights, rows=None):
        indices, distances = found
        return diffusion.loss_of_each(indices, diffusion.affinities(distances, weights), source, target, rows=rows)

    def as_run(d):
        found = search(d, some)
        for weights in ("uniform", "distance"):
            losses(found, weights, some)

    search(N_PCS[0])
    as_run(N_PCS[0])
    for d in N_PCS:
        found = search(d)
        searching = seconds_of(lambda d=d: search(d))
        passing = seconds_of(lambda found=found: losses(found, "uniform"))
        yield f"{d} PCs", "search, s", searching
        yield f"{d} PCs", "pass, s", passing
        yield f"{d} PCs", "(search + pass) / search", 1 + passing / searching
        yield f"{d} PCs", "(search + 2 passes) / search", 1 + 2 * passing / searching
        yield f"{d} PCs", "as run, s", seconds_of(lambda d=d: as_run(d))


def points(n_obs, _):
    """One pass per point against points done alone, and how far the losses differ."""
    import numpy as np

    from scdeepclust import diffusion

    x, source, target = split(n_obs)
    indices, distances = diffusion.neighbors(x[:, :20], K)
    values, wanted = source.toarray(), target.toarray()
    rows = np.arange(min(500, len(x)))
    diffusion.loss_of_each(indices[rows], np.ones((len(rows), K)), source, target, rows=rows)
    for weights in ("uniform", "distance"):

        def swept(weights=weights):
            return diffusion.loss_of_each(indices, diffusion.affinities(distances, weights), source, target).mean(0)

        def alone(k, weights=weights):
            error = diffusion.kernel(indices[:, :k], distances[:, :k], weights) @ values
            error -= wanted
            return np.einsum("ij,ij->i", error, error).mean(dtype=np.float64) / error.shape[1]

        curve = swept()
        each = np.array([alone(k) for k in SOME_K])
        apart = float(np.abs(curve[np.array(SOME_K) - 1] / each - 1).max())
        passing = seconds_of(swept) / K
        lone = float(np.mean([seconds_of(lambda k=k: alone(k)) for k in SOME_K]))
        yield weights, "a point of the pass, s", passing
        yield weights, "a point alone, s", lone
        yield weights, "ratio", lone / passing
        yield weights, "largest relative difference", apart


def whole(n_obs, magic):
    """`pp.neighbors` and `pp.denoise` against MAGIC."""
    import numpy as np
    from scipy import sparse
    from speed import bootstrap

    import scdeepclust as sdc

    adata = bootstrap(n_obs)
    small = adata[:21_000].copy() if n_obs >= 20_000 else adata[:1_000].copy()
    small = small[:, np.asarray(small.X.sum(0)).ravel() > 0].copy()
    sdc.pp.neighbors(small, n_pcs=5, n_splits=1, progress=False)
    rounds = ROUNDS if n_obs < 20_000 else 1

    def neighbors(**options):
        adata.uns.pop("n2s", None)
        sdc.pp.neighbors(adata, progress=False, **options)

    few = {"n_pcs": (5, 10, 20, 30, 50), "weights": "uniform", "n_steps": 1, "n_splits": 1}
    five_hundred = seconds_of(lambda: neighbors(**few), rounds)
    yield "ours", "500 points, s", five_hundred
    searching = seconds_of(neighbors, rounds)
    choice = adata.uns["n2s"]["choice"]
    yield "ours", "pp.neighbors, s", searching
    denoising = seconds_of(lambda: sdc.pp.denoise(adata, dense=True), rounds)
    yield "ours", "pp.denoise, s", denoising
    yield "ours", "combinations", float(len(adata.uns["n2s"]["loss"]))
    yield "ours", "chosen PCs", float(choice["n_pcs"])
    yield "ours", "chosen neighbours", float(choice["n_neighbors"])
    if reason := works(magic, "magic"):
        print(f"Without MAGIC: {reason}", file=sys.stderr)
        return
    counts = sparse.csr_matrix(adata.X)
    total = np.asarray(counts.sum(1)).ravel()
    counts.data = np.sqrt(counts.data * np.repeat(np.median(total) / total, np.diff(counts.indptr)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "values.npz"
        sparse.save_npz(path, counts, compressed=False)
        command = [magic, "-c", MAGIC, str(path), str(min(2, rounds))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    run = float(done.stdout.split()[-1])
    yield "ours", "MAGIC, s", run
    yield "ours", "500 points / MAGIC", five_hundred / run
    yield "ours", "pp.neighbors / MAGIC", searching / run
    yield "ours", "both / MAGIC", (searching + denoising) / run


def memory(n_obs, _):
    """Peak memory, each in a fresh process that reads the cells."""
    from speed import bootstrap

    ours = f"import scdeepclust as sdc; sdc.pp.neighbors(a, progress=False); sdc.pp.denoise(a, genes=list(a.var_names[:{N_DENOISED}]))"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.h5ad"
        bootstrap(n_obs).write_h5ad(path)
        for name, then in {"imports and reading": "", "ours": ours}.items():
            code = (
                f"import resource, anndata, scanpy, torch, scdeepclust\na = anndata.read_h5ad({str(path)!r})\n{then}\n"
            )
            code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            yield name, "peak MB", float(done.stdout.split()[-1])


def work(part, n_obs, magic):
    """In a process of its own: one JSON line for every measure."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    measures = {"pass": one_pass, "point": points, "whole": whole, "memory": memory}[part]
    for point, measure, value in list(measures(n_obs, magic)):  # all of a part, or nothing
        print(json.dumps({"part": part, "cells": n_obs, "point": point, "measure": measure, "value": value}))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{part} {n_obs}: {peak:.0f} MB", file=sys.stderr)


def run(jobs, magic):
    """Run jobs, each in a process, one after another, and append their rows to the CSV as they come."""
    for job in jobs:
        for row in harness.rows_of("search", *job, magic):
            harness.append(row, CSV, digits=12)
            print("{part:8s}{cells:8d}  {point:22s}{measure:32s}{value:.4g}".format(**row), flush=True)


def tables(path=CSV):
    """Markdown: a table for each part."""
    import pandas as pd

    rows = pd.read_csv(path).drop_duplicates(["part", "cells", "point", "measure"], keep="last")
    rows["point"] = rows["cells"].map("{:,} cells, ".format) + rows["point"]
    titles = {
        "pass": "Search of 100 neighbours, and all losses in one pass",
        "point": "A point of the pass against a point alone (20 PCs)",
        "whole": "The whole search with its defaults, against one run of MAGIC",
        "memory": f"Peak memory of `pp.neighbors` and `pp.denoise` of {N_DENOISED} genes",
    }
    text = []
    for part, title in titles.items():
        some = rows[rows["part"] == part]
        if len(some):
            wide = some.pivot_table(index="point", columns="measure", values="value", sort=False)
            text.append(f"### {title}\n\n" + harness.markdown(wide.map(_spell)))
    return "\n\n".join(text) + "\n"


def _spell(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}".replace("nan", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--cells", nargs="+", type=int, default=None)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--magic", default=sys.executable, help="a Python that has magic-impute")
    options = parser.parse_args()
    sizes = options.cells or [4_000, 20_000, *([100_000] if options.large else [])]
    jobs = [(part, n) for n in sizes for part in options.parts if part != "memory"]
    if options.large and "memory" in options.parts:
        jobs.append(("memory", max(sizes)))
    done = harness.done(CSV, ["part", "cells"])
    run([job for job in jobs if job not in done], options.magic)
    harness.publish(CSV, tables())


if __name__ == "__main__":
    main()
