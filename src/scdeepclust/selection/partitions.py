"""What partitions and graphs predict of values held out, in one currency."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .. import diffusion
from .halves import cells_to_split, halve, log_normalised, need_labelled, resolve_scheme

if TYPE_CHECKING:
    from scipy import sparse

    from ..data import Inputs, Raw

COLUMNS = ["kernel", "partition", "n_clusters", "loss", "loss_se", "explained"]


def partition_losses(
    raw: Raw,
    inputs: Inputs,
    partitions: dict[str, np.ndarray],
    *,
    resolutions: tuple[float, ...] = (),
    scheme: str = "auto",
    n_neighbors: int = 15,
    n_splits: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """Loss of averaging within clusters, over neighbours, and over neighbours within clusters.

    Parameters
    ----------
    raw
        What was read.
    inputs
        How features are derived.
    partitions
        Labels by name, -1 for none.
    resolutions
        Of Leiden communities, found in the first half.
    scheme
        `"count_split"`, `"gene_split"` or `"auto"`.
    n_neighbors
        In the graph.
    n_splits
        Independent splits.
    seed
        Seed.
    """
    scheme = resolve_scheme(scheme, raw)
    rng = np.random.default_rng(seed)
    cells = cells_to_split(raw, scheme)
    few = raw.cells(cells)
    for name, labels in partitions.items():
        need_labelled(name, labels, cells)
    losses: dict[tuple[str, str], list[np.ndarray]] = {}
    numbers: dict[str, list[int]] = {}
    for _ in range(n_splits):
        halves = halve(few, scheme, inputs, rng, seed=seed)
        target = log_normalised(halves.b)
        source = log_normalised(halves.a) if halves.same_axes else target
        graph = diffusion.kernel(*diffusion.neighbors(halves.x, n_neighbors, random_state=seed))
        # Given labels have seen both halves, so each cell gets the cluster that its first half is nearest to.
        found = {name: diffusion.nearest_mean(halves.x, labels[cells]) for name, labels in partitions.items()}
        communities = diffusion.communities_at(halves.x, resolutions, n_neighbors=n_neighbors, random_state=seed)
        found |= {f"leiden at {r:g}": labels for r, labels in zip(resolutions, communities, strict=True)}
        scores = {
            ("mean", ""): diffusion.loss_of_mean(source, target),
            ("graph", ""): diffusion.loss_of_kernel(graph, source, target)[:, 0],
        }
        for name, labels in found.items():
            numbers.setdefault(name, []).append(len(np.unique(labels)))
            scores["clusters", name] = _loss_of_clusters(labels, source, target)
            within = diffusion.within(graph, labels)
            alone = np.diff(within.indptr) == 0
            inside = diffusion.loss_of_kernel(within, source, target)[:, 0]
            # A cell whose neighbours are all in other clusters has its cluster.
            scores["graph within clusters", name] = np.where(alone, scores["clusters", name], inside)
        for key, loss in scores.items():
            losses.setdefault(key, []).append(loss)
    return _table({key: np.mean(values, axis=0) for key, values in losses.items()}, numbers, len(cells))


def _loss_of_clusters(labels: np.ndarray, source: sparse.csr_array, target: sparse.csr_array) -> np.ndarray:
    """Mean squared error over genes, for each cell, of the mean of the others in its cluster."""
    from scipy.sparse import csr_array

    n, k = len(labels), labels.max() + 1
    member = csr_array((np.ones(n, dtype=np.float32), (labels, np.arange(n))), shape=(k, n))
    sizes = np.bincount(labels, minlength=k)
    sums = (member @ source).toarray()
    overall = sums.sum(0)
    loss = np.empty(n)
    for rows in np.array_split(np.arange(n), -(-n // 1024)):
        own, wanted, mine = source[rows].toarray(), target[rows].toarray(), labels[rows]
        others = sizes[mine] - 1
        alone = others == 0
        mean = (sums[mine] - own) / np.where(alone, 1, others)[:, None]
        mean[alone] = (overall - own[alone]) / max(n - 1, 1)
        loss[rows] = np.square(mean - wanted, dtype=np.float64).mean(1)
    return loss


def _table(losses: dict[tuple[str, str], np.ndarray], numbers: dict[str, list[int]], n_cells: int) -> pd.DataFrame:
    """A row for each kernel and partition; standard errors are of the difference to the mean of all cells."""
    null = losses["mean", ""]
    rows = []
    for (kernel, name), loss in losses.items():
        n_clusters = 1.0 if kernel == "mean" else np.mean(numbers[name]) if name else np.nan
        error = (null - loss).std() / np.sqrt(n_cells)
        rows.append((kernel, name, n_clusters, loss.mean(), error, 1 - loss.mean() / null.mean()))
    return pd.DataFrame(rows, columns=COLUMNS)
