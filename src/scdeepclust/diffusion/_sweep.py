"""The loss of every number of neighbours in one pass, compiled."""

from __future__ import annotations

from functools import partial

import numba as nb
import numpy as np

from ..kernels import compiled


@partial(compiled, parallel=True, error_model="numpy")
def sweep(rows, neighbors, weights, s_data, s_indices, s_indptr, t_data, t_indices, t_indptr, n_genes):
    """Squared error of the weighted mean of the first 1, 2, ... neighbours against a target, summed over genes.

    The running sum S grows by w·x at each neighbour x, so ‖S‖² grows by 2w⟨S, x⟩ + w²‖x‖² and ⟨S, t⟩ by w⟨x, t⟩: only
    values that are not zero are ever touched.
    """
    n_rows, k_max = neighbors.shape
    loss = np.empty((n_rows, k_max))
    # A block of rows shares its workspace: making one for each row would cost as much as filling it.
    n_blocks = min(n_rows, 64)
    for block in nb.prange(n_blocks):
        running = np.zeros(n_genes, dtype=np.float32)
        target = np.zeros(n_genes, dtype=np.float32)
        for r in range(block * n_rows // n_blocks, (block + 1) * n_rows // n_blocks):
            i = rows[r]
            tt = 0.0
            for p in range(t_indptr[i], t_indptr[i + 1]):
                target[t_indices[p]] = t_data[p]
                tt += t_data[p] * t_data[p]
            ss, st, total = 0.0, 0.0, 0.0
            for k in range(k_max):
                j, w = neighbors[r, k], weights[r, k]
                if j >= 0:
                    sx, xx, xt = nb.float64(0.0), nb.float64(0.0), nb.float64(0.0)
                    for p in range(s_indptr[j], s_indptr[j + 1]):
                        g, x = s_indices[p], s_data[p]
                        sx += running[g] * x
                        xx += x * x
                        xt += target[g] * x
                        running[g] += w * x
                    ss += 2 * w * sx + w * w * xx
                    st += w * xt
                    total += w
                loss[r, k] = ss / (total * total) - 2 * st / total + tt if total > 0 else tt
            target[:] = 0  # all of it: that is a stretch of memory, values here and there are many more visits
            running[:] = 0
    return loss
