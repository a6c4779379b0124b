"""From what an AnnData holds to what a network sees: normalisation, scaling and PCA, fitted once and kept."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .. import views
from ..resizable import Resizable
from .cells import CHUNK, Cells, one_hot
from .checks import one_of, whole_number
from .components import moments, principal_components
from .correction import Correction
from .raw import over_rows, with_data
from .rows import Rows

if TYPE_CHECKING:
    from scipy import sparse

    from ..losses.representation.reconstruction import Counts
    from .raw import Raw

TRANSFORMS = ("sqrt", "log1p", "log1p_counts")
CPU = torch.device("cpu")
CLIP = 10.0  # standard deviations above a gene's mean; higher values of rare genes would rule a squared error


class Inputs(Resizable):
    """The transformation from stored values to features, as buffers, so that it is saved with the network.

    Counts are divided by the cell's size factor (total over median total of the cells fitted), transformed and, if
    asked, projected on principal components; log-normalised values skip the first two steps; a representation is
    centred and turned to its principal axes. The result is divided by one number, so that the mean square of a feature is one.
    Where cells have covariates, principal axes are then corrected for them (:class:`Correction`).

    Parameters
    ----------
    kind
        What is read: `"counts"`, `"lognorm"` or `"rep"`.
    transform
        `"sqrt"` or `"log1p"`, of counts; `"log1p_counts"` is the logarithm of one plus the counts of a cell whatever its
        size factor, neither centred nor scaled, as scvi-tools' networks read them.
    gene_scaling
        Each gene is divided by this power of its standard deviation: 0 leaves genes as they are, 1 gives z-scores.
    n_pcs
        Principal components, or None for genes.
    """

    median_total: Tensor
    used_share: Tensor
    n_genes: Tensor
    mean: Tensor
    scale: Tensor
    ceiling: Tensor
    components: Tensor
    spread: Tensor

    def __init__(self, kind: str, transform: str, gene_scaling: float, n_pcs: int | None) -> None:
        super().__init__()
        one_of("transform", transform, TRANSFORMS)
        if isinstance(gene_scaling, bool) or not isinstance(gene_scaling, Real) or not 0 <= gene_scaling <= 1:
            msg = f"gene_scaling={gene_scaling!r} must be a number from 0 to 1."
            raise ValueError(msg)
        n_pcs = None if n_pcs is None else whole_number("n_pcs", n_pcs)
        if transform == "log1p_counts" and n_pcs is not None:
            msg = f"transform='log1p_counts' is of genes, and n_pcs={n_pcs} asks for components; give n_pcs=None."
            raise ValueError(msg)
        self.kind, self.transform, self.gene_scaling, self.n_pcs = kind, transform, gene_scaling, n_pcs
        for name in ("median_total", "used_share", "n_genes", "mean", "scale", "ceiling", "components", "spread"):
            self.register_buffer(name, torch.ones(1))
        self.correction = Correction()
        self.batch_share: float | None = None  # of the features' variance, which correcting the cells fitted took away

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that make an unfitted twin."""
        return {
            "kind": self.kind,
            "transform": self.transform,
            "gene_scaling": self.gene_scaling,
            "n_pcs": self.n_pcs,
        }

    @property
    def n_features(self) -> int:
        """Features that a network sees."""
        return self.components.shape[0] if self.principal else len(self.mean)

    @property
    def principal(self) -> bool:
        """Whether features are principal axes, the most important first."""
        return self.kind == "rep" or self._projects

    @property
    def _projects(self) -> bool:
        return self.n_pcs is not None and self.kind != "rep"

    def projecting(self, n_pcs: int) -> Inputs:
        """An unfitted twin that gives principal components, `n_pcs` where it would give genes: choices are made in these."""
        if self.transform == "log1p_counts":
            return Inputs(self.kind, "sqrt", 0.5, n_pcs)
        return Inputs(**self.config | {"n_pcs": self.n_pcs or n_pcs})

    def fit(self, raw: Raw, *, seed: int, device: torch.device = CPU) -> Tensor | None:
        """Learn the transformation; returns the features of the cells where they were computed on the way.

        Both stay on the CPU; `device` is where components are looked for.
        """
        x = self._fit_features(raw, seed, device)
        if x is None or raw.covariates is None or max(map(len, raw.categories)) == 1:
            return x
        categories = _categories(raw)
        self.correction.fit(x, categories, seed=seed)
        corrected = self._corrected(x, categories)
        self.batch_share = 1 - float(corrected.var(0).sum() / x.var(0).sum())
        return corrected

    def _fit_features(self, raw: Raw, seed: int, device: torch.device) -> Tensor | None:
        if self.kind == "rep":
            return self._fit_axes(raw.values)
        if self.kind == "counts":
            self.median_total = torch.tensor(np.median(raw.totals), dtype=torch.float32)
            self.used_share = torch.tensor(np.median(raw.values.sum(1) / raw.totals), dtype=torch.float32)
            self.n_genes = torch.tensor(raw.n_genes)
        if self.transform == "log1p_counts":
            n = raw.values.shape[1]
            self.mean, self.scale = torch.zeros(n), torch.ones(n)
            return None
        values = self._values(raw)
        mean, sd = moments(values)
        if (sd < 1e-6).all():
            msg = f"All {len(raw)} cells have the same values in the genes used; there is nothing to tell apart."
            raise ValueError(msg)
        scale = np.where(sd < 1e-6, 1.0, sd) ** self.gene_scaling
        self.scale = torch.from_numpy(scale.astype(np.float32))
        self.mean = torch.from_numpy((mean / scale).astype(np.float32))
        self.ceiling = torch.from_numpy(((mean + CLIP * sd) / scale).astype(np.float32))
        if not self._projects:
            spread = np.sqrt(((sd / scale) ** 2).mean())
            self.spread = torch.tensor(max(spread, 1e-12), dtype=torch.float32)
            return None
        return self._fit_components(self._scaled(values), seed, device)

    def _fit_axes(self, values: np.ndarray) -> Tensor:
        """Turn a representation to its principal axes; nothing is lost, and the first axes matter most."""
        mean = values.mean(0, dtype=np.float64)
        centred = values - mean
        _, axes = np.linalg.eigh(centred.T @ centred)
        axes = axes[:, ::-1].T
        axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
        self.components = torch.from_numpy(np.ascontiguousarray(axes, dtype=np.float32))
        self.mean = torch.from_numpy(mean.astype(np.float32))
        self.spread = torch.tensor(max(np.sqrt((centred**2).mean()), 1e-12), dtype=torch.float32)
        return torch.from_numpy((centred @ axes.T).astype(np.float32)) / self.spread

    def _fit_components(self, values: sparse.csr_array, seed: int, device: torch.device) -> Tensor:
        n_pcs = min(self.n_pcs, min(values.shape) - 1)
        x, self.components, self.mean = principal_components(values, n_pcs, device=device, seed=seed)
        self.spread = x.square().mean().sqrt().clamp_min(1e-12)
        return x / self.spread

    def size(self, raw: Raw) -> np.ndarray:
        """Size factor of each cell: its total over all genes by the median total.

        New cells may come with far fewer genes than in training, or far more; then the total over the model's genes,
        divided by the share that these had in training, stands for it.
        """
        totals, n_genes = raw.totals, int(self.n_genes)
        if raw.n_genes < (n_genes + len(self.scale)) / 2 or raw.n_genes > 1.5 * n_genes:
            totals = raw.values.sum(1) / float(self.used_share)
        return np.maximum(totals / float(self.median_total), 1e-8).astype(np.float32)

    def _values(self, raw: Raw) -> sparse.csr_array:
        """Normalised and transformed values, before scaling."""
        matrix = raw.values
        if self.kind != "counts":
            return matrix
        values = over_rows(matrix, self.size(raw))
        (np.sqrt if self.transform == "sqrt" else np.log1p)(values.data, out=values.data)
        return values

    def _scaled(self, values: sparse.csr_array) -> sparse.csr_array:
        """Scaled and clipped values; centring is left to what follows, so that zeros stay unstored."""
        data = values.data / self.scale.cpu().numpy()[values.indices]
        np.minimum(data, self.ceiling.cpu().numpy()[values.indices], out=data)
        return with_data(values, data)

    def project(self, raw: Raw) -> Tensor:
        """Features of cells by the fitted components."""
        values = raw.values if self.kind == "rep" else self._scaled(self._values(raw))
        components = self.components.cpu().numpy()
        x = values @ components.T - self.mean.cpu().numpy() @ components.T
        x = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)) / self.spread.cpu()
        return x if raw.covariates is None else self._corrected(x, _categories(raw))

    def _corrected(self, x: Tensor, categories: Tensor) -> Tensor:
        """Features without what sets categories apart; some cells at a time, as each needs categories x features."""
        here = self.correction.centres.device
        parts = zip(x.split(CHUNK), categories.split(CHUNK), strict=True)
        return torch.cat([self.correction(*(part.to(here) for part in both)).cpu() for both in parts])

    def features(
        self, rows: Counts, size: Tensor | None, covariates: Tensor | None = None, *, kept: Tensor | None = None
    ) -> Tensor:
        """Features of a minibatch from its values, on the device; the same as by the sparse route.

        Genes that are not `kept` (booleans, cells x genes or 1 x genes; None keeps all) stand at their mean, and the
        others are scaled up to the same expected size.
        """
        value = rows.value
        if self.transform == "log1p_counts":
            return rows._replace(value=value.log1p()).dense()
        if self.kind == "counts":
            value = value / size[rows.row, 0]
            value = value.sqrt() if self.transform == "sqrt" else value.log1p()
        value = torch.minimum(value / self.scale[rows.gene], self.ceiling[rows.gene])
        x = rows._replace(value=value).dense() - self.mean
        x = x if kept is None else views.kept_of(x, kept)
        x = (x @ self.components.T if self._projects else x) / self.spread
        return self.correction(x, covariates)

    def expression(self, x: Tensor) -> Tensor:
        """Values of genes that have these features, cells x genes: counts at size factor one, or log-normalised values.

        The reverse of :meth:`features` but for what components and clipping leave out. Counts come lower than their
        mean: the square of a mean root is less than the mean.
        """
        x = x * self.spread
        x = ((x @ self.components if self._projects else x) + self.mean).clamp_min(0) * self.scale
        if self.kind != "counts":
            return x
        return x.square() if self.transform == "sqrt" else x.expm1()

    def mean_expression(self, raw: Raw) -> Tensor:
        """Mean of each gene over cells, in the units of :meth:`expression`."""
        values = raw.values
        if self.kind == "counts":
            values = over_rows(values, self.size(raw))
        return torch.from_numpy(moments(values)[0].astype(np.float32))

    def cells(
        self, raw: Raw, *, device: torch.device, batch_size: int, with_counts: bool, x: Tensor | None = None
    ) -> Cells:
        """Put cells on a device; `x` are their features where :meth:`fit` has computed them already."""
        if x is None and self.principal:
            x = self.project(raw)
        with_counts = with_counts and self.kind != "rep"
        needs_rows = x is None or with_counts
        size = None
        if self.kind == "counts" and needs_rows:
            size = torch.from_numpy(self.size(raw))[:, None].to(device)
        covariates = None
        if raw.covariates is not None:
            covariates = (torch.from_numpy(raw.covariates).to(device), tuple(map(len, raw.categories)))
        labels = None if raw.labels is None else torch.from_numpy(raw.labels).to(device)
        return Cells(
            device=device,
            batch_size=batch_size,
            x=None if x is None else x.to(device),
            rows=Rows(raw.values, device) if needs_rows else None,
            features=None if self.kind == "rep" else self.features,
            size=size,
            covariates=covariates,
            with_counts=with_counts,
            labels=labels,
        )

    def log_mean(self, raw: Raw) -> Tensor:
        """Log of each gene's mean count at size factor one, where a count decoder starts."""
        mean = np.asarray(raw.values.sum(0), dtype=np.float64).ravel() / self.size(raw).sum(dtype=np.float64)
        return torch.from_numpy(np.log(np.maximum(mean, 1e-6)).astype(np.float32))

    def log_depth(self) -> Tensor:
        """Log of the counts, in the genes used, of a cell at size factor one."""
        return (self.median_total * self.used_share).log()


def _categories(raw: Raw) -> Tensor:
    return one_hot(torch.from_numpy(raw.covariates), [len(names) for names in raw.categories])
