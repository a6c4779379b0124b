"""What parts of a run cost against the best that can be had for them; CPU seconds of one thread, medians of three.

    python benchmarks/limits.py               all parts
    python benchmarks/limits.py --part import neighbors

neighbors   The nearest 15 and 100 neighbours of all cells in 50 components, ours against pynndescent, and faiss where it is
            installed (`pip install faiss-cpu`): exact (flat) and by an inverted file. A library counts where it finds 98 of 100
            neighbours. Goal: at most 1.2 times the fastest that counts.
start       Share of `tl.deepclust`'s training that k-means' start and all updates of the target take. Goal: 5 % from 100,000
            cells on.
import      `import scdeepclust` against `import scanpy, scvi`, each in a process of its own. Goal: 0.4 s.

Cells are those of benchmarks/speed.py. Each part leaves benchmarks/results/limits_*.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import harness

RESULTS = Path(__file__).parent / "results"
ROUNDS, N_PCS, ENOUGH, N_CHECKED = 3, 50, 0.98, 500
IMPORTS = {"nothing": "pass", "scdeepclust": "import scdeepclust", "scanpy and scvi-tools": "import scanpy, scvi"}


def libraries():
    """Searches by name: functions of features and a number of neighbours, the cell itself counted."""
    import numpy as np
    from pynndescent import NNDescent

    from scdeepclust import diffusion

    def ours(x, k):
        indices = diffusion.neighbors(x, k - 1)[0]
        return np.concatenate([np.arange(len(x))[:, None], indices], 1)

    found = {"ours": ours, "pynndescent": lambda x, k: NNDescent(x, n_neighbors=k, random_state=0).neighbor_graph[0]}
    try:
        import faiss
    except ImportError:
        return found
    faiss.omp_set_num_threads(1)

    def flat(x, k):
        index = faiss.IndexFlatL2(x.shape[1])
        index.add(x)
        return index.search(x, k)[1]

    def inverted(x, k):
        n_lists = int(4 * len(x) ** 0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(x.shape[1]), x.shape[1], n_lists)
        index.train(x)
        index.add(x)
        index.nprobe = max(16, n_lists // 20)
        return index.search(x, k)[1]

    return found | {"faiss, flat": flat, "faiss, inverted file": inverted}


def neighbors(sizes):
    """Seconds and recall of each search, and ours over the fastest that finds enough."""
    import numpy as np
    from sklearn.neighbors import NearestNeighbors
    from speed import bootstrap

    searches = libraries()
    for n_obs in sizes:
        x = components(bootstrap(n_obs))
        some = np.random.default_rng(0).choice(n_obs, N_CHECKED, replace=False)
        for k in (15, 100):
            exact = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x).kneighbors(x[some], return_distance=False)
            row, counted = {"cells": n_obs, "neighbours": k}, {}
            for name, search in searches.items():
                search(x[:3000], k)  # compilation
                seconds = []
                for _ in range(ROUNDS if n_obs < 100_000 else 1):
                    start = time.process_time()
                    indices = search(x, k)
                    seconds.append(time.process_time() - start)
                recall = np.mean([len(np.intersect1d(*pair)) / k for pair in zip(indices[some], exact, strict=True)])
                row[f"{name}, s"], row[f"{name}, recall"] = f"{median(seconds):.2f}", f"{recall:.3f}"
                if recall >= ENOUGH:
                    counted[name] = median(seconds)
            row["ours / fastest"] = (
                f"{counted['ours'] / min(counted.values()):.2f}" if "ours" in counted else "finds less"
            )
            yield row


def components(adata):
    """Principal components as our networks read them."""
    import numpy as np

    import scdeepclust as sdc
    from scdeepclust.data import read

    raw = read(adata)
    return np.ascontiguousarray(sdc.methods.get("idec", n_pcs=N_PCS).inputs(raw.kind).fit(raw, seed=0).numpy())


def start(sizes):
    """Where the time of training goes, with the default method."""
    from speed import bootstrap

    import scdeepclust as sdc
    from scdeepclust.train import Trainer

    method = sdc.methods.registry()["idec"]
    for n_obs in sizes:
        adata, spent = bootstrap(n_obs), {}
        names = {"k-means, s": (method, "start_centroids"), "updates of the target, s": (method, "refresh")}
        with clocked(spent, names | {"training, s": (Trainer, "fit")}):
            sdc.tl.deepclust(adata[:3000].copy(), n_clusters=8, drop_empty=True, progress=False)  # compilation
            spent.clear()
            sdc.tl.deepclust(adata, n_clusters=8, progress=False)
        share = (spent["k-means, s"] + spent["updates of the target, s"]) / spent["training, s"]
        yield {"cells": n_obs, **{name: f"{seconds:.2f}" for name, seconds in spent.items()}, "share": f"{share:.1%}"}


@contextmanager
def clocked(spent, names):
    """Add up, by name, the seconds that methods of classes take."""
    kept = {name: getattr(kind, attribute) for name, (kind, attribute) in names.items()}

    def clock(name):
        def run(*args, **options):
            begun = time.process_time()
            try:
                return kept[name](*args, **options)
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - begun

        return run

    for name, (kind, attribute) in names.items():
        setattr(kind, attribute, clock(name))
    try:
        yield
    finally:
        for name, (kind, attribute) in names.items():
            setattr(kind, attribute, kept[name])


def imports():
    """Seconds of an import, each in a process of its own; that of nothing is what the clock itself costs."""
    code = "import time; start = time.process_time()\n{}\nprint(time.process_time() - start)"
    for shown, statement in IMPORTS.items():
        command = [sys.executable, "-W", "ignore", "-c", code.format(statement)]
        seconds = [float(subprocess.check_output(command, text=True).split()[-1]) for _ in range(2 * ROUNDS + 1)]
        yield {"import of": shown, "s": f"{median(seconds):.2f}"}


def main():
    import pandas as pd

    parts = {"neighbors": neighbors, "start": start, "import": lambda _: imports()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--cells", nargs="+", type=int, default=[20_000, 100_000])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    for name in options.part:
        rows = pd.DataFrame(list(parts[name](options.cells)))
        rows.insert(0, "", rows.pop(rows.columns[0]))
        harness.publish(RESULTS / f"limits_{name}.csv", harness.markdown(rows.set_index("")))


if __name__ == "__main__":
    main()
