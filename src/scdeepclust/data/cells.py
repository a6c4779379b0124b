"""Cells held once on a device, and minibatches of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..distributed import largest, n_processes, rank

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..losses.representation.reconstruction import Counts
    from .rows import Rows

CHUNK = 4096  # cells embedded, or whose genes are denoised, at once


class Batch(NamedTuple):
    """A minibatch of cells."""

    x: Tensor  # what the encoder sees, cells x features
    target: Tensor  # what a decoder with squared error explains; differs from x where the method asks
    counts: Counts | None  # what a count likelihood explains, and views are made of
    size: Tensor | None  # size factor of each cell (total / median total), cells x 1
    covariates: Tensor | None  # one-hot, cells x categories of all covariates
    index: Tensor  # which cells


def split(n_cells: int, seed: int) -> tuple[Tensor, Tensor]:
    """Which of so many cells of this process to learn from, in order, and which tenth to hold out."""
    order = torch.randperm(n_cells, generator=torch.Generator().manual_seed(seed + rank()))
    n_held_out = max(1, n_cells // 10)
    return order[n_held_out:].sort().values, order[:n_held_out]


def one_hot(codes: Tensor, sizes: Sequence[int]) -> Tensor:
    """Codes of several covariates as columns side by side; a category without a code (-1) is zero in all of them."""
    return torch.cat(
        [
            (code[:, None] == torch.arange(n, device=codes.device)).float()
            for code, n in zip(codes.T, sizes, strict=True)
        ],
        1,
    )


@dataclass(frozen=True)
class Cells:
    """All cells of one process.

    Parameters
    ----------
    device
        Where minibatches are made.
    batch_size
        Cells in a minibatch, over all processes together.
    x
        Features of all cells where they are few (PCs, a representation), cells x features.
    rows
        Counts or log-normalised values as CSR, where the encoder or the decoder needs genes.
    features
        Derives features from rows, size factors, covariates and, if some are hidden, the genes that are kept; where there
        are genes: all features where `x` is None, and those of changed views of a cell.
    size
        Size factors.
    covariates
        Codes of each cell's categories, cells x covariates, and how many categories each covariate has.
    target
        What a decoder with squared error explains, where it is not `x` itself.
    with_counts
        Whether minibatches carry counts (or log-normalised values), for a likelihood or for views of a cell.
    neighbors
        Nearest neighbours of each cell, cells x neighbours, where a method holds them together.
    labels
        Known label of each cell, for the method that asks for labels; -1 where there is none.
    partition
        Cluster of each cell where the data have chosen clusters to start from; -1 for cells without a say, and for all but
        those of the first process.
    n_chosen
        How many clusters the data have chosen, in every process; None where the number was not chosen so.
    """

    device: torch.device
    batch_size: int
    x: Tensor | None = None
    rows: Rows | None = None
    features: Callable[..., Tensor] | None = None
    size: Tensor | None = None
    covariates: tuple[Tensor, tuple[int, ...]] | None = None
    target: Tensor | None = None
    with_counts: bool = False
    neighbors: Tensor | None = None
    labels: Tensor | None = None
    partition: Tensor | None = None
    n_chosen: int | None = None

    def __len__(self) -> int:
        return len(self.x) if self.x is not None else self.rows.shape[0]

    def __getitem__(self, index: Tensor) -> Batch:
        index = index.to(self.device)
        size = None if self.size is None else self.size.index_select(0, index)
        rows = self.rows[index] if self.x is None or self.with_counts else None
        covariates = None if self.covariates is None else one_hot(self.covariates[0][index], self.covariates[1])
        # index_select gathers rows up to seven times faster than indexing does
        x = self.features(rows, size, covariates) if self.x is None else self.x.index_select(0, index)
        target = x if self.target is None else self.target.index_select(0, index)
        return Batch(x, target, rows if self.with_counts else None, size, covariates, index)

    def n_batches(self, n_cells: int | None = None) -> int:
        """Minibatches in an epoch; the same in every process."""
        here = max(1, self.batch_size // n_processes())
        return largest(-(-(len(self) if n_cells is None else n_cells) // here))

    def n_epochs(self, n_steps: int) -> int:
        """Passes over all cells that make at least so many minibatches; fewer where a tenth of the cells is held out."""
        return -(-n_steps // self.n_batches())

    def parts(self, index: Tensor | None = None, *, generator: torch.Generator | None = None) -> Sequence[Tensor]:
        """Which of (some) cells come in each minibatch, shuffled where a generator is given; on the device.

        Minibatches are of nearly equal size, so that no epoch ends with one of a few cells.
        """
        index = torch.arange(len(self)) if index is None else index
        if generator is not None:
            index = index[torch.randperm(len(index), generator=generator)]
        return index.to(self.device).tensor_split(self.n_batches(len(index)))

    def batches(self, index: Tensor | None = None) -> Iterator[Batch]:
        """Minibatches of (some) cells, in order."""
        for part in self.parts(index):
            yield self[part]

    def sample(self, at_most: int, seed: int = 0) -> Tensor:
        """A random sample of the cells, over all processes of so many, in order: of a seed the same each time."""
        here = -(-at_most // n_processes())
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed + rank()))
        return order[:here].sort().values

    def chunks(self, index: Tensor | None = None) -> Iterator[Batch]:
        """(Some) cells in order, in large minibatches."""
        index = torch.arange(len(self)) if index is None else index
        for part in index.split(CHUNK):
            yield self[part]

    def split(self, seed: int) -> tuple[Tensor, Tensor]:
        """Cells to learn from, in order, and a tenth to hold out: the same in every phase of a run."""
        return split(len(self), seed)
