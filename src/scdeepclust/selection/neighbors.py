"""How many principal components, neighbours and steps denoise best, by predicting what was held out."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import diffusion
from ..data import Inputs
from ..progress import bar
from .halves import cells_to_split, features, halve, log_normalised
from .table import chosen, rows_of, table_of, with_steps

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse

    from ..data import Raw
    from .grid import Grid

logger = logging.getLogger(__name__)

MOST_SCORED = 5_000  # a random sample of more cells predicts the loss of all to a fraction of a percent
SOME_GENES = 256
SPLITS_OF_EACH = 3  # for a number of neighbours for each cell
STEP_NEIGHBORS = (3, 5, 10, 20, 40)  # more steps pay with few neighbours only


@dataclass(frozen=True)
class Search:
    """What was tried, and what was chosen.

    Parameters
    ----------
    loss
        A row for each combination.
    choice, minimum
        The combination chosen, and that of the lowest loss.
    references
        Losses of predictors that use no neighbours.
    params
        What was asked for.
    """

    loss: pd.DataFrame = field(repr=False)
    choice: dict[str, Any]
    minimum: dict[str, Any]
    references: dict[str, float]
    params: dict[str, Any]


@dataclass(frozen=True)
class _Split:
    """Features that a graph is made of, and values that it averages and predicts."""

    x: np.ndarray
    source: sparse.csr_array
    target: sparse.csr_array


def choose_neighbors(raw: Raw, inputs: Inputs, grid: Grid, *, seed: int = 0, progress: bool = False) -> Search:
    """Search principal components x neighbours x weights, then steps, by a loss on values held out.

    Parameters
    ----------
    raw
        What was read.
    inputs
        How features are derived.
    grid
        What is tried.
    seed
        Seed.
    progress
        Whether to show a progress bar.
    """
    grid = grid.checked(raw)
    rng = np.random.default_rng(seed)
    cells = cells_to_split(raw, grid.scheme)
    few = raw.cells(cells)
    grid = grid.clipped(few)
    n_pcs, k = grid.n_pcs, grid.n_neighbors
    rows = np.arange(len(cells))
    if len(rows) > MOST_SCORED:
        rows = np.sort(rng.choice(rows, MOST_SCORED, replace=False))
    inputs = Inputs(**{**inputs.config, "n_pcs": max(n_pcs)})
    points = [(d, w) for d in n_pcs for w in grid.weights]
    losses = np.zeros((grid.n_splits, len(points), k), dtype=np.float64)
    of_cells = np.zeros((len(points), k, len(rows)), dtype=np.float32)
    references, splits = [], []
    shown = bar(total=grid.n_splits * len(n_pcs), desc="neighbours", disable=not progress, leave=False)
    for s in range(grid.n_splits):
        split = _split(few, grid.scheme, inputs, rng, seed)
        splits.append(split)
        references.append(diffusion.loss_of_mean(split.source, split.target)[rows].mean())
        for d in n_pcs:
            # No fewer than set the unit of weights.
            indices, distances = diffusion.neighbors(split.x[:, :d], max(k, diffusion.SCALE), rows=rows)
            for w in grid.weights:
                found = diffusion.loss_of_each(
                    indices[:, :k],
                    diffusion.affinities(distances, w)[:, :k],
                    split.source,
                    split.target,
                    rows=rows,
                    self_loops=grid.self_loops,
                )
                point = points.index((d, w))
                losses[s, point] = found.mean(0)
                of_cells[point] += found.T / grid.n_splits
            shown.update()
    shown.close()
    table = table_of(points, losses, of_cells)
    best = table.loc[table["loss"].idxmin()]
    if grid.n_steps > 1:
        more = _steps(splits, rows, best, grid, seed)
        table = with_steps(table, *more)
    search = Search(
        loss=table,
        choice=chosen(table, grid.rule),
        minimum=chosen(table, "min"),
        references={"mean": float(np.mean(references))},
        params={k: list(v) if isinstance(v, list | tuple) else v for k, v in asdict(grid).items()},
    )
    logger.info("chose %(n_pcs)d components and %(n_neighbors)d neighbours", search.choice)
    return search


def _split(raw: Raw, scheme: str, inputs: Inputs, rng: np.random.Generator, seed: int) -> _Split:
    if scheme == "self":
        values = log_normalised(raw)
        return _Split(features(inputs, raw, seed)[1], values, values)
    halves = halve(raw, scheme, inputs, rng, seed=seed)
    target = log_normalised(halves.b)
    return _Split(halves.x, log_normalised(halves.a) if halves.same_axes else target, target)


def _steps(
    splits: list[_Split], rows: np.ndarray, best: pd.Series, grid: Grid, seed: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """Losses of two and more steps at few numbers of neighbours, and what each cell loses by them against `best`.

    Of many cells a sample of genes serves: both losses are taken on the same.
    """
    d, w, k_best = int(best["n_pcs"]), best["weights"], int(best["n_neighbors"])
    ks = sorted({k for k in STEP_NEIGHBORS if k < k_best} | {k_best})
    losses = np.zeros((len(splits), len(ks), grid.n_steps))
    of_cells = np.zeros((len(ks), grid.n_steps, len(rows)))
    n_genes = splits[0].source.shape[1]
    genes = np.arange(n_genes)
    if splits[0].source.shape[0] > MOST_SCORED and n_genes > SOME_GENES:
        genes = np.sort(np.random.default_rng(seed).choice(genes, SOME_GENES, replace=False))
    for s, split in enumerate(splits):
        source, target = split.source[:, genes], split.target[:, genes]
        indices, distances = diffusion.neighbors(split.x[:, :d], max(k_best, diffusion.SCALE), random_state=seed)
        for i, k in enumerate(ks):
            matrix = diffusion.kernel(indices, distances, w, n_neighbors=k, self_loops=grid.self_loops)
            found = diffusion.loss_of_kernel(
                matrix, source, target, n_steps=grid.n_steps, honest=grid.scheme != "count_split"
            )[rows]
            losses[s, i] = found.mean(0)
            of_cells[i] += found.T / len(splits)
    reference = ks.index(k_best), 0
    losses += float(best["loss"]) - losses[:, reference[0], 0].mean()
    of_cells -= of_cells[reference]
    table = rows_of([(d, k, w, step) for k, step in product(ks, range(2, grid.n_steps + 1))], losses[:, :, 1:])
    return table, of_cells[:, 1:].reshape(-1, len(rows))


def local_neighbors(raw: Raw, inputs: Inputs, choice: dict[str, Any], *, scheme: str, seed: int = 0) -> np.ndarray:
    """A number of neighbours for each cell: half of, or twice, the chosen number where that predicts its surroundings better.

    The loss of a single cell is noise for the most part, so it is averaged over the cell's neighbours first.

    Parameters
    ----------
    raw
        What was read.
    inputs
        How features are derived.
    choice
        The combination chosen for all cells.
    scheme, seed
        As in the search.
    """
    rng = np.random.default_rng(seed)
    k, d = choice["n_neighbors"], choice["n_pcs"]
    ks = np.array(sorted({max(1, k // 2), k, min(2 * k, len(raw) - 2)}))
    inputs = Inputs(**{**inputs.config, "n_pcs": d})
    total = np.zeros((len(raw), len(ks)))
    for _ in range(1 if scheme == "self" else SPLITS_OF_EACH):
        split = _split(raw, scheme, inputs, rng, seed)
        indices, distances = diffusion.neighbors(split.x[:, :d], max(int(ks.max()), diffusion.SCALE), random_state=seed)
        options = {"n_steps": choice["n_steps"], "honest": scheme != "count_split"}
        loops = choice.get("self_loops", False)
        kernels = [
            diffusion.kernel(indices, distances, choice["weights"], n_neighbors=int(n), self_loops=loops) for n in ks
        ]
        loss = [diffusion.loss_of_kernel(m, split.source, split.target, **options)[:, -1] for m in kernels]
        total += diffusion.kernel(indices, distances, n_neighbors=k, self_loops=True) @ np.column_stack(loss)
    return ks[total.argmin(1)]
