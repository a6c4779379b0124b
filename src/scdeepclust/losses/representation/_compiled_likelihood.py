"""The kernels of `_count_kernels` as one differentiable operation, its cells shared among threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from torch import Tensor

    from .reconstruction import Counts

PARALLEL_FROM = 2**17  # entries; a minibatch of fewer is done before a second thread has begun


class CompiledLikelihood(torch.autograd.Function):
    """Value and gradients together in one pass over float32 on CPU."""

    @staticmethod
    def forward(ctx, counts: Counts, eta: Tensor, tau: Tensor, logits: Tensor | None = None) -> Tensor:
        n_cells, n_genes = eta.shape
        if counts.gene.numel() and not 0 <= counts.gene.min() <= counts.gene.max() < n_genes:
            msg = f"Counts name genes outside of 0 to {n_genes - 1}."
            raise IndexError(msg)
        heads = [tensor.detach().contiguous() for tensor in (eta, logits) if tensor is not None]
        gradients = [torch.empty_like(head) for head in heads]
        log_theta, scale = tau.detach().contiguous().numpy(), 1 / eta.numel()
        theta = np.exp(log_theta, dtype=np.float64)
        run = kernels().nb_rows if logits is None else kernels().zinb_rows
        run = partial(run, _pointers(counts), (log_theta, theta, scale), *_arrays(heads), *_arrays(gradients))
        total, (zero, slope, nonzero_slope) = _in_blocks(run, n_cells, n_genes)
        # with zero inflation the responsibilities differ from cell to cell, and `zero` holds losses already
        total += zero.sum() if logits is not None else theta @ zero
        by_tau = torch.from_numpy((theta * slope + nonzero_slope) * scale).float()
        ctx.save_for_backward(gradients[0], by_tau, *gradients[1:])
        return eta.new_tensor(total * scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors if upstream == 1 else [upstream * gradient for gradient in ctx.saved_tensors]
        return (None, *gradients, None)[: len(ctx.needs_input_grad)]


def _arrays(tensors: list[Tensor]) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in tensors]


def _pointers(counts: Counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compressed rows."""
    pointer = np.searchsorted(counts.row.numpy(), np.arange(counts.shape[0] + 1))
    return pointer, counts.gene.contiguous().numpy(), counts.value.float().contiguous().numpy()


def _in_blocks(run: Callable[..., float], n_cells: int, n_genes: int) -> tuple[float, np.ndarray]:
    """Run blocks of cells in threads; their number and order of summation do not depend on the number of threads."""
    size = max(64, -(-n_cells // 16))
    starts = range(0, n_cells, size)
    sums = np.zeros((len(starts), 3, n_genes), np.float32)

    def block(number: int) -> float:
        first = starts[number]
        return run(first, min(first + size, n_cells), sums[number])

    parallel = torch.get_num_threads() > 1 and n_cells * n_genes >= PARALLEL_FROM
    each = _threads(os.getpid(), torch.get_num_threads()).map if parallel else map
    return sum(each(block, range(len(starts)))), sums.sum(0, dtype=np.float64)


@cache
def _threads(process: int, number: int) -> ThreadPoolExecutor:  # a forked process has none of its parent's threads
    return ThreadPoolExecutor(number, thread_name_prefix=f"likelihood-{process}")


@cache
def kernels() -> ModuleType | None:
    """Return the kernels, or nothing where numba is told not to compile: they would take minutes as plain Python."""
    from numba import config

    if config.DISABLE_JIT:
        return None
    from . import _count_kernels

    return _count_kernels
