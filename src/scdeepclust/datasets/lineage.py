"""Cells on a branching tree whose segments, order and rates are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._counts import assemble, changed_genes, check_integers, check_numbers, draw_counts, split_cells

if TYPE_CHECKING:
    from anndata import AnnData

SWITCH_WIDTH = 0.5  # part of a segment over which one gene changes


def simulate_lineage(
    n_obs: int = 1_000,
    n_vars: int = 500,
    *,
    n_branches: int = 4,
    separation: float = 1.0,
    imbalance: float = 1.0,
    mean_depth: float = 1_500.0,
    depth_sd: float = 0.3,
    dispersion: float = 0.2,
    return_rates: bool = False,
    random_state: int | np.random.Generator = 0,
) -> AnnData:
    """Simulate counts of cells along a binary tree, to ask whether a clustering or a space keeps lineages.

    A root segment splits in two until there are ``n_branches`` ends. Along a segment a share of the genes
    changes, each at its own time, from the state the parent segment ended in: neighbouring segments share
    expression, siblings drift apart. Counts are gamma-Poisson around rate x size factor.

    Parameters
    ----------
    n_obs
        Number of cells.
    n_vars
        Number of genes.
    n_branches
        Number of ends (leaves); the tree has ``2 * n_branches - 1`` segments.
    separation
        Standard deviation of the log-fold change over a segment of the genes that change.
    imbalance
        Cells in the fullest segment over cells in the emptiest one; 1 gives equal segments.
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
    Counts (CSR float32) with ``obs["cell_type"]`` (segment, ``"S0"`` is the root), ``obs["pseudotime"]``
    (0 to 1 from the root), ``obs["size_factor"]``, ``uns["lineage_edges"]`` (parent and child segments),
    ``uns["iroot"]`` (first cell in pseudotime) and ``uns["source"]``.

    Raises
    ------
    ValueError
        If a parameter is out of range, or a segment would have no cell.

    References
    ----------
    After Papadopoulos, Parra and Soeding (2019), PROSSTT, Bioinformatics 35:3517-3519,
    doi:10.1093/bioinformatics/btz078.

    Examples
    --------
    >>> from scdeepclust.datasets import simulate_lineage
    >>> adata = simulate_lineage(200, 50, n_branches=2)
    >>> adata.uns["lineage_edges"].tolist()
    [['S0', 'S1'], ['S0', 'S2']]
    """
    params = {key: value for key, value in locals().items() if key not in ("n_obs", "n_vars")}
    check_integers(2, n_obs=n_obs, n_vars=n_vars, n_branches=n_branches)
    check_numbers(0, separation=separation, depth_sd=depth_sd, dispersion=dispersion)
    check_numbers(1, imbalance=imbalance, mean_depth=mean_depth)
    rng = np.random.default_rng(random_state)
    parents = _binary_tree(n_branches)
    names = [f"S{i}" for i in range(len(parents))]
    segment, time = _place_cells(rng, n_obs, names, imbalance)
    size_factors = rng.lognormal(-(depth_sd**2) / 2, depth_sd, size=n_obs)
    starts, changes, onsets = _programme(rng, parents, n_vars, separation)

    def log_expression(rows: slice) -> np.ndarray:
        s = segment[rows]
        done = np.clip((time[rows, None] - onsets[s]) / SWITCH_WIDTH, 0, 1)
        return starts[s] + changes[s] * done**2 * (3 - 2 * done)

    counts, rates = draw_counts(
        log_expression,
        size_factors,
        mean_depth=mean_depth,
        dispersion=dispersion,
        return_rates=return_rates,
        rng=rng,
    )
    depth = np.zeros(len(parents))
    for child, parent in enumerate(parents[1:], start=1):
        depth[child] = depth[parent] + 1
    pseudotime = (depth[segment] + time) / (depth.max() + 1)
    obs = {"pseudotime": pseudotime, "size_factor": size_factors}
    adata = assemble(counts, rates, segment, names, obs=obs, params=params, simulator="simulate_lineage")
    adata.uns["lineage_edges"] = np.array([[names[p], names[c]] for c, p in enumerate(parents) if c])
    adata.uns["iroot"] = int(pseudotime.argmin())
    return adata


def _binary_tree(n_leaves: int) -> list[int]:
    parents, leaves = [-1], [0]
    while len(leaves) < n_leaves:
        parent = leaves.pop(0)
        leaves += [len(parents), len(parents) + 1]
        parents += [parent, parent]
    return parents


def _place_cells(
    rng: np.random.Generator, n_obs: int, names: list[str], imbalance: float
) -> tuple[np.ndarray, np.ndarray]:
    weights = rng.permutation(np.geomspace(1, 1 / imbalance, len(names)))
    sizes = split_cells(n_obs, weights, names, "imbalance")
    return rng.permutation(np.repeat(np.arange(len(names)), sizes)), rng.random(n_obs)


def _programme(
    rng: np.random.Generator, parents: list[int], n_vars: int, separation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log expression at the start of every segment, its change over the segment, and when each gene begins."""
    changes = changed_genes(rng, (len(parents), n_vars), separation)
    onsets = rng.uniform(0, 1 - SWITCH_WIDTH, size=changes.shape)
    starts = np.empty_like(changes)
    starts[0] = rng.standard_normal(n_vars)
    for child, parent in enumerate(parents[1:], start=1):
        starts[child] = starts[parent] + changes[parent]
    return starts, changes, onsets
