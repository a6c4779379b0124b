"""How fast, as ratios against a limit or a peer in the same run; seconds are of the machine named in the output.

    python benchmarks/speed.py               all parts, written to benchmarks/results/speed_*.md
    python benchmarks/speed.py --part epoch  one of: epoch, end_to_end, process
    python benchmarks/speed.py --threads 2   the same with two threads, written to speed_*_2_threads.md

epoch       A squared-error autoencoder's epoch on genes against the matrix products it consists of, timed alone.
end_to_end  `tl.deepclust` with its defaults, from counts, with the number of clusters given (`ours`) and not (`chosen`),
            against scanpy's normalise + log1p + PCA + neighbors + leiden on the same cells; all warm (a first run compiles).
process     The same in a process of its own, as on the command line: seconds with imports and compilation, and peak memory.

Likelihoods against scvi-tools: benchmarks/likelihood.py; on a GPU: benchmarks/gpu.py. Cells: a bootstrap of pbmc4k_10x, each
the sum of two thinned near neighbours, so that depth and density are those of real cells.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import harness

ONE_ROUND_FROM = 500_000  # cells
HERE = Path(__file__).parent
RESULTS = HERE / "results"
N_CLUSTERS = 8
AT_ONCE = 250_000  # cells that one process makes


def bootstrap(n_obs, seed=0):
    """`n_obs` cells x 2,000 genes made of real ones; millions by several processes."""
    import numpy as np
    from anndata import AnnData
    from scipy import sparse

    if n_obs <= AT_ONCE:
        values = thinned_pairs(n_obs, seed)
    else:
        n_parts = -(-n_obs // AT_ONCE)
        sizes = [len(part) for part in np.array_split(np.arange(n_obs), n_parts)]
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            values = sparse.vstack(list(pool.map(thinned_pairs, sizes, range(seed, seed + n_parts))), format="csr")
    adata = AnnData(values[:, np.asarray(values.sum(0)).ravel() > 0])
    adata.obs_names = [f"cell{i}" for i in range(n_obs)]
    return adata


def thinned_pairs(n_obs, seed):
    """Counts of cells, each the sum of two thinned near neighbours."""
    import numpy as np
    from scipy import sparse
    from sklearn.decomposition import TruncatedSVD
    from sklearn.neighbors import NearestNeighbors

    import scdeepclust as sdc

    rng = np.random.default_rng(seed)
    counts = sparse.csr_array(sdc.datasets.pbmc4k_10x().X)
    pcs = TruncatedSVD(20, random_state=seed).fit_transform(counts.log1p())
    near = NearestNeighbors(n_neighbors=10).fit(pcs).kneighbors(pcs, return_distance=False)
    first = rng.integers(0, counts.shape[0], n_obs)
    second = near[first, rng.integers(0, 10, n_obs)]

    def thinned(rows):
        part = counts[rows]
        part.data = rng.binomial(part.data.astype(np.int64), 0.5).astype(np.float32)
        return part

    values = sparse.csr_matrix(thinned(first) + thinned(second))
    values.eliminate_zeros()
    return values


def ours(adata, n_clusters=N_CLUSTERS, device="cpu"):
    import scdeepclust as sdc

    sdc.tl.deepclust(adata, n_clusters=n_clusters, device=device, progress=False)


def chosen(adata, device="cpu"):
    ours(adata, None, device)


def scanpys(adata):
    import scanpy as sc

    bare = adata.copy()
    sc.pp.normalize_total(bare)
    sc.pp.log1p(bare)
    sc.pp.pca(bare, n_comps=50)
    sc.pp.neighbors(bare, n_neighbors=15)
    sc.tl.leiden(bare, flavor="igraph", n_iterations=2, directed=False)


def timed(run):
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def end_to_end(sizes, rounds):
    """CPU and wall seconds, interleaved, and ratios to scanpy's; of half a million cells one round."""
    small = bootstrap(21_000)
    for run in (ours, chosen, scanpys):
        run(small.copy())
    for n_obs in sizes:
        adata = bootstrap(n_obs)
        seconds = [
            [timed(lambda run=run, a=adata: run(a.copy())) for run in (ours, chosen, scanpys)]
            for _ in range(rounds if n_obs < ONE_ROUND_FROM else 1)
        ]
        row = {"cells": n_obs}
        for i, clock in enumerate(("wall", "cpu")):
            for j, name in enumerate(("ours", "chosen", "scanpy")):
                row[f"{name}, s {clock}"] = median(one[j][i] for one in seconds)
            for j, name in enumerate(("ours", "chosen")):
                row[f"{name} / scanpy {clock}"] = median(one[j][i] / one[2][i] for one in seconds)
        yield row


