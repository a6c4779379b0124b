"""What the count likelihoods cost, ours and those of scvi-tools; epochs of training are vae_epoch.py's matter.

    python benchmarks/likelihood.py

Times are seconds of CPU with one thread, in interleaved rounds; a ratio is the median of the ratios of the rounds, so
that a busy machine slows both sides.
"""

from __future__ import annotations

import csv
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse
import torch

from scdeepclust.losses.representation.reconstruction import Counts, mse, nb, zinb

ROUNDS = 25
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


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scvi
    rows = []

    def report(what: str, times: dict[str, np.ndarray], unit: float) -> None:
        for kind in ("nb", "zinb"):
            ours, theirs = times[f"{kind} ours"], times[f"{kind} scvi"]
            rows.append([what, kind, np.median(ours) * unit, np.median(theirs) * unit, np.median(theirs / ours)])
            print("{:32} {:5} {:10.2f} {:10.2f} {:8.2f}".format(*rows[-1]), flush=True)

    print(f"{'':32} {'':5} {'ours':>10} {'scvi':>10} {'ratio':>8}")
    contestants = bare(scvi.distributions)
    interleaved(contestants, 2)
    times = interleaved(contestants, ROUNDS)
    report("forward and backward, ms", times, 1e3)
    print(f"{'':32} mse   {np.median(times['mse']) * 1e3:10.2f}")
    rows.append(["forward and backward, ms", "mse", np.median(times["mse"]) * 1e3, "", ""])
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        csv.writer(file).writerows([["what", "likelihood", "ours", "scvi", "ratio"], *rows])


if __name__ == "__main__":
    main()
