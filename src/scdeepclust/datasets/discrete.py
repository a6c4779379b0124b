"""Cells of discrete types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._counts import assemble, changed_genes, check_integers, check_numbers, draw_counts, split_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def simulate_types(
    n_obs: int = 1_000,
    n_vars: int = 500,
    *,
    n_types: int = 5,
    proportions: Sequence[float] | None = None,
    separation: float = 1.5,
    mean_depth: float = 1_500.0,
    depth_sd: float = 0.3,
    dispersion: float = 0.2,
    return_rates: bool = False,
    random_state: int | np.random.Generator = 0,
) -> AnnData:
    """Simulate counts of discrete cell types, to see whether a method finds what any method should.

    Every type differs from one common profile in its own share of the genes. Lower ``separation`` or
    ``mean_depth`` make it hard, ``proportions`` makes types rare.

    Parameters
    ----------
    n_obs
        Number of cells.
    n_vars
        Number of genes.
    n_types
        Number of types.
    proportions
        Share of every type, scaled to sum to 1; equal by default.
    separation
        Standard deviation of the log-fold change of the genes that differ; 0 gives one cloud.
    mean_depth
        Expected counts of a cell.
    depth_sd
        Standard deviation of the log size factors.
    dispersion
        Excess of the variance: mean + dispersion x mean squared; 0 gives Poisson counts.
    return_rates
        Keep the true expected counts at size factor 1 in ``layers["rate"]`` (dense).
    random_state
        Seed, or a generator.

    Returns
    -------
    Counts (CSR float32) with ``obs["cell_type"]`` (``"type0"``, ...), ``obs["size_factor"]`` and
    ``uns["source"]``.

    Raises
    ------
    ValueError
        If a parameter is out of range, ``proportions`` does not fit ``n_types``, or a type would have no cell.

    References
    ----------
    After Zappia, Phipson and Oshlack (2017), Splatter, Genome Biology 18:174, doi:10.1186/s13059-017-1305-0.

    Examples
    --------
    >>> from scdeepclust.datasets import simulate_types
    >>> adata = simulate_types(100, 50, n_types=2, proportions=[0.9, 0.1])
    >>> adata.obs["cell_type"].value_counts().to_dict()
    {'type0': 90, 'type1': 10}
    """
    params = {key: value for key, value in locals().items() if key not in ("n_obs", "n_vars")}
    check_integers(2, n_vars=n_vars)
    check_integers(1, n_obs=n_obs, n_types=n_types)
    check_numbers(1, mean_depth=mean_depth)
    check_numbers(0, separation=separation, depth_sd=depth_sd, dispersion=dispersion)
    weights = np.ones(n_types) if proportions is None else np.asarray(proportions, dtype=float)
    if weights.shape != (n_types,) or not np.isfinite(weights).all() or (weights <= 0).any():
        msg = f"proportions must be {n_types} positive numbers (one a type, n_types={n_types}), but is {proportions!r}."
        raise ValueError(msg)
    rng = np.random.default_rng(random_state)
    names = [f"type{i}" for i in range(n_types)]
    sizes = split_cells(n_obs, weights, names, "proportions")
    types = rng.permutation(np.repeat(np.arange(n_types), sizes))
    size_factors = rng.lognormal(-(depth_sd**2) / 2, depth_sd, size=n_obs)
    profiles = rng.standard_normal(n_vars) + changed_genes(rng, (n_types, n_vars), separation)
    counts, rates = draw_counts(
        lambda rows: profiles[types[rows]],
        size_factors,
        mean_depth=mean_depth,
        dispersion=dispersion,
        return_rates=return_rates,
        rng=rng,
    )
    params["proportions"] = (weights / weights.sum()).tolist()
    obs = {"size_factor": size_factors}
    return assemble(counts, rates, types, names, obs=obs, params=params, simulator="simulate_types")
