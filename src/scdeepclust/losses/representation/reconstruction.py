"""Reconstruction = how badly the decoder explains the values or counts that the cells have.

Counts cost what their non-zeros cost: with ``d = log mean - log dispersion`` the negative log-likelihood of a zero is
``dispersion * softplus(d)``, and gamma functions appear only where a count is positive.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from scipy.sparse import csr_array, csr_matrix
    from torch import Tensor

STIRLING_FROM = 64.0  # from this dispersion on, the series is exact to 1e-12 and a difference of lgamma is not
PARALLEL_FROM = 2**17  # entries; a minibatch of fewer is done before a second thread has begun


class Counts(NamedTuple):
    """The non-zero counts of a minibatch in row-major order; an explicit zero is allowed and counts as a zero.

    Attributes
    ----------
    row
        Cell of each count, int64, ascending.
    gene
        Gene of each count, int64; no pair of cell and gene occurs twice.
    value
        The counts, floating.
    shape
        Numbers of cells and genes.
    """

    row: Tensor
    gene: Tensor
    value: Tensor
    shape: tuple[int, int]

    @classmethod
    def from_csr(cls, matrix: csr_array | csr_matrix) -> Counts:
        """Counts of a sparse matrix whose duplicates are summed."""
        row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        gene, value = torch.as_tensor(matrix.indices.astype(np.int64)), torch.as_tensor(matrix.data.astype(np.float32))
        return cls(torch.as_tensor(row), gene, value, matrix.shape)

    def dense(self) -> Tensor:
        """Cells x genes."""
        matrix = self.value.new_zeros(self.shape)
        matrix[self.row, self.gene] = self.value
        return matrix


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error, mean over cells and features."""
    return F.mse_loss(prediction, target)


def nb(log_mean: Tensor, log_dispersion: Tensor, counts: Counts) -> Tensor:
    r"""Negative log-likelihood of counts under the negative binomial distribution, mean over cells and genes.

    .. math::
        -\log p(x) = \theta s(d) + x \, (s(d) - \eta) + \log x! - \sum_{i<x} \log(1 + i / \theta),
        \quad d = \eta - \log\theta, \quad s(d) = \log(1 + e^d),

    which is the usual form with gamma functions (Lopez et al., Nature Methods 2018, doi:10.1038/s41592-018-0229-2)
    written such that large dispersions lead to the Poisson distribution without loss of digits.

    Parameters
    ----------
    log_mean
        Logarithm :math:`\eta` of the mean, library size included, cells x genes.
    log_dispersion
        Logarithm of the inverse dispersion :math:`\theta`, of each gene, or cells x genes.
    counts
        What is to be explained.

    Returns
    -------
    A scalar.
    """
    return _likelihood(log_mean, log_dispersion, None, counts)


def zinb(log_mean: Tensor, log_dispersion: Tensor, zero_logits: Tensor, counts: Counts) -> Tensor:
    r"""Negative log-likelihood under the zero-inflated negative binomial distribution, mean over cells and genes.

    .. math::
        p(0) = \pi + (1 - \pi) e^{-\theta s(d)}, \qquad p(x) = (1 - \pi) \, \mathrm{NB}(x), \quad x > 0

    with the notation of :func:`nb` (Eraslan et al., Nature Communications 2019, doi:10.1038/s41467-018-07931-2).

    Parameters
    ----------
    log_mean
        Logarithm :math:`\eta` of the mean of the counts that are not inflated, library size included, cells x genes.
    log_dispersion
        Logarithm of the inverse dispersion :math:`\theta`, of each gene, or cells x genes.
    zero_logits
        Logits of the probability :math:`\pi` of an additional zero, cells x genes.
    counts
        What is to be explained.

    Returns
    -------
    A scalar.
    """
    return _likelihood(log_mean, log_dispersion, zero_logits, counts)


def _likelihood(log_mean: Tensor, log_dispersion: Tensor, zero_logits: Tensor | None, counts: Counts) -> Tensor:
    if log_mean.shape != tuple(counts.shape) or not log_mean.numel():
        msg = f"log_mean has shape {tuple(log_mean.shape)}, the counts {tuple(counts.shape)}; both need the same cells and genes."
        raise ValueError(msg)
    given = [log_mean, log_dispersion] if zero_logits is None else [log_mean, log_dispersion, zero_logits]
    # half precision comes from autocast; its three digits do not do for a likelihood
    given = [tensor.float() if tensor.dtype in {torch.float16, torch.bfloat16} else tensor for tensor in given]
    plain = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in given)
    if plain and log_dispersion.ndim == 1 and _kernels() is not None:
        return _Compiled.apply(counts, *given)
    return _differentiable(counts, *given)


def _differentiable(counts: Counts, eta: Tensor, tau: Tensor, logits: Tensor | None = None) -> Tensor:
    """Any device and precision; autograd finds the gradients."""
    tau = tau.expand(eta.shape)  # then gathering needs no atomic additions, whose order differs from run to run
    softplus = -F.logsigmoid(tau - eta)
    nb_zero = tau.exp() * softplus
    zero = nb_zero if logits is None else F.softplus(-logits) - F.softplus(-logits - nb_zero)
    exact = torch.float32 if eta.device.type == "mps" else torch.float64
    place = counts.row * counts.shape[1] + counts.gene

    def at_counts(tensor: Tensor) -> Tensor:
        return tensor.flatten().gather(0, place).to(exact)

    x = counts.value.to(exact)
    extra = x * (at_counts(softplus) - at_counts(eta)) + torch.lgamma(x + 1) - _log_rising(x, at_counts(tau))
    if logits is not None:
        extra = extra + at_counts(nb_zero) + F.softplus(at_counts(logits)) - at_counts(zero)
    total = zero.sum() + torch.where(x > 0, extra, 0).sum()
    return (total / zero.numel()).to(zero.dtype)


def _log_rising(x: Tensor, log_theta: Tensor) -> Tensor:
    """Return sum_{i<x} log(1 + i / theta) = lgamma(theta + x) - lgamma(theta) - x log(theta)."""
    theta = log_theta.exp()
    # both branches are computed everywhere, so each is kept where it is finite
    low, high = theta.clamp(max=STIRLING_FROM), theta.clamp(min=STIRLING_FROM)
    direct = torch.lgamma(low + x) - torch.lgamma(low) - x * low.log()
    rest = (1 / (high + x) - 1 / high) / 12 - ((high + x) ** -3 - high**-3) / 360
    return torch.where(theta < STIRLING_FROM, direct, (high + x - 0.5) * torch.log1p(x / high) - x + rest)


class _Compiled(torch.autograd.Function):
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
        run = _kernels().nb_rows if logits is None else _kernels().zinb_rows
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
def _kernels() -> ModuleType | None:
    """Return the kernels, or nothing where numba is missing or told not to compile."""
    try:
        from numba import config
    except ImportError:
        return None
    if config.DISABLE_JIT:
        return None
    from scdeepclust.losses.representation import _count_kernels

    return _count_kernels
