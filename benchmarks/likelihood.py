"""What the count likelihoods cost: ours and those of scvi-tools, alone and within an epoch of training.

    python benchmarks/likelihood.py

Times are seconds of CPU with one thread, in interleaved rounds; a ratio is the median of the ratios of the rounds, so
that a busy machine slows both sides. Real counts come from pbmc4k_10x.h5ad in the folder SCDEEPCLUST_DATASETS.
"""

from __future__ import annotations

import csv
import logging
import os
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import scipy.sparse
import torch
from torch import nn
from torch.nn import functional as F

from scdeepclust.losses.representation.reconstruction import Counts, mse, nb, zinb

ROUNDS, EPOCHS = 5, 3
RESULTS = Path(__file__).parent / "results" / "likelihood.csv"


def cpu_seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def interleaved(contestants: dict, rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each contestant in each round."""
    seconds = [{name: cpu_seconds(work) for name, work in contestants.items()} for _ in range(rounds)]
    return {name: np.array([one[name] for one in seconds]) for name in contestants}


def bare(distributions) -> dict:
    """Forward and backward at 256 x 2000 of which a tenth is not zero."""
    rng = np.random.default_rng(0)
    matrix = scipy.sparse.random_array((256, 2000), density=0.1, format="csr", rng=rng)
    matrix.data = rng.geometric(0.5, matrix.nnz).astype(np.float32)
    counts = Counts.from_csr(matrix)
    dense = counts.dense()
    eta, logits = (torch.randn(256, 2000, requires_grad=True) for _ in range(2))
    tau = torch.zeros(2000, requires_grad=True)

    def theirs(kind):
        rates = {"mu": eta.exp(), "theta": tau.exp()}
        if kind == "nb":
            return -distributions.NegativeBinomial(**rates).log_prob(dense).mean()
        return -distributions.ZeroInflatedNegativeBinomial(**rates, zi_logits=logits).log_prob(dense).mean()

    return {
        "mse": lambda: mse(eta, dense).backward(),
        "nb ours": lambda: nb(eta, tau, counts).backward(),
        "nb scvi": lambda: theirs("nb").backward(),
        "zinb ours": lambda: zinb(eta, tau, logits, counts).backward(),
        "zinb scvi": lambda: theirs("zinb").backward(),
    }


class Network(nn.Module):
    """The layers of SCVI: g-128, 128-10 twice, 10-128, 128-g for means and for zero inflation."""

    def __init__(self, n_genes: int, kind: str):
        super().__init__()
        self.kind = kind
        self.encoder = nn.Sequential(nn.Linear(n_genes, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.1))
        self.location, self.log_variance = nn.Linear(128, 10), nn.Linear(128, 10)
        self.decoder = nn.Sequential(nn.Linear(10, 128), nn.BatchNorm1d(128), nn.ReLU())
        self.mean = nn.Linear(128, n_genes)
        self.zeros = nn.Linear(128, n_genes) if kind == "zinb" else None
        self.log_dispersion = nn.Parameter(torch.randn(n_genes))

    def loss(self, counts: Counts) -> torch.Tensor:
        dense = counts.dense()
        hidden = self.encoder(torch.log1p(dense))
        location, log_variance = self.location(hidden), self.log_variance(hidden)
        latent = location + torch.exp(0.5 * log_variance) * torch.randn_like(location)
        hidden = self.decoder(latent)
        log_mean = F.log_softmax(self.mean(hidden), dim=1) + dense.sum(1, keepdim=True).log()
        heads = [log_mean, self.log_dispersion] + ([self.zeros(hidden)] if self.zeros is not None else [])
        fit = {"nb": nb, "zinb": zinb}[self.kind](*heads, counts)
        divergence = 0.5 * (location**2 + log_variance.exp() - log_variance - 1).sum(1).mean()
        return fit * dense.shape[1] + divergence


def our_epochs(matrix, kind: str, batch_size: int):
    """Train for some epochs, network and optimizer included."""
    network = Network(matrix.shape[1], kind)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    rng = np.random.default_rng(0)

    def run():
        for _ in range(EPOCHS):
            order = rng.permutation(matrix.shape[0])
            for start in range(0, len(order), batch_size):
                loss = network.loss(Counts.from_csr(matrix[order[start : start + batch_size]]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return run


def scvi_epochs(scvi, matrix, kind: str, batch_size: int):
    cells = ad.AnnData(matrix)
    scvi.model.SCVI.setup_anndata(cells)
    model = scvi.model.SCVI(cells, n_latent=10, n_hidden=128, n_layers=1, gene_likelihood=kind)
    quiet = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False, "accelerator": "cpu"}
    return lambda: model.train(EPOCHS, train_size=1.0, batch_size=batch_size, **quiet)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scvi
    warnings.filterwarnings("ignore")  # advice of Lightning on loaders and loggers
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    matrix = ad.read_h5ad(Path(os.environ["SCDEEPCLUST_DATASETS"]) / "pbmc4k_10x.h5ad").X.tocsr().astype(np.float32)
    rows = []

    def report(what: str, times: dict[str, np.ndarray], unit: float) -> None:
        for kind in ("nb", "zinb"):
            ours, theirs = times[f"{kind} ours"], times[f"{kind} scvi"]
            rows.append([what, kind, np.median(ours) * unit, np.median(theirs) * unit, np.median(theirs / ours)])
            print("{:32} {:5} {:10.2f} {:10.2f} {:8.2f}".format(*rows[-1]), flush=True)

    print(f"{'':32} {'':5} {'ours':>10} {'scvi':>10} {'ratio':>8}")
    contestants = bare(scvi.distributions)
    interleaved(contestants, 2)
    times = interleaved(contestants, 25)
    report("forward and backward, ms", times, 1e3)
    print(f"{'':32} mse   {np.median(times['mse']) * 1e3:10.2f}")
    rows.append(["forward and backward, ms", "mse", np.median(times["mse"]) * 1e3, "", ""])
    for batch_size in (128, 512):
        contestants = {}
        for kind in ("nb", "zinb"):
            contestants[f"{kind} ours"] = our_epochs(matrix, kind, batch_size)
            contestants[f"{kind} scvi"] = scvi_epochs(scvi, matrix, kind, batch_size)
        interleaved(contestants, 1)
        report(f"epoch, batch {batch_size}, us/cell", interleaved(contestants, ROUNDS), 1e6 / matrix.shape[0] / EPOCHS)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        csv.writer(file).writerows([["what", "likelihood", "ours", "scvi", "ratio"], *rows])


if __name__ == "__main__":
    main()
