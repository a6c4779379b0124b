"""Principal components of sparse values: by scikit-learn, or on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .cells import CHUNK
from .rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scipy import sparse

MOST_GENES = 5_000  # whose covariance a GPU is given to hold
MANY_CELLS = 65_536  # summed up at once, so that what is made for it stays small


def principal_components(
    values: sparse.csr_array, n_pcs: int, *, device: torch.device, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (cells x `n_pcs`, on the CPU), components (`n_pcs` x genes, the largest loading positive) and mean of each gene.

    On a GPU by the eigenvectors of the covariance, which takes it a fraction of a second for 100,000 cells; else, and with
    more than 5,000 genes, by scikit-learn.
    """
    if device.type == "cuda" and values.shape[1] <= MOST_GENES:
        return by_covariance(values, n_pcs, device)
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    pca = PCA(n_pcs, svd_solver="arpack", random_state=seed)
    # Dense products are small beside the sparse ones: threads would wait for each other in them.
    with threadpool_limits(1, "blas"):
        scores = torch.from_numpy(np.ascontiguousarray(pca.fit_transform(values), dtype=np.float32))
    mean = torch.from_numpy(np.asarray(pca.mean_, dtype=np.float32).ravel())
    return scores, torch.from_numpy(pca.components_.astype(np.float32)), mean


def by_covariance(values: sparse.csr_array, n_pcs: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The same from the covariance of the genes, summed up over chunks of cells."""
    n_obs, n_genes = values.shape
    mean = torch.as_tensor(moments(values)[0].astype(np.float32), device=device)

    def centred() -> Iterator[Tensor]:
        for first in range(0, n_obs, CHUNK):
            rows = Rows(values[first : first + CHUNK], device, padded=True)
            yield rows[torch.arange(rows.shape[0], device=device)].dense() - mean

    scatter = torch.zeros(n_genes, n_genes, dtype=torch.float64, device=device)
    for cells in centred():
        scatter += cells.T @ cells
    components = torch.linalg.eigh(scatter).eigenvectors[:, -n_pcs:].flip(1).T
    components *= components.gather(1, components.abs().argmax(1, keepdim=True)).sign()
    components = components.float().contiguous()
    scores = torch.cat([(cells @ components.T).cpu() for cells in centred()])
    return scores, components.cpu(), mean.cpu()


def moments(values: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, summed up in double precision."""
    (n_obs, n_genes), (mean, square) = values.shape, np.zeros((2, values.shape[1]))
    for first in range(0, n_obs, MANY_CELLS):
        some = slice(values.indptr[first], values.indptr[min(first + MANY_CELLS, n_obs)])
        gene, value = values.indices[some], values.data[some].astype(np.float64)
        mean += np.bincount(gene, value, n_genes) / n_obs
        square += np.bincount(gene, value**2, n_genes) / n_obs
    return mean, np.sqrt(np.maximum(square - mean**2, 0))
