"""What clusters predict of values that were held out, or in which they were not found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .signal import sums

if TYPE_CHECKING:
    from scipy import sparse

# As if so many molecules of the average cell had been seen in each cluster: rare genes make no infinite loss, and the rates
# of a few hundred shallow cells, which are mostly noise, are not taken at their word.
PRIOR = 10_000.0


def held_out_loss(y: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared error of predicting each cell by the mean of the others in its cluster, one value a cell.

    A cell alone in its cluster is predicted by the mean of all others.
    """
    found = sums(y, y, labels)
    n = found.n_y[labels]
    means = found.means()[1][labels]
    factor = np.where(n > 1, n / np.maximum(n - 1, 1), 1.0)
    alone = n == 1
    means[alone] = (y.sum(0) - y[alone]) / max(len(y) - 1, 1)
    return ((y - means) ** 2).sum(1) * factor**2


def knee(n_clusters: np.ndarray, loss: np.ndarray) -> int:
    """Number of clusters after which the loss falls slower than on the whole: farthest below the chord, linear in K."""
    k, loss = np.asarray(n_clusters, dtype=float), np.asarray(loss, dtype=float)
    order = np.argsort(k)
    k, loss = k[order], loss[order]
    best = int(loss.argmin())
    k, loss = k[: best + 1], loss[: best + 1]  # beyond its minimum the loss has nothing to say
    if len(k) < 3:
        return int(k[-1])
    chord = loss[0] + (loss[-1] - loss[0]) * (k - k[0]) / (k[-1] - k[0])
    return int(k[(chord - loss).argmax()])


def poisson_gain(counts: sparse.csr_array, labels: np.ndarray) -> np.ndarray:
    """Log-likelihood of each cell's counts by the rates of the others in its cluster, over that by the rates of all others.

    Rates are shares of the counts of the genes given, and so times the cell's own depth: depth alone predicts nothing. No
    cell counts for more than one of median depth, lest a single very deep one decide. Neither of the two rates has seen the
    cell itself, which would tell of its own rare genes.

    Parameters
    ----------
    counts
        Cells x genes, in which `labels` were not found.
    labels
        Cluster of each cell, from 0.
    """
    depth = counts.sum(1)
    share = np.minimum(np.median(depth) / np.maximum(depth, 1), 1).astype(np.float32)
    counts = counts.multiply(share[:, None]).tocsr()
    member = np.zeros((labels.max() + 1, len(labels)), dtype=np.float32)
    member[labels, np.arange(len(labels))] = 1
    found = np.asarray((counts.T @ member.T).T, dtype=np.float64)
    total, depth = found.sum(0) + 0.01, counts.sum(1)
    row = np.repeat(np.arange(len(labels)), np.diff(counts.indptr))
    of_all = (total[counts.indices] - counts.data) / (total.sum() - depth)[row]
    others = found.sum(1)[labels] - depth
    rate = (found[labels[row], counts.indices] - counts.data + PRIOR * of_all) / (others + PRIOR)[row]
    return np.bincount(row, counts.data * np.log(rate / of_all), minlength=len(labels))
