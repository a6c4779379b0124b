"""Count likelihoods against scvi-tools, mpmath, scipy and finite differences, and the compiled path against the plain one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import mpmath
import numpy as np
import pytest
import scipy.sparse
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scdeepclust as sdc
from scdeepclust.losses.representation import _compiled_likelihood
from scdeepclust.losses.representation.reconstruction import Counts, mse, nb, zinb

LIKELIHOODS = {"nb": nb, "zinb": zinb}


@pytest.fixture(scope="module")
def scvi_distributions():
    with warnings.catch_warnings():  # on import, its dependencies warn of each other
        warnings.simplefilter("ignore")
        return pytest.importorskip("scvi.distributions._negative_binomial")


def draw(seed=0, shape=(12, 30), nonzero=0.3, largest=20, log_mean=(-3, 4), log_dispersion=(-3, 4), logits=(-4, 4)):
    """Counts, and float64 log means, log dispersions of genes and logits, uniform in the ranges given."""
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random(shape) < nonzero, np.ceil(largest ** rng.random(shape)), 0)
    heads = (log_mean, shape), (log_dispersion, shape[1]), (logits, shape)
    counts = Counts.from_csr(scipy.sparse.csr_array(dense))
    return counts, *(torch.as_tensor(rng.uniform(*ends, size)) for ends, size in heads)


def value_and_gradients(loss, arguments):
    arguments = [argument.detach().clone().requires_grad_() for argument in arguments]
    value = loss(*arguments)
    return value.detach(), torch.autograd.grad(value, arguments)


def ours(kind, counts, arguments):
    """Value and gradients, one gradient less without zero inflation."""
    arguments = arguments if kind == "zinb" else arguments[:2]
    return value_and_gradients(lambda *heads: LIKELIHOODS[kind](*heads, counts), arguments)


def theirs(kind, counts, arguments, distributions, eps=None):
    """The same by scvi-tools; its distributions add eps = 1e-8 to rates within logarithms, its functions what we say."""

    def log_prob(x, mu, theta, logits=None):
        if eps is None and kind == "nb":
            return distributions.NegativeBinomial(mu=mu, theta=theta).log_prob(x)
        if eps is None:
            return distributions.ZeroInflatedNegativeBinomial(mu=mu, theta=theta, zi_logits=logits).log_prob(x)
        if kind == "nb":
            return distributions.log_nb_positive(x, mu, theta, eps)
        return distributions.log_zinb_positive(x, mu, theta, logits, eps)

    def loss(eta, tau, *logits):
        return -log_prob(counts.dense().to(eta), eta.exp(), tau.exp(), *logits).mean()

    return value_and_gradients(loss, arguments if kind == "zinb" else arguments[:2])


@cache
def by_entry(kind, x, eta, tau, logit):
    """The formula as in the paper, for one count with 60 digits: value and slopes."""

    def loss(eta, tau, logit):
        mean, theta, inflated = mpmath.exp(eta), mpmath.exp(tau), 1 / (1 + mpmath.exp(-logit))
        ways = mpmath.loggamma(x + theta) - mpmath.loggamma(theta) - mpmath.loggamma(x + 1)
        plain = mpmath.exp(ways + theta * mpmath.log(theta / (theta + mean)) + x * mpmath.log(mean / (theta + mean)))
        return -mpmath.log(plain if kind == "nb" else inflated * (x == 0) + (1 - inflated) * plain)

    with mpmath.workdps(60):
        at = [mpmath.mpf(float(number)) for number in (eta, tau, logit)]
        slopes = [mpmath.diff(loss, at, n=tuple(int(i == j) for j in range(3))) for i in range(2 + (kind == "zinb"))]
        return float(loss(*at)), [float(slope) for slope in slopes]


def close(result, expected, rtol, atol=0.0):
    (value, gradients), (expected_value, expected_gradients) = result, expected
    torch.testing.assert_close(value.double(), expected_value.double(), rtol=rtol, atol=atol)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        size = expected_gradient.abs().max().item() if expected_gradient.numel() else 0.0
        torch.testing.assert_close(gradient.double(), expected_gradient.double(), rtol=rtol, atol=atol + rtol * size)


@pytest.fixture
def plain_path(monkeypatch):
    monkeypatch.setattr(_compiled_likelihood, "kernels", lambda: None)


@pytest.mark.parametrize("kind", LIKELIHOODS)
@pytest.mark.parametrize("nonzero", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("per_gene", [True, False], ids=["theta of genes", "theta of entries"])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-6), (torch.float32, 1e-5)], ids=["double", "single"])
def test_equals_scvi(scvi_distributions, kind, nonzero, per_gene, dtype, rtol):
    counts, eta, tau, logits = draw(nonzero=nonzero)
    tau = tau if per_gene else tau + eta.flip(0) / 4
    expected = theirs(kind, counts, (eta, tau, logits), scvi_distributions)
    close(ours(kind, counts, [head.to(dtype) for head in (eta, tau, logits)]), expected, rtol)


@pytest.mark.parametrize("kind", LIKELIHOODS)
@pytest.mark.parametrize("nonzero", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_equals_scvi_at_extremes_without_its_epsilon(scvi_distributions, kind, seed, nonzero):
    """Means from 1e-6 to 1e5, dispersions from 1e-3 to 1e5, counts to 1e5.

    The 1e-8 that scvi-tools adds to a mean of 1e-6 changes the slope of a positive count by one in a hundred; with it
    taken away, we agree.
    """
    limits = {"log_mean": (-14, 11.5), "log_dispersion": (-7, 11.5), "logits": (-12, 12)}
    counts, *heads = draw(seed, nonzero=nonzero, largest=1e5, **limits)
    expected = theirs(kind, counts, heads, scvi_distributions, eps=1e-300)
    close(ours(kind, counts, heads), expected, 1e-9)
    close(ours(kind, counts, [head.float() for head in heads]), expected, 1e-5)


def test_epsilon_of_scvi_matters_for_small_means_only(scvi_distributions):
    counts, eta, tau, logits = draw(nonzero=1.0)
    for shift, low, high in ((0.0, 0.0, 1e-5), (-12.0, 1e-4, 1e-1)):
        (_, (exact, _)) = ours("nb", counts, (eta + shift, tau, logits))
        (_, (shifted, _)) = theirs("nb", counts, (eta + shift, tau, logits), scvi_distributions)
        assert low <= (exact / shifted - 1).abs().max() <= high


@pytest.mark.parametrize("kind", LIKELIHOODS)
@pytest.mark.parametrize("tau", [-12.0, -3.0, 1.0, 4.125, 4.25, 8.0, 12.0, 25.0])  # log 64 is 4.16: the series begins
@pytest.mark.parametrize("x", [0, 1, 3, 8, 9, 300, 100_000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_equals_sixty_digits(kind, tau, x, dtype):
    """Entry by entry, where the usual form would lose digits."""
    counts = Counts.from_csr(scipy.sparse.csr_array([[x]]))
    digits, resolution = (1e-9, 2e-12) if dtype == torch.float64 else (1e-5, 2e-7)
    for eta in (-30.0, -13.75, -2.0, 0.75, 5.0, 15.0):
        heads = [torch.tensor(head, dtype=dtype) for head in ([[eta]], [tau], [[-1.5]])]
        expected, slopes = by_entry(kind, x, eta, tau, -1.5)
        value, gradients = ours(kind, counts, heads)
        # value and slopes are differences of terms that may be as large as the mean or the count
        slack = resolution * (1 + x + np.exp(min(eta, tau)))
        np.testing.assert_allclose(
            [value.item(), *map(torch.Tensor.item, gradients)], [expected, *slopes], digits, slack
        )


@pytest.mark.parametrize("seed", range(3))
def test_equals_scipy(seed):
    counts, eta, tau, _ = draw(seed)
    mean, theta = eta.exp().numpy(), tau.exp().numpy()
    expected = -scipy.stats.nbinom.logpmf(counts.dense().numpy(), theta, theta / (theta + mean)).mean()
    np.testing.assert_allclose(nb(eta, tau, counts).item(), expected, rtol=1e-9)


def test_poisson_is_the_limit():
    counts, eta, tau, _ = draw(0)
    expected = -scipy.stats.poisson.logpmf(counts.dense().numpy(), eta.exp().numpy()).mean()
    for dtype in (torch.float64, torch.float32):
        loss = nb(eta.to(dtype), torch.full_like(tau, 28, dtype=dtype), counts).item()
        np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("largest", [20, 5000])
def test_gradients_equal_finite_differences(largest):
    counts, eta, tau, logits = draw(shape=(2, 3), nonzero=0.5, largest=largest)
    for dispersion in (tau, tau.expand(2, 3) + eta / 3):
        heads = [head.requires_grad_() for head in (eta, dispersion.detach(), logits)]
        torch.autograd.gradcheck(lambda *heads: nb(*heads, counts), heads[:2])
        torch.autograd.gradcheck(lambda *heads: zinb(*heads, counts), heads)


@pytest.mark.parametrize("kind", LIKELIHOODS)
@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    nonzero=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    largest=st.sampled_from([1, 10, 1000, 1e6]),
    centre=st.tuples(st.floats(-28, 13), st.floats(-10, 10), st.floats(-40, 40)),
    shape=st.tuples(st.integers(1, 150), st.integers(1, 40)),
)
def test_compiled_equals_plain(kind, seed, nonzero, largest, centre, shape):
    ranges = {"log_mean": centre[0], "log_dispersion": centre[1], "logits": centre[2]}
    ranges = {name: (middle - 2, middle + 2) for name, middle in ranges.items()}
    counts, *heads = draw(seed, shape, nonzero, largest, **ranges)
    single = [head.float() for head in heads]
    expected = ours(kind, counts, [head.double() for head in single])
    # float32 resolves one minus a probability to 1e-7, and loses as much of terms that cancel
    eta, tau, _ = heads
    terms = 1 + counts.dense().mean().item() + (tau.exp() * torch.nn.functional.softplus(eta - tau)).mean().item()
    close(ours(kind, counts, single), expected, 2e-5, 3e-7 * terms)


@pytest.mark.parametrize("kind", LIKELIHOODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("path", ["compiled", "plain"])
def test_finite_at_the_corners(kind, dtype, path, request):
    if path == "plain":
        request.getfixturevalue("plain_path")
    for eta in (-30.0, 0.0, 15.0):
        for tau in (-12.0, 0.0, 12.0):
            for logit in (-200.0, -30.0, 0.0, 30.0, 200.0):
                counts, *heads = draw(nonzero=0.5, largest=1e6)
                heads = [
                    torch.full_like(head, at, dtype=dtype) for head, at in zip(heads, (eta, tau, logit), strict=True)
                ]
                value, gradients = ours(kind, counts, heads)
                assert torch.isfinite(value)
                assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("kind", LIKELIHOODS)
@pytest.mark.parametrize("path", ["compiled", "plain"])
def test_explicit_zeros_and_fractions(kind, path, request):
    if path == "plain":
        request.getfixturevalue("plain_path")
    dense = torch.tensor([[0.0, 2.0, 0.5, 0.0], [3.25, 0.0, 0.0, 12.75]])
    counts = Counts.from_csr(scipy.sparse.csr_array(dense.numpy()))
    everything = Counts(torch.arange(2).repeat_interleave(4), torch.arange(4).repeat(2), dense.flatten(), (2, 4))
    _, *heads = draw(shape=(2, 4))
    heads = [head.float() for head in heads]
    close(ours(kind, everything, heads), ours(kind, counts, heads), 1e-6)
    close(ours(kind, counts, heads), ours(kind, counts, [head.double() for head in heads]), 1e-6)


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_threads_do_not_change_a_bit(kind):
    counts, *heads = draw(shape=(300, 1000))
    heads = [head.float() for head in heads]
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 2, 3):
            torch.set_num_threads(number)
            results.append(ours(kind, counts, heads))
    finally:
        torch.set_num_threads(threads)
    for value, gradients in results[1:]:
        assert torch.equal(value, results[0][0])
        assert all(torch.equal(a, b) for a, b in zip(gradients, results[0][1], strict=True))


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_backward_scales_repeats_and_leaves_inputs_alone(kind):
    counts, *heads = draw()
    heads = [head.float() for head in heads][: 3 if kind == "zinb" else 2]
    before = [head.clone() for head in heads]
    _, once = value_and_gradients(lambda *heads: LIKELIHOODS[kind](*heads, counts), heads)
    leaves = [head.clone().requires_grad_() for head in heads]
    loss = LIKELIHOODS[kind](*leaves, counts)
    loss.backward(retain_graph=True)
    (3 * loss).backward()
    for leaf, gradient, head, copy in zip(leaves, once, heads, before, strict=True):
        torch.testing.assert_close(leaf.grad, 4 * gradient)
        assert torch.equal(head, copy)


def test_some_heads_without_gradient_and_strided_heads():
    counts, *heads = draw()
    eta, tau, logits = (head.float() for head in heads)
    expected = ours("zinb", counts, (eta, tau, logits))
    (by_tau,) = torch.autograd.grad(zinb(eta, tau.requires_grad_(), logits, counts), tau)
    torch.testing.assert_close(by_tau, expected[1][1])
    strided = eta.t().contiguous().t()
    assert torch.equal(zinb(strided, tau.detach(), logits, counts), expected[0])


def test_half_precision_is_raised_to_single():
    counts, *heads = draw()
    halves = [head.bfloat16() for head in heads]
    assert torch.equal(zinb(*halves, counts), zinb(*(head.float() for head in halves), counts))


def test_mse_is_the_mean_over_entries():
    prediction, target = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    assert mse(prediction, target).item() == pytest.approx((0 + 4 + 9 + 1) / 4)


def test_counts_come_back_dense():
    matrix = scipy.sparse.random_array((7, 5), density=0.4, format="csr", rng=np.random.default_rng(0))
    np.testing.assert_allclose(Counts.from_csr(matrix).dense().numpy(), matrix.toarray(), rtol=1e-6)


def test_mistakes_are_named():
    counts, eta, tau, _ = draw()
    with pytest.raises(ValueError, match="same cells and genes"):
        nb(eta[:, :-1], tau[:-1], counts)
    with pytest.raises(IndexError, match="outside of 0 to 29"):
        nb(eta.float(), tau.float(), counts._replace(gene=counts.gene + 30))


SCRIPT = """
import numpy as np, torch
from scdeepclust.diffusion import _sweep
from scdeepclust.losses.representation import reconstruction as r
from scdeepclust.views import _molecules
counts = r.Counts(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([3.0, 1.0]), (2, 2))
one, at, rows = np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.int64), np.array([0, 1])
first, second = np.empty_like(one), np.empty_like(one)
_molecules.two_parts(one, at, one / 2, 1, first, second)
loss = _sweep.sweep(at, at[:, None], one[:, None], one, at, rows, one, at, rows, 1)
print(r.__file__, r._compiled_likelihood.kernels() is not None, r.nb(torch.zeros(2, 2), torch.zeros(2), counts).item(), (loss + first + second).item())
"""


@pytest.mark.parametrize("place", ["nowhere to cache", "told not to compile"])
def test_runs_where_numba_cannot_cache_or_compile(place, tmp_path):
    """A container of an unknown user can write neither to site-packages nor at home."""
    package = tmp_path / "scdeepclust"
    shutil.copytree(Path(sdc.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").write_text("a file, so that no folder can be made here")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "XDG", "PYTHON"))}
    environment |= {"HOME": "/dev/null", "PYTHONPATH": str(tmp_path)}
    environment |= {"NUMBA_DISABLE_JIT": "1"} if place == "told not to compile" else {}
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert not run.returncode, run.stderr
    file, compiled, value, one = run.stdout.split()
    assert Path(file).is_relative_to(tmp_path)
    # at mean and dispersion 1 the counts are geometric: p(x) = 2^-(x + 1)
    assert (compiled, float(value)) == (str(place == "nowhere to cache"), pytest.approx(2 * np.log(2), rel=1e-6))
    assert float(one) == 1  # nothing is lost where a cell is its own neighbour, and half and half are all of a molecule
