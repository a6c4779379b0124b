"""Peers, each in a process of a Python that has it.

Such a process is given, by a file in a temporary folder, what the peer reads of the cells and how many clusters to find;
it knows no labels. It runs `NAME_peer.py`, which imports nothing of ours, and prints a line for every seed.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
# Jobs by peer, and the rows of each. ClustPy clusters the embedding again in the end and calls that `labels_`; `_own` are
# the labels of the method itself.
JOBS = {
    "clustpy": {f"clustpy_{m}": (f"clustpy_{m}", f"clustpy_{m}_own") for m in ("dec", "idec", "dcn", "vade")},
    "scvi_tools": {"scvi_tools": ("scvi_tools_kmeans", "scvi_tools_leiden")},
    "eschr": {"eschr": ("eschr",)},
    "desctorch": {"desctorch": ("desctorch",)},
    "scself": {"scself_leiden": ("scself_leiden",)},
}
# Peers that preprocess counts themselves (others read components), and rows that make nothing of the number of clusters.
COUNTS = {"scvi_tools", "eschr", "desctorch", "scself"}
UNTOLD = {"scvi_tools_leiden", "eschr", "desctorch", "scself_leiden"}
ROWS = {job: rows for jobs in JOBS.values() for job, rows in jobs.items()}
PEER = {job: peer for peer, jobs in JOBS.items() for job in jobs}


def reads_counts(job):
    """Whether a job reads counts of genes, not principal components."""
    return PEER.get(job) in COUNTS


def labels(job, python, x, *, n_clusters, seeds):
    """Rows of a job that reads `x`: seed, name, labels, CPU seconds and peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "cells.npz"
        np.savez(given, x=np.asarray(x, dtype="float32"), n_clusters=n_clusters)
        command = [python, str(HERE / f"{PEER[job]}_peer.py"), job, str(given), *map(str, seeds)]
        alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=alone) as process:
            for line in process.stdout:
                if line.startswith('{"seed"'):
                    said = json.loads(line)
                    for row, (found, seconds) in said["rows"].items():
                        yield said["seed"], row, np.asarray(found), seconds, said["peak_mb"]
    if process.returncode:
        msg = f"{job} ended with {process.returncode}."
        raise RuntimeError(msg)
