"""Rows of a sparse matrix, gathered for a minibatch where it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..kernels import compiled
from ..losses.representation.reconstruction import Counts

if TYPE_CHECKING:
    from scipy import sparse
    from torch import Tensor


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
