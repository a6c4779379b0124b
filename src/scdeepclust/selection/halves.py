"""Two views of the same cells, made from what was read, and the features that each of them gives."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from .. import diffusion
from ..data.checks import one_of
from ..data.inputs import CPU
from ..data.raw import over_rows, to_median_depth, with_data

if TYPE_CHECKING:
    import torch

    from ..data import Inputs, Raw

SCHEMES = ("auto", "count_split", "gene_split")
N_PCS = 20  # where a method reads genes, its choices are still made in principal components
FEWEST_CELLS = 10
SHALLOWEST = 10  # counts, or genes: one of the halves of such a cell is empty once in 500 splits


def resolve_scheme(scheme: str, raw: Raw, allowed: tuple[str, ...] = SCHEMES) -> str:
    """How to hold a part of the data out: molecules of counts, genes of other values.

    Raises
    ------
    ValueError
        There is no such scheme, or the data hold no counts to split.
    """
    one_of("scheme", scheme, allowed)
    if scheme == "count_split" and raw.kind != "counts":
        what = "log-normalised values" if raw.kind == "lognorm" else "a representation"
        msg = (
            f"scheme='count_split' needs counts (non-negative integers), but found {what}; name the layer with counts "
            "(layer=...), or give scheme='gene_split'."
        )
        raise ValueError(msg)
    if scheme == "auto":
        return "count_split" if raw.kind == "counts" else "gene_split"
    return scheme


@dataclass(frozen=True)
class Halves:
    """Two views of the same cells whose noise is independent.

    Parameters
    ----------
    a, b
        What was read, in two halves.
    x, y
        Centred features of the halves, cells x features.
    same_axes
        Whether both have the same features, as halves of molecules do and halves of genes do not.
    """

    a: Raw
    b: Raw
    x: np.ndarray
    y: np.ndarray
    same_axes: bool


def halve(
    raw: Raw, scheme: str, inputs: Inputs, rng: np.random.Generator, *, seed: int, device: torch.device = CPU
) -> Halves:
    """Split molecules or genes, and derive features of both halves.

    Parameters
    ----------
    raw
        What was read.
    scheme
        `"count_split"` or `"gene_split"`.
    inputs
        How features are derived; an unfitted twin of it is fitted to the first half.
    rng
        Generator of the split.
    seed
        Seed of the PCA.
    device
        Where it is computed.
    """
    if scheme == "count_split":
        first, total, second, other = diffusion.thin(raw.values, raw.totals - raw.values.sum(1), rng)
        a = replace(raw, values=first, totals=np.maximum(total, 1.0))
        b = replace(raw, values=second, totals=np.maximum(other, 1.0))
        fitted, x = features(inputs, a, seed, device)
        y = fitted.project(b).numpy()
        return Halves(a, b, x - x.mean(0), y - y.mean(0), same_axes=True)
    if raw.kind == "rep":
        values = raw.values @ diffusion.rotation(raw.values.shape[1], rng)
        middle = values.shape[1] // 2
        a, b = replace(raw, values=values[:, :middle]), replace(raw, values=values[:, middle:])
    else:
        in_a = diffusion.split_columns(raw.values.mean(0), rng)
        a, b = (_own_depth(raw.genes(keep)) for keep in (in_a, ~in_a))
    (_, x), (_, y) = features(inputs, a, seed, device), features(inputs, b, seed, device)
    return Halves(a, b, x - x.mean(0), y - y.mean(0), same_axes=False)


def _own_depth(raw: Raw) -> Raw:
    """Depth counted in these genes alone: that of all genes would tell what the other half holds."""
    return replace(raw, totals=np.maximum(raw.values.sum(1), 1e-6), n_genes=raw.values.shape[1])


def log_normalised(raw: Raw) -> sparse.csr_array:
    """Log of one plus the counts at the median depth; other values as they are."""
    if raw.kind == "rep":
        return sparse.csr_array(raw.values)
    if raw.kind == "lognorm":
        return raw.values
    at_median = over_rows(raw.values, 1 / to_median_depth(raw.totals))
    return with_data(at_median, np.log1p(at_median.data).astype(np.float32))


def features(inputs: Inputs, raw: Raw, seed: int, device: torch.device = CPU) -> tuple[Inputs, np.ndarray]:
    """Fit an unfitted twin of `inputs`; returns it with the features of these cells."""
    twin = inputs.projecting(N_PCS)
    return twin, twin.fit(raw, seed=seed, device=device).numpy()


def cells_to_split(raw: Raw, scheme: str) -> np.ndarray:
    """Cells deep enough that both of their halves will hold something.

    Raises
    ------
    ValueError
        Too few cells or genes are left to choose anything by.
    """
    if len(raw) < FEWEST_CELLS:
        msg = f"{len(raw)} cells are too few to choose anything by; at least {FEWEST_CELLS} are needed."
        raise ValueError(msg)
    if raw.kind == "rep":
        if raw.values.shape[1] < 2:
            msg = "A representation of one column cannot be split; give more columns."
            raise ValueError(msg)
        return np.arange(len(raw))
    n_genes = raw.values.shape[1]
    if n_genes < 4:
        msg = f"{n_genes} genes are too few to hold some of them out; at least 4 are needed."
        raise ValueError(msg)
    depth = raw.values.sum(1) if scheme == "count_split" else np.diff(raw.values.indptr)
    what = "counts in the genes used" if scheme == "count_split" else "of the genes used"
    deep = np.flatnonzero(depth >= SHALLOWEST)
    if len(deep) < FEWEST_CELLS:
        msg = (
            f"Only {len(deep)} of {len(depth)} cells hold at least {SHALLOWEST} {what}, too few to "
            "split. Use more genes (mask_var=None), deeper cells, or give the choice yourself."
        )
        raise ValueError(msg)
    if len(deep) < len(depth):
        msg = (
            f"{len(depth) - len(deep)} of {len(depth)} cells hold fewer than {SHALLOWEST} {what}; "
            "they have no say in what is chosen."
        )
        warnings.warn(msg, UserWarning, stacklevel=4)
    return deep


def need_labelled(name: str, labels: np.ndarray, cells: np.ndarray) -> None:
    """Refuse a partition of hardly any of the cells that can be split."""
    n = int((labels[cells] >= 0).sum())
    if n < FEWEST_CELLS:
        msg = (
            f"Partition {name!r} has labels for {n} of the cells that can be split; at least {FEWEST_CELLS} are needed."
        )
        raise ValueError(msg)
