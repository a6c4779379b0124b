"""From what an AnnData holds to what a network sees: normalisation, scaling and PCA, fitted once and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from .cells import Cells, Rows

if TYPE_CHECKING:
    from ..losses.representation.reconstruction import Counts
    from .read import Raw

CLIP = 10.0  # z-scores above it are outliers of rare genes that would rule a squared error; as scanpy's tutorials do


class Inputs(nn.Module):
    """The transformation from stored values to features, as buffers, so that it is saved with the network.

    Counts are divided by the cell's size factor (total over median total of the cells fitted), transformed and, if
    asked, projected on principal components; log-normalised values skip the first two steps; a representation is only
    centred. The result is divided by one number, so that the mean square of a feature is one.

    Parameters
    ----------
    kind
        What is read: `"counts"`, `"lognorm"` or `"rep"`.
    transform
        `"sqrt"`, `"log1p"`, or `"scaled"` (log1p, z-scored by gene, clipped at 10).
    n_pcs
        Principal components, or None for genes.
    """

    median_total: Tensor
    mean: Tensor
    scale: Tensor
    components: Tensor
    spread: Tensor

    def __init__(self, kind: str, transform: str, n_pcs: int | None) -> None:
        super().__init__()
        self.kind, self.transform, self.n_pcs = kind, transform, n_pcs
        for name in ("median_total", "mean", "scale", "components", "spread"):
            self.register_buffer(name, torch.ones(1))

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that make an unfitted twin."""
        return {"kind": self.kind, "transform": self.transform, "n_pcs": self.n_pcs}

    @property
    def n_features(self) -> int:
        """Features that a network sees."""
        return self.components.shape[0] if self._projects else len(self.mean)

    @property
    def _projects(self) -> bool:
        return self.n_pcs is not None and self.kind != "rep"

    def fit(self, raw: Raw, *, seed: int) -> Tensor | None:
        """Learn the transformation; returns the features of the cells where they were computed on the way."""
        if self.kind == "rep":
            self.mean = torch.from_numpy(raw.values.mean(0))
            x = torch.from_numpy(raw.values) - self.mean
            self.spread = x.square().mean().sqrt().clamp_min(1e-12)
            return x / self.spread
        if self.kind == "counts":
            totals = raw.values.sum(1)
            self.median_total = torch.tensor([np.median(totals[totals > 0])], dtype=torch.float32)
        values = self._values(raw.values)
        mean = np.asarray(values.mean(0), dtype=np.float64).ravel()
        square = values.copy()
        square.data **= 2
        variance = np.maximum(np.asarray(square.mean(0), dtype=np.float64).ravel() - mean**2, 0)
        del square
        sd = np.sqrt(variance) if self.transform == "scaled" else np.ones_like(mean)
        sd[sd < 1e-6] = 1.0
        self.scale = torch.from_numpy(sd.astype(np.float32))
        self.mean = torch.from_numpy((mean / sd).astype(np.float32))
        if not self._projects:
            self.spread = torch.tensor(max(float(np.sqrt((variance / sd**2).mean())), 1e-12), dtype=torch.float32)
            return None
        return self._fit_components(self._scaled(values), seed)

    def _fit_components(self, values: sparse.csr_array, seed: int) -> Tensor:
        from sklearn.decomposition import PCA

        n_pcs = min(self.n_pcs, min(values.shape) - 1)
        pca = PCA(n_pcs, svd_solver="arpack", random_state=seed)
        x = torch.from_numpy(np.ascontiguousarray(pca.fit_transform(values), dtype=np.float32))
        self.components = torch.from_numpy(pca.components_.astype(np.float32))
        self.mean = torch.from_numpy(np.asarray(pca.mean_, dtype=np.float32).ravel())
        self.spread = x.square().mean().sqrt().clamp_min(1e-12)
        return x / self.spread

    def _values(self, matrix: sparse.csr_array) -> sparse.csr_array:
        """Normalised and transformed values, before scaling."""
        if self.kind != "counts":
            return matrix
        size = np.maximum(matrix.sum(1) / float(self.median_total), 1e-8)
        data = matrix.data / np.repeat(size, np.diff(matrix.indptr)).astype(np.float32)
        data = np.sqrt(data, out=data) if self.transform == "sqrt" else np.log1p(data, out=data)
        return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)

    def _scaled(self, values: sparse.csr_array) -> sparse.csr_array:
        if self.transform != "scaled":
            return values
        data = values.data / self.scale.numpy()[values.indices]
        # Centring is left to what follows, so that zeros stay unstored: z > CLIP means data > CLIP + mean.
        np.minimum(data, (CLIP + self.mean.numpy())[values.indices], out=data)
        return sparse.csr_array((data, values.indices, values.indptr), shape=values.shape)

    def project(self, matrix: sparse.csr_array) -> Tensor:
        """Features of cells by the fitted components."""
        values = self._scaled(self._values(matrix))
        components = self.components.cpu().numpy()
        x = values @ components.T - self.mean.cpu().numpy() @ components.T
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)) / self.spread.cpu()

    def features(self, rows: Counts, size: Tensor | None) -> Tensor:
        """Features of a minibatch where the network sees genes; the same as the sparse route, on the device."""
        value = rows.value
        if self.kind == "counts":
            value = value / size[rows.row, 0]
            value = value.sqrt() if self.transform == "sqrt" else value.log1p()
        if self.transform == "scaled":
            value = torch.minimum(value / self.scale[rows.gene], CLIP + self.mean[rows.gene])
        return (rows._replace(value=value).dense() - self.mean) / self.spread

    def cells(
        self, raw: Raw, *, device: torch.device, batch_size: int, count_likelihood: bool, x: Tensor | None = None
    ) -> Cells:
        """Put cells on a device; `x` are their features where :meth:`fit` has computed them already."""
        if x is None and (self.kind == "rep" or self._projects):
            if self.kind == "rep":
                x = (torch.from_numpy(raw.values) - self.mean.cpu()) / self.spread.cpu()
            else:
                x = self.project(raw.values)
        needs_rows = x is None or count_likelihood
        size = None
        if self.kind == "counts" and needs_rows:
            totals = torch.from_numpy(raw.values.sum(1).astype(np.float32))
            size = (totals / self.median_total.cpu()).clamp_min(1e-8)[:, None].to(device)
        covariates = None
        if raw.batches is not None:
            covariates = (torch.from_numpy(raw.batches.astype(np.int64)).to(device), len(raw.batch_categories))
        return Cells(
            device=device,
            batch_size=batch_size,
            x=None if x is None else x.to(device),
            rows=Rows(raw.values, device) if needs_rows else None,
            features=None if x is not None else self.features,
            size=size,
            covariates=covariates,
            count_likelihood=count_likelihood,
        )

    def log_mean(self, matrix: sparse.csr_array) -> Tensor:
        """Log of each gene's mean count at size factor one, where a count decoder starts."""
        size_total = max(float((matrix.sum(1) / float(self.median_total)).sum()), 1e-8)
        mean = np.asarray(matrix.sum(0), dtype=np.float64).ravel() / size_total
        return torch.from_numpy(np.log(np.maximum(mean, 1e-6)).astype(np.float32))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        for name in self._buffers:
            if f"{prefix}{name}" in state_dict:
                self._buffers[name] = torch.empty_like(state_dict[f"{prefix}{name}"])
        super()._load_from_state_dict(state_dict, prefix, *args)
