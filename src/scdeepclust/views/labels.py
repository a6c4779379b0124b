"""Positives by label: a view is another cell that is known to be of the same type."""

from __future__ import annotations

import torch
from torch import Tensor


class SameLabel:
    """Draws, for each of some cells, a cell of the same label.

    Parameters
    ----------
    labels
        Label of every cell, from 0; -1 for cells without.
    """

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels
        self.order = labels.argsort(stable=True)
        shifted = labels + 1
        self.count = shifted.bincount()
        self.start = self.count.cumsum(0) - self.count

    def draw(self, index: Tensor) -> Tensor:
        """A cell of the same label for each, by chance itself; cells without label get themselves."""
        label = self.labels[index] + 1
        count = self.count[label]
        # A uniform number close to one may round up to the count.
        step = (torch.rand(len(index), device=index.device) * count).long().minimum(count - 1)
        return torch.where(label > 0, self.order[self.start[label] + step], index)
