"""The negative binomial likelihoods and their gradients in one pass over a minibatch, compiled by numba for float32 on CPU.

Nine counts in ten are zero, so all work with gamma functions is done at the non-zeros (float64), and what every entry
needs (exp, log) is done with polynomials that LLVM turns into vector instructions.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ...kernels import compiled

f32, f64, i32 = np.float32, np.float64, np.int32

# Coefficients of expf and logf in the Cephes library (S. L. Moshier, netlib.org/cephes), about one unit in the last place.
E5, E4, E3, E2, E1, E0 = map(f32, (1.98756915e-4, 1.39819995e-3, 8.33345191e-3, 4.16657959e-2, 1.66666655e-1, 0.5))
L8, L7, L6, L5, L4, L3, L2, L1, L0 = map(
    f32,
    (
        *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
        *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
    ),
)
ZERO, HALF, ONE = f32(0), f32(0.5), f32(1)
LOG2E, LN2 = f32(1 / math.log(2)), f32(math.log(2))
LN2_HIGH, LN2_LOW = (
    f32(0.693359375),
    f32(-2.12194440e-4),
)  # their sum is log 2; the first has few bits, so k * high is exact
LOWEST = f32(-87)  # exp of less is not a normal float32 number
SQRT2_MINUS_1 = f32(math.sqrt(2) - 1)
BIAS, MANTISSA, SQRT_HALF_BITS = i32(127), i32(23), f32(math.sqrt(0.5)).view(np.int32)

SMALL = 8  # counts up to here need no gamma function; arguments from here on suit Stirling's series
LARGE = 64
LOG_FACTORIAL = np.array([math.lgamma(count + 1) for count in range(256)])

# error_model="numpy": a check for division by zero would keep the loops from being vectorised.
# contract allows fused multiply-add; reordering would break the two-part log 2 and the order of sums.
options = {"error_model": "numpy", "fastmath": {"contract", "nsz"}}
inlined, row_pass = njit(**options, forceinline=True), njit(**options)


@intrinsic
def _float_of(typing_context, bits):
    """Read 32 bits as a float."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def _bits_of(typing_context, number):
    """Read a float as 32 bits."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@inlined
def _exp(x):
    """Factors (s, q) of exp(x) = s + s q, with s a power of two, for x <= 0. Also expm1(x) = (s - 1) + s q."""
    x = x if x > LOWEST else LOWEST
    k = np.floor(x * LOG2E + HALF)
    x = (x - k * LN2_HIGH) - k * LN2_LOW
    x2 = x * x
    q = (((E1 * x + E0) + (E3 * x + E2) * x2) + (E5 * x + E4) * (x2 * x2)) * x2 + x
    return _float_of(i32((i32(k) + BIAS) << MANTISSA)), q


@inlined
def _log1p_rest(x):
    """Return c(x) in log(1 + x) = x - x^2 / 2 + x^2 c(x), for sqrt(1/2) <= 1 + x <= sqrt(2)."""
    x2 = x * x
    x4 = x2 * x2
    low = (L1 * x + L0) + (L3 * x + L2) * x2
    high = (L5 * x + L4) + (L7 * x + L6) * x2
    return x * (low + (high + L8 * x4) * x4)


@inlined
def _log1p(x):
    """Return log(1 + x) for 0 <= x <= 1."""
    big = x > SQRT2_MINUS_1
    x = (x - ONE) * HALF if big else x
    return x - x * x * (HALF - _log1p_rest(x)) + (LN2 if big else ZERO)


@inlined
def _log(p, minus):
    """Return log(p) for 0 < p <= 1, given minus = 1 - p to full accuracy."""
    k = i32(i32(_bits_of(p) - SQRT_HALF_BITS) >> MANTISSA)
    x = -minus if k == 0 else _float_of(i32(_bits_of(p) - i32(k << MANTISSA))) - ONE
    return x - x * x * (HALF - _log1p_rest(x)) + f32(k) * LN2


@inlined
def _odds(d):
    """Return e = exp(-|d|), log(1 + e), sigmoid(d), and softplus(d) - sigmoid(d) without cancellation for d << 0."""
    s, q = _exp(-abs(d))
    e = s + s * q
    r = ONE / (ONE + e)
    log1p = _log1p(e)
    positive = d > ZERO
    sigmoid = r if positive else e * r
    plain = log1p + (d if positive else ZERO) - sigmoid
    near_zero = e * e * ((r - HALF) + _log1p_rest(e))
    return e, log1p, sigmoid, plain if positive or e > SQRT2_MINUS_1 else near_zero


@row_pass
def _nb_row(eta, tau, scaled_theta, grad, e, log1p, softplus, rest):
    for j in range(eta.size):
        e[j], log1p[j], sigmoid, tail = _odds(eta[j] - tau[j])
        grad[j] = scaled_theta[j] * sigmoid
        softplus[j] += tail + sigmoid
        rest[j] += tail


@row_pass
def _zinb_row(eta, tau, theta, logit, grad, grad_logit, e, log1p, rest, log1p_logit, inflated, loss, slope, scale):
    for j in range(eta.size):
        e[j], log1p[j], grad[j], rest[j] = _odds(eta[j] - tau[j])
    for j in range(eta.size):
        s, q = _exp(-abs(logit[j]))
        e_logit = s + s * q
        log1p_logit[j] = _log1p(e_logit)
        r = ONE / (ONE + e_logit)
        inflated[j], counted = (r, e_logit * r) if logit[j] > ZERO else (e_logit * r, r)
        s, q = _exp(-theta[j] * (rest[j] + grad[j]))
        missed = counted * ((ONE - s) - s * q)
        counted *= s + s * q
        zero = inflated[j] + counted
        loss[j] = -_log(zero, missed)
        grad[j] *= counted / zero * theta[j] * scale
        slope[j] = counted / zero * rest[j]
        grad_logit[j] = -inflated[j] * missed / zero * scale


@inlined
def _rising(x, theta):
    """Return sum_{i<x} log(1 + i / theta) and sum_{i<x} i / (theta + i), continued to real x by Stirling's series.

    They are lgamma(theta + x) - lgamma(theta) - x log(theta) and x minus its derivative times theta,
    without the cancellation that makes those useless for large theta.
    """
    if x == 1:  # half of the counts in sparse data
        return 0.0, 0.0
    if x <= SMALL and x == np.floor(x):
        product, rate = 1.0, 0.0
        for i in range(1, int(x)):
            rate = rate * (1.0 + i / theta) + product * (i / theta)
            product *= 1.0 + i / theta
        return math.log(product), rate / product
    product, digamma = 1.0, 0.0
    for i in range(SMALL):
        product *= (theta + i) / (theta + x + i)
        digamma += 1.0 / (theta + i) - 1.0 / (theta + x + i)
    a, b = 1.0 / (theta + SMALL), 1.0 / (theta + SMALL + x)
    growth = math.log1p(x * a)
    stirling = (b - a) * (1 / 12) - (b**3 - a**3) * (1 / 360) + (b**5 - a**5) * (1 / 1260)
    log_rising = math.log(product) + (1.0 / b - 0.5) * growth - x + x * math.log1p(SMALL / theta) + stirling
    digamma += growth - (b - a) * 0.5 - (b**2 - a**2) * (1 / 12) + (b**4 - a**4) * (1 / 120) - (b**6 - a**6) * (1 / 252)
    return log_rising, x - theta * digamma


@inlined
def _positive_count(x, eta, tau, theta, e, log1p):
    """What a count x > 0 adds to theta * softplus(d): loss, gradient by log mean, gradient by log dispersion."""
    e, log1p, eta, tau = f64(e), f64(log1p), f64(eta), f64(tau)  # float() would leave them float32
    if x > LARGE:  # times which the float32 of the dense pass would be too coarse
        e = math.exp(-abs(eta - tau))
        log1p = math.log1p(e)
    log_rising, rate = _rising(x, theta)
    log_factorial = LOG_FACTORIAL[int(x)] if x < LOG_FACTORIAL.size and x == np.floor(x) else math.lgamma(x + 1.0)
    loss = x * (log1p - (tau if eta > tau else eta)) + log_factorial - log_rising
    sigmoid, complement = (1.0, e) if eta > tau else (e, 1.0)
    return loss, -x * complement / (1.0 + e), rate - x * sigmoid / (1.0 + e)


@partial(compiled, **options)
def nb_rows(counts, dispersion, log_mean, grad, first, last, sums):
    """Loss of the non-zeros of some rows, their gradient, and per gene sums: softplus, its rest, slope at non-zeros."""
    pointer, gene, value = counts
    tau, theta, scale = dispersion
    scaled_theta = (theta * scale).astype(np.float32)
    e, log1p = np.empty_like(tau), np.empty_like(tau)
    total = 0.0
    for i in range(first, last):
        _nb_row(log_mean[i], tau, scaled_theta, grad[i], e, log1p, sums[0], sums[1])
        for at in range(pointer[i], pointer[i + 1]):
            j, x = gene[at], f64(value[at])
            if x > 0:
                loss, by_mean, by_dispersion = _positive_count(x, log_mean[i, j], tau[j], theta[j], e[j], log1p[j])
                total += loss
                grad[i, j] += by_mean * scale
                sums[2, j] += by_dispersion
    return total


@partial(compiled, **options)
def zinb_rows(counts, dispersion, log_mean, logits, grad, grad_logits, first, last, sums):
    """Loss of the non-zeros of some rows, gradients, and per gene sums: loss of zeros, slope of it, slope at non-zeros."""
    pointer, gene, value = counts
    tau, theta, scale = dispersion
    theta32 = theta.astype(np.float32)
    row = np.empty((7, tau.size), np.float32)
    e, log1p, rest, log1p_logit, inflated, loss0, slope = row[0], row[1], row[2], row[3], row[4], row[5], row[6]
    total = 0.0
    for i in range(first, last):
        _zinb_row(
            log_mean[i],
            tau,
            theta32,
            logits[i],
            grad[i],
            grad_logits[i],
            e,
            log1p,
            rest,
            log1p_logit,
            inflated,
            loss0,
            slope,
            f32(scale),
        )
        for at in range(pointer[i], pointer[i + 1]):
            j, x = gene[at], f64(value[at])
            if x > 0:
                eta, d = log_mean[i, j], log_mean[i, j] - tau[j]
                loss, by_mean, by_dispersion = _positive_count(x, eta, tau[j], theta[j], e[j], log1p[j])
                total += loss + theta[j] * (max(d, ZERO) + log1p[j]) + (max(logits[i, j], ZERO) + log1p_logit[j])
                grad[i, j] = (theta[j] * (1.0 if d > 0 else e[j]) / (1.0 + e[j]) + by_mean) * scale
                grad_logits[i, j] = inflated[j] * scale
                sums[2, j] += theta[j] * rest[j] + by_dispersion
                loss0[j] = slope[j] = ZERO
        for j in range(tau.size):
            sums[0, j] += loss0[j]
            sums[1, j] += slope[j]
    return total
