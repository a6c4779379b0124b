"""Means of clusters, and the nearest of them."""

from __future__ import annotations

import numpy as np


def means(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of each cluster, clusters x features; labels below zero are none."""
    return np.stack([z[labels == k].mean(0) for k in np.unique(labels[labels >= 0])]).astype(np.float32)


def nearest_to(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The centre that is nearest to each cell."""
    return ((centres**2).sum(1) - 2 * x @ centres.T).argmin(1)


def nearest_mean(x: np.ndarray, labels: np.ndarray, *, among: np.ndarray | None = None) -> np.ndarray:
    """The cluster whose mean is nearest to each cell, by its name; cells without a label (below zero) get one so, too.

    Parameters
    ----------
    x
        Cells x features.
    labels
        Cluster of each cell.
    among
        Cells that make the means, whose clusters `labels` then are; where None, all.
    """
    names = np.unique(labels[labels >= 0])
    return names[nearest_to(x, means(x if among is None else x[among], labels))]
