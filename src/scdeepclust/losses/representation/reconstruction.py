"""Reconstruction = how badly the decoder explains the values or counts that the cells have.

Counts cost what their non-zeros cost: with ``d = log mean - log dispersion`` the negative log-likelihood of a zero is
``dispersion * softplus(d)``, and gamma functions appear only where a count is positive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from . import _compiled_likelihood

if TYPE_CHECKING:
    from scipy.sparse import csr_array, csr_matrix
    from torch import Tensor

STIRLING_FROM = 64.0  # from this dispersion on, the series is exact to 1e-12 and a difference of lgamma is not


class Counts(NamedTuple):
    """The non-zero counts of a minibatch, cell by cell; an explicit zero is allowed and counts as a zero.

    Attributes
    ----------
    row
        Cell of each count, int64, ascending.
    gene
        Gene of each count, int64; no pair of cell and gene occurs twice, unless all its values are zero.
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

    @classmethod
    def from_dense(cls, matrix: Tensor) -> Counts:
        """Counts of a tensor, cells x genes."""
        row, gene = matrix.nonzero(as_tuple=True)
        return cls(row, gene, matrix[row, gene], tuple(matrix.shape))

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
    if plain and log_dispersion.ndim == 1 and _compiled_likelihood.kernels() is not None:
        return _compiled_likelihood.CompiledLikelihood.apply(counts, *given)
    return _differentiable(counts, *given)


def _differentiable(counts: Counts, eta: Tensor, tau: Tensor, logits: Tensor | None = None) -> Tensor:
    """Any device and precision; autograd finds the gradients."""
    tau = tau.expand(eta.shape)  # then gathering needs no atomic additions, whose order differs from run to run
    softplus = -F.logsigmoid(tau - eta)
    nb_zero = tau.exp() * softplus
    zero = nb_zero if logits is None else F.logsigmoid(logits + nb_zero) - F.logsigmoid(logits)
    place = counts.row * counts.shape[1] + counts.gene

    def at_counts(tensor: Tensor) -> Tensor:
        return tensor.flatten().gather(0, place).double()

    x = counts.value.double()
    extra = x * (at_counts(softplus) - at_counts(eta)) + torch.lgamma(x + 1) - _log_rising(x, at_counts(tau))
    if logits is not None:
        extra = extra + at_counts(nb_zero) - F.logsigmoid(-at_counts(logits)) - at_counts(zero)
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
