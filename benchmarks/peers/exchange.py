"""What the process of a peer does around its fits; needs numpy and nothing else."""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np


def serve(fit, *, on_gpu=False):
    """Fit for every seed, and print labels and CPU seconds.

    `fit(job, x, n_clusters, seed, short)` returns, by the name of the row, functions that return labels. A row's seconds
    are those of the fit and of its function; what ran on a GPU has none, as CPU seconds say nothing of it.
    """
    job, path, *seeds = sys.argv[1:]
    with np.load(path) as given:
        x, n_clusters = given["x"], int(given["n_clusters"])
    fit(job, x[:300], 3, 0, short=True)  # no seed pays for compilation
    for seed in map(int, seeds):
        start = time.process_time()
        finish = fit(job, x, n_clusters, seed, short=False)
        fitted = time.process_time() - start
        rows = {}
        for row, function in finish.items():
            start = time.process_time()
            found = np.unique(function(), return_inverse=True)[1]
            rows[row] = found.tolist(), None if on_gpu else fitted + time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seed": seed, "rows": rows, "peak_mb": peak}), flush=True)
