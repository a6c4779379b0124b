"""Divergence from a prior that is a mixture: a cell's posterior has to lie in one of the clusters.

Source: Jiang, Zheng, Tan, Tang, Zhou, "Variational deep embedding: an unsupervised and generative approach to clustering",
IJCAI 2017, doi 10.24963/ijcai.2017/273, arXiv 1611.05148.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def mixture_log_posterior(z: Tensor, logits: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    r"""Log of :math:`p(c \mid z) \propto \pi_c \prod_j \mathcal{N}(z_j; \mu_{cj}, \sigma_{cj}^2)`.

    Parameters
    ----------
    z
        Embedding, cells x latent.
    logits
        Of the components' weights :math:`\pi`.
    means, log_variances
        Of the components, clusters x latent.

    Returns
    -------
    Cells x clusters; the exponentials of a row sum to one.
    """
    squared = (z[:, None] - means).square() / log_variances.exp()
    log_density = -(squared.sum(2) + log_variances.sum(1)) / 2  # but for a constant
    return (logits + log_density).log_softmax(1)


def mixture_divergence(mean: Tensor, log_variance: Tensor, z: Tensor, mixture: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    r"""Divergence of the posterior of latent variables and clusters from the mixture, mean over cells, in nats.

    :math:`\mathrm{KL}(q(z, c \mid x) \Vert p(z, c))` with :math:`q(z \mid x) = \mathcal{N}(m, s)`, diagonal, and
    :math:`\gamma_c = q(c \mid x) := p(c \mid z)` at a sample z, as in the paper:

    .. math::
        \tfrac12 \sum_c \gamma_c \sum_j \Bigl(\log \sigma_{cj}^2 + \frac{s_j + (m_j - \mu_{cj})^2}{\sigma_{cj}^2}\Bigr)
        - \tfrac12 \sum_j (1 + \log s_j) + \sum_c \gamma_c \log\frac{\gamma_c}{\pi_c}

    Parameters
    ----------
    mean, log_variance
        Of the posterior of each cell, cells x latent.
    z
        A sample of it, cells x latent.
    mixture
        Logits, means and log variances of the components; see :func:`mixture_log_posterior`.
    """
    logits, means, log_variances = mixture
    log_gamma = mixture_log_posterior(z, logits, means, log_variances)
    expected = (log_variance.exp()[:, None] + (mean[:, None] - means).square()) / log_variances.exp()
    within = (expected.sum(2) + log_variances.sum(1) - (1 + log_variance).sum(1, keepdim=True)) / 2
    return (log_gamma.exp() * (within + log_gamma - logits.log_softmax(0))).sum(1).mean()
