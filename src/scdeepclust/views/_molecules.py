"""Molecules drawn one by one, compiled by numba for the CPU: several times faster than binomial draws of a few each."""

from __future__ import annotations

import numpy as np

from ..kernels import compiled

MOST = 64  # molecules of one gene in one cell; above that a binomial draw is faster
u64 = np.uint64
STEP, FIRST, SECOND = u64(0x9E3779B97F4A7C15), u64(0xBF58476D1CE4E5B9), u64(0x94D049BB133111EB)
LOW, HALF = u64(0xFFFFFFFF), u64(32)


def two_parts(value, row, share, seed, first, second):  # noqa: PLR0917 numba takes arrays by place
    """Draw each of up to MOST molecules into the first view, the second, or neither, with their cell's share for each.

    The generator is splitmix64 (Steele, Lea, Flood, OOPSLA 2014, doi 10.1145/2660193.2660195), 32 bits a molecule.
    """
    state, bits, left = u64(seed), u64(0), False
    for i in range(len(value)):
        n = value[i]
        if n > MOST:
            continue
        limit = np.float64(share[row[i]]) * 4294967296.0
        a, b = u64(limit), u64(2 * limit)
        x = y = 0
        for _ in range(int(n)):
            if left:
                bits >>= HALF
            else:
                state += STEP
                bits = (state ^ (state >> u64(30))) * FIRST
                bits = (bits ^ (bits >> u64(27))) * SECOND
                bits ^= bits >> u64(31)
            left = not left
            drawn = bits & LOW
            x += drawn < a
            y += drawn < b
        first[i], second[i] = x, y - x


two_parts = compiled(two_parts)