def epoch(rounds, hidden=(500, 500, 2000), n_latent=10, n_obs=4271):
    """Ratio of an epoch (gather, forward, backward, Adam) to its matrix products alone."""
    import torch

    import scdeepclust as sdc
    from scdeepclust.data import read
    from scdeepclust.train import Trainer

    raw = read(sdc.datasets.pbmc4k_10x(), mask_var=None)
    for batch_size in (256, 1024):
        method = sdc.methods.get(
            "dec", n_pcs=None, hidden=hidden, n_latent=n_latent, n_diffusion=0, transform="log1p", pretrain_steps=1
        )
        inputs = method.inputs(raw.kind)
        inputs.fit(raw, seed=0)
        net = method.network(inputs, n_genes=raw.values.shape[1], n_categories=0)
        cells = inputs.cells(raw, device=torch.device("cpu"), batch_size=batch_size, with_counts=False)
        phase = method.pretrain(net, cells)
        trainer = Trainer(net, cells, seed=0, progress=False)
        step, every = trainer._step(phase, trainer._optimizer(phase)), torch.arange(len(cells))
        trainer._epoch(phase, step, every)
        n_batches = cells.n_batches()
        widths = (cells.rows.shape[1], *hidden, n_latent, *reversed(hidden), cells.rows.shape[1])

        def one_epoch(trainer=trainer, phase=phase, step=step, every=every):
            trainer._epoch(phase, step, every)

        def one_limit(widths=widths, n_batches=n_batches):
            for _ in range(n_batches):
                products(widths, -(-n_obs // n_batches))

        pairs = [(timed(one_epoch)[1], timed(one_limit)[1]) for _ in range(rounds)]
        yield {
            "batch": batch_size,
            "us/cell": median(used / n_obs * 1e6 for used, _ in pairs),
            "ratio to limit": median(used / limit for used, limit in pairs),
        }


def products(widths, n, cache={}):  # noqa: B006 the operands are made once
    """Matrix products of one step: forward, weight gradient, and input gradient but for the first layer."""
    import torch

    if (widths, n) not in cache:
        cache[widths, n] = [(torch.randn(n, a), torch.randn(a, b), torch.randn(n, b)) for a, b in pairwise(widths)]
    for i, (x, w, g) in enumerate(cache[widths, n]):
        torch.mm(x, w)
        torch.mm(x.T, g)
        if i:
            torch.mm(g, w.T)


def process(n_obs):
    """CPU seconds and peak resident memory of either pipeline, each in a fresh process that reads the cells."""
    names = {
        "none": "imports and reading alone",
        "ours": "deepclust, number given",
        "chosen": "deepclust, number chosen",
        "scanpys": "scanpy",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "cells.h5ad")
        bootstrap(n_obs).write_h5ad(path)
        for name, shown in names.items():
            code = (
                f"import sys; sys.path.insert(0, {str(HERE)!r}); import anndata, resource, time, scanpy, speed, torch\n"
                f"adata = anndata.read_h5ad({path!r})\n"
                f"{'' if name == 'none' else f'speed.{name}(adata)'}\n"
                "print(time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
            )
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            seconds, peak = map(float, done.stdout.split()[-2:])
            yield {"cells": n_obs, "pipeline": shown, "s cpu": seconds, "peak MB": peak}


def markdown(title, rows):
    """A titled table of rows that name their columns."""
    import pandas as pd

    text = pd.DataFrame(rows, dtype=object).map(
        lambda value: f"{value:.2f}" if isinstance(value, float) else str(value)
    )
    corner = text.columns[0]
    return f"### {title}\n\n{harness.markdown(text.set_index(corner), corner)}\n"


def write(path, title, rows):
    """Write a table to a file, and show it, row by row as they come; an earlier one stays until all have."""
    path.parent.mkdir(exist_ok=True)
    part, seen = path.with_suffix(".part"), []
    for row in rows:
        seen.append(row)
        text = markdown(title, seen)
        part.write_text(text)
        print(text if len(seen) == 1 else text.splitlines()[-1], flush=True)
    part.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--part",
        nargs="+",
        choices=["epoch", "end_to_end", "process"],
        default=["epoch", "end_to_end", "process"],
    )
    parser.add_argument("--cells", nargs="+", type=int, default=[4_000, 20_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    machine = f"{platform.machine()}, {options.threads} thread(s), torch {torch.__version__}"
    tables = {
        "epoch": (
            "Epoch of a squared-error autoencoder against its matrix products",
            lambda: epoch(max(5, options.rounds)),
        ),
        "end_to_end": (
            "From counts to clusters, against scanpy",
            lambda: end_to_end(options.cells, options.rounds),
        ),
        "process": ("In a new process", lambda: (row for n_obs in options.cells for row in process(n_obs))),
    }
    kind = f"_{options.threads}_threads" if options.threads > 1 else ""
    for name in options.part:
        title, make = tables[name]
        write(RESULTS / f"speed_{name}{kind}.md", f"{title} ({machine})", make())


if __name__ == "__main__":
    main()
