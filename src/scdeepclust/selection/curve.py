"""How well every number of clusters, k-means joined by Ward's rule, predicts held-out halves, and how stable it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..diffusion import fewer_allowed, prediction
from ..diffusion import signal as signals

if TYPE_CHECKING:
    from .halves import Halves

MOST_CLUSTERS = 50


def curve_of(splits: list[Halves], seed: int) -> pd.DataFrame:
    """Held-out loss and stability of every number of clusters: k-means with the most, joined by Ward's rule to fewer.

    The most are 50, or a tenth of the cells.

    The loss is the squared error, in principal components, of predicting a cell's second half by the mean of the
    others that are in its cluster by their first half; stability is the adjusted Rand index of the clusters of the
    two halves.
    """
    from sklearn.metrics import adjusted_rand_score

    most = max(1, min(MOST_CLUSTERS, len(splits[0].x) // 10))
    losses, stability = np.empty((2, len(splits), most))
    for s, halves in enumerate(splits):
        pairs = zip(_nested(halves.x, most, seed), _nested(halves.y, most, seed), strict=True)
        for n, (by_x, by_y) in enumerate(pairs):
            losses[s, n] = prediction.held_out_loss(halves.y, by_x).mean()
            stability[s, n] = adjusted_rand_score(by_x, by_y)
    error = losses.std(0, ddof=1) / np.sqrt(len(splits)) if len(splits) > 1 else np.full(most, np.nan)
    columns = {"loss": losses.mean(0), "loss_se": error, "stability": stability.mean(0)}
    return pd.DataFrame({"n_clusters": np.arange(1, most + 1), **columns})


def _nested(x: np.ndarray, most: int, seed: int) -> list[np.ndarray]:
    """Partitions into 1, 2, ..., `most` clusters: k-means with the most, joined by Ward's rule."""
    from sklearn.cluster import KMeans

    with fewer_allowed():
        labels = KMeans(most, n_init=1, random_state=seed).fit_predict(x)
    labels = np.unique(labels, return_inverse=True)[1]
    path = signals.joins([signals.sums(x, x, labels)], np.bincount(labels), 1.0, power=1.0)
    found = [labels] * (most - labels.max())
    for join in path:
        found.append(signals.after(found[-1], [join]))
    return found[::-1]
