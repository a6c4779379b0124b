"""How many clusters the data support: more than enough are found, and those joined that do not differ by signal."""

from __future__ import annotations

import logging
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from .. import diffusion
from ..data.inputs import CPU
from ..data.raw import spread
from ..diffusion import prediction
from ..diffusion import signal as signals
from .curve import curve_of
from .evidence import alike_in_depth, evidence_of, reproducible, stability, sums
from .halves import cells_to_split, features, need_labelled, resolve_scheme
from .joining import joins_of, table_of

if TYPE_CHECKING:
    from ..data import Inputs, Raw
    from .evidence import Evidence

logger = logging.getLogger(__name__)

MOST_CELLS = 20_000  # a random sample of more: the number hardly depends on them
MIN_ERRORS = 3.0  # standard errors above zero that the gain over a single cluster must be
# Adjusted Rand index of the clusters that two halves of a cell's molecules put it in, which clusters must reach. Where all
# signal is weak, a share of it is mostly noise. (Halves of genes or of features agree less, and by their number.)
STABLE = 0.55


@dataclass(frozen=True)
class Choice:
    """A partition that the data support, and how it came about.

    Parameters
    ----------
    labels
        Cluster of each cell from 0, the largest first; -1 for cells that are too shallow to have a say. Where a sample
        of the cells had the say, others are in the cluster whose mean is nearest.
    fine
        The partition from which clusters were joined.
    record
        Tables and figures for `uns`.
    """

    labels: np.ndarray
    fine: np.ndarray
    record: dict[str, Any] = field(repr=False)

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return int(self.labels.max()) + 1

    def announce(self) -> None:
        """Log what was chosen, and warn of what a user might not expect."""
        logger.info("number of clusters: %d (%s)", self.record["n_clusters"], self.record["chosen_by"])
        for _, pairs in self.record["shifts"].groupby("shift"):
            apart = ", ".join(f"{a} from {b}" for a, b in zip(pairs["cluster"], pairs["shifted"], strict=True))
            given = "partitions" in self.record
            logger.warning(
                "%s one and the same shift tells clusters apart (%s), as a batch or a treatment does; they are compared "
                "without it. If a column of obs names it, give batch_key; if it ought to count, give join_shifted=False.",
                "In the partition chosen," if given else "Before joining,",
                apart,
            )
        if self.n_clusters == 1:
            logger.warning("Nothing suggests more than one cluster; give n_clusters to have more.")


