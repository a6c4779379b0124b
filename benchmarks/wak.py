"""The kernel of a partition without a matrix of cells against its dense definition, forwards and backwards.

    python benchmarks/wak.py        16,384 cells, 32 clusters, 32 dimensions; written to benchmarks/results/wak.md

CPU seconds of one thread, the best of several; float32, row-normalised. The dense form is the definition written down:
C times its transpose, without the diagonal, rows divided by their sums, times the values.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "wak.md"


def dense(c, e):
    p = c @ c.T
    p.fill_diagonal_(0)
    return (p / p.sum(1, keepdim=True)) @ e


def dense_differentiable(c, e):
    import torch

    p = c @ c.T
    p = p - torch.diag_embed(torch.diagonal(p))
    return (p / p.sum(1, keepdim=True)) @ e


def best(function, n):
    times = []
    for _ in range(n):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def main():
    import torch

    from scdeepclust import diffusion

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-obs", type=int, default=16_384)
    parser.add_argument("--n-clusters", type=int, default=32)
    parser.add_argument("--n-latent", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(options.n_obs, options.n_clusters, generator=generator).softmax(1)
    e = torch.randn(options.n_obs, options.n_latent, generator=generator)

    def backward(function):
        leaves = [c.clone().requires_grad_(), e.clone().requires_grad_()]
        return torch.autograd.grad(function(*leaves).square().sum(), leaves)

    difference = float((diffusion.wak(c, e) - dense(c, e)).abs().max())
    rows = []
    for name, ours, theirs in (
        ("forwards", lambda: diffusion.wak(c, e), lambda: dense(c, e)),
        ("and backwards", lambda: backward(diffusion.wak), lambda: backward(dense_differentiable)),
    ):
        fast, slow = best(ours, 20), best(theirs, 2)
        rows.append(f"| {name} | {1e3 * fast:.1f} | {1e3 * slow:,.0f} | {slow / fast:.0f} |")
    text = (
        f"{options.n_obs:,} cells, {options.n_clusters} clusters, {options.n_latent} dimensions; torch {torch.__version__}; "
        f"largest difference {difference:.1e}\n\n| | factorised (ms) | dense (ms) | ratio |\n| --- | --- | --- | --- |\n"
        + "\n".join(rows)
        + "\n"
    )
    RESULT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
