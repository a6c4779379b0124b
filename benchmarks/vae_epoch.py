"""What an epoch of VaDE and of `method="scvi"` costs against scvi-tools' `train()`: the same network, minibatch and cells.

    python benchmarks/vae_epoch.py
    python benchmarks/vae_epoch.py --device cuda   wall seconds on a GPU, written to vae_epoch_gpu.csv

All run whole: our loop with its `Model`, theirs with Lightning, `method="scvi"` theirs with our likelihood; layers are
scvi-tools' own in all (128 hidden, 10 latent), the objective an evidence lower bound, Adam. VaDE has a mixture of eight clusters as
its prior besides. Epochs beyond the first few, by difference of two runs, so that neither setting up nor compiling counts. Seconds
of CPU with one thread, in interleaved rounds; a ratio is the median of the rounds' ratios. Real counts: pbmc4k_10x.
"""

from __future__ import annotations

import argparse
import csv
import logging
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import scdeepclust as sdc

FEW, MORE = 1, 6
RESULTS = Path(__file__).parent / "results"


def vade(adata, likelihood, batch_size, device, n_epochs):
    n_steps = n_epochs * -(-adata.n_obs // batch_size)
    network = {"network_type": "batchnorm", "hidden": (128,), "n_latent": 10, "likelihood": likelihood}
    steps = {"pretrain_steps": 0, "cluster_steps": n_steps, "n_init": 1}
    model = sdc.Model(adata, "vade", n_clusters=8, mask_var=None, device=device, **network, **steps)
    model.train(batch_size=batch_size, progress=False)
    return len(model.history)


def scvi_here(adata, likelihood, batch_size, device, n_epochs):
    options = {"likelihood": likelihood, "max_epochs": n_epochs, "n_init": 1, "device": device}
    model = sdc.Model(adata, "scvi", n_clusters=8, mask_var=None, **options)
    model.train(batch_size=batch_size, progress=False)
    return n_epochs


def theirs(adata, likelihood, batch_size, device, n_epochs):
    import scvi

    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, gene_likelihood=likelihood)
    quiet = {"enable_progress_bar": False, "logger": False, "accelerator": "cpu" if device == "cpu" else "gpu"}
    model.train(n_epochs, train_size=1.0, batch_size=batch_size, **quiet)
    return n_epochs


def epoch(run, *arguments):
    """Seconds of an epoch: of CPU, or of the clock where a GPU works."""
    clock = time.process_time if arguments[-1] == "cpu" else time.perf_counter
    seconds, epochs = [], []
    for n_epochs in (FEW, MORE):
        start = clock()
        epochs.append(run(*arguments, n_epochs))
        seconds.append(clock() - start)
    return (seconds[1] - seconds[0]) / (epochs[1] - epochs[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = options.device
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # advice of Lightning on loaders and loggers
    import scvi  # noqa: F401 its import must not count

    for name in ("lightning.pytorch", "scvi"):
        logging.getLogger(name).setLevel(logging.ERROR)
    adata = sdc.datasets.pbmc4k_10x()
    adata.X = adata.X.astype(np.float32)
    runs = (theirs, scvi_here, vade)
    columns = ["likelihood", "batch", "scvi_tools", "scvi", "vade", "scvi_ratio", "vade_ratio"]
    rows = []
    print(("{:>12}" * len(columns)).format(*columns), "(us a cell, and how many times faster)")
    for batch_size in (128, 512):
        for likelihood in ("nb", "zinb"):
            for run in runs:  # the first of a size compiles, on a GPU too
                run(adata, likelihood, batch_size, device, FEW)
            rounds = np.array(
                [[epoch(run, adata, likelihood, batch_size, device) for run in runs] for _ in range(options.rounds)]
            )
            micro = np.median(rounds, 0) / adata.n_obs * 1e6
            ratios = np.median(rounds[:, :1] / rounds[:, 1:], 0)
            rows.append([likelihood, batch_size, *micro.round(1), *ratios.round(2)])
            print(("{:>12}" * len(columns)).format(*rows[-1]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / ("vae_epoch.csv" if device == "cpu" else "vae_epoch_gpu.csv")).open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


if __name__ == "__main__":
    main()
