"""Cells held once on a device, and minibatches of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..distributed import largest, n_processes, rank
from ..kernels import compiled
from ..losses.representation.reconstruction import Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scipy import sparse

CHUNK = 4096  # cells embedded, or whose genes are denoised, at once


class Batch(NamedTuple):
    """A minibatch of cells."""

    x: Tensor  # what the encoder sees, cells x features
    target: Tensor  # what a decoder with squared error explains; differs from x where the method asks
    counts: Counts | None  # what a count likelihood explains, and views are made of
    size: Tensor | None  # size factor of each cell (total / median total), cells x 1
    covariates: Tensor | None  # one-hot, cells x categories of all covariates
    index: Tensor  # which cells


class Rows:
    """A CSR matrix on a device, from which rows are gathered as (row, gene, value).

    Parameters
    ----------
    matrix
        Cells x genes.
    device
        Where rows are gathered.
    padded
        Whether every cell is given equally many entries, the surplus being zeros of a gene that it does not have, so that
        minibatches of a size are alike and Python need not ask a GPU how long they are. None pads for all but a CPU.
    """

    def __init__(self, matrix: sparse.csr_array, device: torch.device, *, padded: bool | None = None) -> None:
        self.shape = matrix.shape
        padded = device.type != "cpu" if padded is None else padded
        # On a CPU a compiled loop gathers rows seven times faster than index arithmetic in torch does.
        self.matrix = None if padded else matrix
        if padded:
            if not matrix.has_sorted_indices:
                matrix = matrix.sorted_indices()
            spare = _spare(matrix.indptr, matrix.indices, matrix.shape[1])
            self.longest = int(np.diff(matrix.indptr).max(initial=1))
            self.indptr = torch.as_tensor(matrix.indptr, dtype=torch.int64, device=device)
            self.indices = torch.as_tensor(matrix.indices, dtype=torch.int32, device=device)
            self.data = torch.as_tensor(matrix.data, dtype=torch.float32, device=device)
            self.spare = torch.as_tensor(spare, device=device)

    def __getitem__(self, index: Tensor) -> Counts:
        shape = (len(index), self.shape[1])
        if self.matrix is not None:
            parts = _gathered(self.matrix.indptr, self.matrix.indices, self.matrix.data, index.numpy())
            return Counts(*map(torch.from_numpy, parts), shape)
        start, end = self.indptr[index, None], self.indptr[index + 1, None]
        where = start + torch.arange(self.longest, device=start.device)
        there = where < end
        where = where.clamp(max=len(self.data) - 1)
        gene = self.indices[where].long().where(there, self.spare[index, None])
        value = self.data[where].where(there, 0)
        row = torch.arange(len(index), device=start.device)[:, None].expand_as(gene)
        return Counts(row.reshape(-1), gene.reshape(-1), value.reshape(-1), shape)


@compiled
def _spare(pointer, gene, n_genes):
    """A gene that each cell of a CSR matrix does not have, or any where it has all."""
    spare = np.zeros(len(pointer) - 1, np.int64)
    for cell in range(len(spare)):
        free = 0
        for at in range(pointer[cell], pointer[cell + 1]):
            if gene[at] != free:
                break
            free += 1
        spare[cell] = min(free, n_genes - 1)
    return spare


@compiled
def _gathered(pointer, gene, value, index):
    """Row, gene and value of the entries of some rows of a CSR matrix."""
    n = 0
    for cell in index:
        n += pointer[cell + 1] - pointer[cell]
    rows, genes, values = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, value.dtype)
    n = 0
    for row, cell in enumerate(index):
        for at in range(pointer[cell], pointer[cell + 1]):
            rows[n], genes[n], values[n] = row, gene[at], value[at]
            n += 1
    return rows, genes, values


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
        """Passes over the cells that make at least so many minibatches."""
        return -(-n_steps // self.n_batches())

    def parts(self, index: Tensor | None = None, *, generator: torch.Generator | None = None) -> Sequence[Tensor]:
        """Which of (some) cells come in each minibatch, shuffled where a generator is given; on the device.

        Minibatches are of nearly equal size, so that no epoch ends with one of a few cells.
        """
        index = torch.arange(len(self)) if index is None else index
        if generator is not None:
            index = index[torch.randperm(len(index), generator=generator)]
        return index.to(self.device).tensor_split(self.n_batches(len(index)))

    def batches(self, index: Tensor | None = None, *, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """Minibatches of (some) cells, shuffled where a generator is given."""
        for part in self.parts(index, generator=generator):
            yield self[part]

    def chunks(self, index: Tensor | None = None) -> Iterator[Batch]:
        """(Some) cells in order, in large minibatches."""
        index = torch.arange(len(self)) if index is None else index
        for part in index.split(CHUNK):
            yield self[part]

    def split(self, seed: int) -> tuple[Tensor, Tensor]:
        """Cells to learn from, in order, and a tenth to hold out: the same in every phase of a run."""
        return split(len(self), seed)
