"""Two views of the same cells with independent noise: molecules split at random, or genes."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def thin(
    counts: sparse.csr_array, rest: np.ndarray, rng: np.random.Generator
) -> tuple[sparse.csr_array, np.ndarray, sparse.csr_array, np.ndarray]:
    """Send each molecule to one of two halves by the toss of a coin.

    Poisson counts so split are independent (Batson, Royer, Webber 2019, doi 10.1101/786269); what varies beyond
    Poisson noise is shared by the halves, as it should be.

    Parameters
    ----------
    counts
        Cells x genes.
    rest
        Counts of each cell in genes that are not used, which its depth includes.
    rng
        Generator.

    Returns
    -------
    Counts and totals of one half, then of the other.
    """
    first = rng.binomial(counts.data.astype(np.int64), 0.5).astype(np.float32)
    rest_first = rng.binomial(np.rint(np.maximum(rest, 0)).astype(np.int64), 0.5)
    found = []
    for data, others in ((first, rest_first), (counts.data - first, np.maximum(rest, 0) - rest_first)):
        kept = data > 0
        ends = np.concatenate([[0], np.cumsum(kept)])[counts.indptr].astype(counts.indptr.dtype)
        half = sparse.csr_array((data[kept], counts.indices[kept], ends), shape=counts.shape)
        found += [half, half.sum(1) + others]
    return tuple(found)


def split_columns(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Halve genes so that both halves weigh about the same: of every two neighbours in rank, one goes to each.

    Parameters
    ----------
    weight
        Of each gene, such as its mean.
    rng
        Generator.

    Returns
    -------
    Which genes are in the first half.
    """
    order = np.argsort(weight, kind="stable")
    first = np.zeros(len(order), dtype=bool)
    n_pairs = len(order) // 2
    first[order[-2 * n_pairs :].reshape(n_pairs, 2)[np.arange(n_pairs), rng.integers(2, size=n_pairs)]] = True
    return first


def rotation(n: int, rng: np.random.Generator) -> np.ndarray:
    """A random orthogonal matrix, n x n: after it every axis of a representation has its share in both halves."""
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return (q * np.sign(np.diag(r))).astype(np.float32)