def choose_n_clusters(  # noqa: PLR0913 each of these changes the choice
    raw: Raw,
    inputs: Inputs,
    *,
    scheme: str = "auto",
    min_signal: float = 0.065,
    resolution: float = 1.0,
    join_shifted: bool = True,
    n_splits: int = 3,
    curve: bool = True,
    seed: int = 0,
    device: torch.device = CPU,
    start: np.ndarray | None = None,
    known: dict[bytes, Evidence] | None = None,
) -> Choice:
    """Choose a number of clusters, and a partition into as many.

    Parameters
    ----------
    raw
        What was read.
    inputs
        How features are derived.
    scheme
        `"count_split"`, `"gene_split"` or `"auto"`.
    min_signal
        Share of the reproducible signal (square-root form) that two clusters must differ by.
    resolution
        Of the Leiden communities to start from.
    join_shifted
        Whether what differs by a shift that recurs between clusters is joined, as if the shift were not there.
    n_splits
        Independent splits.
    curve
        Whether to add loss, stability and knee of every number of clusters, which decide nothing.
    seed
        Seed.
    device
        Where components and neighbours are computed; all else is the processor's.
    start
        A partition to start from instead, -1 for cells without a label.
    known
        Where what was found of cells is kept, for other partitions of the same.
    """
    scheme = resolve_scheme(scheme, raw)
    rng = np.random.default_rng(seed)
    everyone = cells = cells_to_split(raw, scheme)
    if start is not None:
        everyone = cells = np.intersect1d(cells, np.flatnonzero(start >= 0))
    if len(cells) > MOST_CELLS:
        cells = np.sort(rng.choice(cells, MOST_CELLS, replace=False))
    known = {} if known is None else known
    if cells.tobytes() not in known:
        known[cells.tobytes()] = evidence_of(
            raw.cells(cells), inputs, scheme, rng, n_splits=n_splits, seed=seed, device=device
        )
    evidence = known[cells.tobytes()]
    few, splits, gain, error, rng = evidence.few, evidence.splits, evidence.gain, evidence.error, deepcopy(evidence.rng)
    if start is None:
        fitted, x = features(inputs, few, seed, device)
        fine = diffusion.communities(
            torch.as_tensor(x, dtype=torch.float32, device=device), resolution=resolution, random_state=seed
        )
    else:
        fine = np.unique(start[cells], return_inverse=True)[1]
    fine = signals.by_size(fine)
    if scheme == "count_split":
        splits = [alike_in_depth(halves, few, fine) for halves in splits]
    structured = gain > MIN_ERRORS * error
    path, n_joins, found = joins_of(
        [view for s in splits for view in sums(s, fine, rng)],
        fine,
        float(np.mean([reproducible(s, seed) for s in splits])),
        min_signal,
        join_shifted=join_shifted and structured,
    )
    n_joins = n_joins if structured else len(path)
    chosen_by = "signal share" if structured else "no cluster tells more than a single one does"
    labels = signals.by_size(signals.after(fine, path[:n_joins]))
    while scheme == "count_split" and n_joins < len(path) and stability(splits, labels) < STABLE:
        chosen_by = "agreement of halves"
        n_joins += 1
        labels = signals.by_size(signals.after(fine, path[:n_joins]))
    record = {
        "n_clusters": int(labels.max()) + 1,
        "chosen_by": chosen_by,
        "params": {
            "scheme": scheme,
            "min_signal": min_signal,
            "resolution": resolution,
            "join_shifted": join_shifted,
            "n_splits": n_splits,
        },
        "n_cells": len(cells),
        "joins": table_of(fine, path, n_joins),
        "shifts": found,
        "stability": stability(splits, labels),
        "stability_fine": stability(splits, fine),
        "gain": gain,
        "gain_se": error,
    }
    if curve:
        table = curve_of(splits, seed)
        record |= {"curve": table, "knee": prediction.knee(table["n_clusters"].to_numpy(), table["loss"].to_numpy())}
    if len(cells) < len(everyone):
        of_fine = labels[np.unique(fine, return_index=True)[1]]
        if start is None:
            fine = _nearest_known(fitted.project(raw).numpy()[everyone], np.isin(everyone, cells), fine)
        else:
            fine = _looked_up(start[cells], fine, start[everyone])
        labels = np.where(fine >= 0, of_fine[fine], -1)
        labels[labels >= 0] = signals.by_size(labels[labels >= 0])
    return Choice(*(spread(some, everyone, len(raw), missing=-1) for some in (labels, fine)), record)


def choose_partition(
    raw: Raw, inputs: Inputs, partitions: dict[str, np.ndarray], *, min_signal: float, **options: Any
) -> Choice:
    """Choose among given partitions: the finest of which no two clusters would be joined.

    Where joining changes all of them, the one that it changes least (adjusted Rand index) is taken.

    Parameters
    ----------
    raw, inputs
        As in :func:`choose_n_clusters`.
    partitions
        Labels by name, -1 for cells without one.
    min_signal, **options
        As in :func:`choose_n_clusters`.
    """
    from sklearn.metrics import adjusted_rand_score

    found, rows, known = {}, [], {}
    cells = cells_to_split(raw, resolve_scheme(options.get("scheme", "auto"), raw))
    for name, start in partitions.items():
        need_labelled(name, start, cells)
        choice = choose_n_clusters(raw, inputs, start=start, min_signal=min_signal, curve=False, known=known, **options)
        found[name] = choice
        labelled = choice.fine >= 0
        unchanged = adjusted_rand_score(choice.fine[labelled], choice.labels[labelled])
        joins = choice.record["joins"]["signal"]
        least = float(joins.iloc[0]) if len(joins) else np.inf
        rows.append(
            (name, int(choice.fine.max()) + 1, choice.n_clusters, least, unchanged, choice.record["stability_fine"])
        )
    columns = ["partition", "n_clusters", "n_joined", "least_signal", "unchanged", "stability"]
    table = pd.DataFrame(rows, columns=columns)
    best = table.sort_values(["unchanged", "n_clusters"], ascending=False).iloc[0]["partition"]
    choice = found[best]
    how = {"chosen": best, "chosen_by": "changed least by joining", "partitions": table}
    own = {"n_clusters": int(choice.fine.max()) + 1, "joins": choice.record["joins"].assign(done=False)}
    return Choice(choice.fine, choice.fine, {**choice.record, **how, **own})


def _nearest_known(z: np.ndarray, known: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels of cells that have one, and for the others that of the cluster whose mean is nearest."""
    found = diffusion.nearest_to(z, diffusion.means(z[known], labels))
    found[known] = labels
    return found


def _looked_up(names: np.ndarray, numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Numbers by name; -1 for a name that has none."""
    table = np.full(max(names.max(), wanted.max()) + 1, -1)
    table[names] = numbers
    return table[wanted]
