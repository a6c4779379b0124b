"""What an epoch of our variational autoencoder costs against scvi-tools' `train()`: the same network, minibatch and cells.

    python benchmarks/vae_epoch.py

Both run whole: our loop with its `Model`, theirs with Lightning; layers are scvi-tools' own in both (128 hidden, 10
latent), the objective an evidence lower bound, Adam. Ours has a mixture of eight clusters as its prior besides. Epochs beyond the
first few, by difference of two runs, so that neither setting up nor compiling counts. Seconds of CPU with one thread, in
interleaved rounds; a ratio is the median of the rounds' ratios. Real counts: pbmc4k_10x.
"""

from __future__ import annotations

import csv
import logging
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import scdeepclust as sdc

ROUNDS, FEW, MORE = 3, 1, 4
RESULTS = Path(__file__).parent / "results" / "vae_epoch.csv"


def ours(adata, likelihood, batch_size, n_epochs):
    n_steps = n_epochs * -(-adata.n_obs // batch_size)
    network = {"network_type": "batchnorm", "hidden": (128,), "n_latent": 10, "likelihood": likelihood}
    steps = {"pretrain_steps": 0, "cluster_steps": n_steps, "n_init": 1}
    model = sdc.Model(adata, "vade", n_clusters=8, mask_var=None, **network, **steps)
    model.train(batch_size=batch_size, progress=False)
    return len(model.history)


def theirs(adata, likelihood, batch_size, n_epochs):
    import scvi

    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, gene_likelihood=likelihood)
    quiet = {"enable_progress_bar": False, "logger": False, "accelerator": "cpu"}
    model.train(n_epochs, train_size=1.0, batch_size=batch_size, **quiet)
    return n_epochs


def epoch(run, *arguments):
    """CPU seconds of an epoch."""
    seconds, epochs = [], []
    for n_epochs in (FEW, MORE):
        start = time.process_time()
        epochs.append(run(*arguments, n_epochs))
        seconds.append(time.process_time() - start)
    return (seconds[1] - seconds[0]) / (epochs[1] - epochs[0])


def main() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # advice of Lightning on loaders and loggers
    import scvi  # noqa: F401 its import must not count

    for name in ("lightning.pytorch", "scvi"):
        logging.getLogger(name).setLevel(logging.ERROR)
    adata = sdc.datasets.pbmc4k_10x()
    adata.X = adata.X.astype(np.float32)
    rows = []
    print(f"{'us/cell':10} {'batch':>6} {'ours':>8} {'scvi':>8} {'ratio':>6}")
    for batch_size in (128, 512):
        for likelihood in ("nb", "zinb"):
            rounds = np.array(
                [[epoch(run, adata, likelihood, batch_size) for run in (ours, theirs)] for _ in range(ROUNDS)]
            )
            mine, peer = np.median(rounds, 0) / adata.n_obs * 1e6
            rows.append(
                [
                    likelihood,
                    batch_size,
                    round(mine, 1),
                    round(peer, 1),
                    round(float(np.median(rounds[:, 1] / rounds[:, 0])), 2),
                ]
            )
            print("{:10} {:6} {:8.1f} {:8.1f} {:6.2f}".format(*rows[-1]), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        csv.writer(file).writerows([["likelihood", "batch", "ours", "scvi", "ratio"], *rows])


if __name__ == "__main__":
    main()
