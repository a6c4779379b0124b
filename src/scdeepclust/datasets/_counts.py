"""What both simulators share: cells per group, gamma-Poisson counts, and the AnnData they end in."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from scipy.sparse import csr_matrix

CELLS_AT_ONCE = 2_048  # dense genes x cells in memory
GENE_SHARE = 0.3  # genes that change in one segment or type


def check_numbers(least: float, **values: float) -> None:
    """Refuse parameters that are not finite numbers of at least ``least``."""
    for name, value in values.items():
        if not isinstance(value, numbers.Real) or not np.isfinite(value) or value < least:
            msg = f"{name} must be a number of at least {least}, but is {value!r}."
            raise ValueError(msg)


def check_integers(least: int, **values: int) -> None:
    """Refuse parameters that are not whole numbers of at least ``least``."""
    for name, value in values.items():
        if not isinstance(value, numbers.Integral) or value < least:
            msg = f"{name} must be a whole number of at least {least}, but is {value!r}."
            raise ValueError(msg)


def split_cells(n_obs: int, weights: np.ndarray, names: Sequence[str], argument: str) -> np.ndarray:
    """Share the cells out in proportion to the weights (largest remainder); each must get one."""
    exact = n_obs * weights / weights.sum()
    sizes = np.floor(exact).astype(int)
    sizes[np.argsort(sizes - exact, kind="stable")[: n_obs - sizes.sum()]] += 1
    if (sizes == 0).any():
        empty = [names[i] for i in np.flatnonzero(sizes == 0)]
        msg = f"n_obs={n_obs} leaves no cell for {empty} under {argument}: raise n_obs or even out {argument}."
        raise ValueError(msg)
    return sizes


def changed_genes(rng: np.random.Generator, shape: tuple[int, int], separation: float) -> np.ndarray:
    """Draw log-fold changes: normal for a share of the genes, 0 for the rest."""
    return separation * rng.standard_normal(shape) * (rng.random(shape) < GENE_SHARE)


def draw_counts(
    log_expression: Callable[[slice], np.ndarray],
    size_factors: np.ndarray,
    *,
    mean_depth: float,
    dispersion: float,
    return_rates: bool,
    rng: np.random.Generator,
) -> tuple[csr_matrix, np.ndarray | None]:
    """Draw negative binomial counts, with the expected counts at size factor 1 if asked for."""
    from scipy.sparse import csr_matrix, vstack

    counts, rates = [], []
    for start in range(0, len(size_factors), CELLS_AT_ONCE):
        rows = slice(start, start + CELLS_AT_ONCE)
        logs = log_expression(rows)
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        rate = mean_depth * weights / weights.sum(axis=1, keepdims=True)
        mean = rate * size_factors[rows, None]
        if dispersion > 0:
            mean *= rng.gamma(1 / dispersion, dispersion, size=mean.shape)
        counts.append(csr_matrix(rng.poisson(mean).astype(np.float32)))
        if return_rates:
            rates.append(rate.astype(np.float32))
    return vstack(counts, format="csr"), np.concatenate(rates) if return_rates else None


def assemble(
    counts: csr_matrix,
    rates: np.ndarray | None,
    groups: np.ndarray,
    names: Sequence[str],
    *,
    obs: dict[str, np.ndarray],
    params: dict[str, Any],
    simulator: str,
) -> AnnData:
    """Build the AnnData with labels and an account of its making."""
    import pandas as pd
    from anndata import AnnData

    if not isinstance(params["random_state"], numbers.Integral):
        params = {**params, "random_state": "generator of the caller"}
    source = {
        "X": "simulated integer counts (negative binomial)",
        "citation": f"scdeepclust.datasets.{simulator}",
        "notes": "cell_type is the truth of the simulation.",
        "raw_counts": True,
        "params": params,
    }
    index = pd.Index([f"cell{i}" for i in range(counts.shape[0])])
    columns = {"cell_type": pd.Categorical.from_codes(groups, categories=list(names)), **obs}
    var = pd.DataFrame(index=pd.Index([f"gene{i}" for i in range(counts.shape[1])]))
    layers = {} if rates is None else {"rate": rates}
    return AnnData(X=counts, obs=pd.DataFrame(columns, index=index), var=var, uns={"source": source}, layers=layers)
