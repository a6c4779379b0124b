"""How many clusters the data support: more than enough are found, and those joined that do not differ by signal."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import diffusion
from ..data.inputs import CPU
from ..data.raw import spread
from ..diffusion import prediction
from ..diffusion import signal as signals
from .curve import curve_of
from .evidence import evidence_of
from .halves import cells_to_split, features, resolve_scheme
from .joining import Rules, joined

if TYPE_CHECKING:
    import torch

    from ..data import Inputs, Raw
    from .evidence import Evidence

logger = logging.getLogger(__name__)

MOST_CELLS = 20_000  # a random sample of more: the number hardly depends on them
DEFAULT = Rules()


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
        joins = self.record["joins"]
        if self.n_clusters == 1 and self.record["chosen_by"] == "signal share" and len(joins):
            logger.warning(
                "At min_signal=%g all %d clusters were joined, the last two at a share of %.2g of the signal; a lower min_signal "
                "keeps more.",
                *(self.record["params"]["min_signal"], len(joins) + 1, joins["signal"].iloc[-1]),
            )
        elif self.n_clusters == 1:
            logger.warning("Nothing suggests more than one cluster; give n_clusters to have more.")


def choose_n_clusters(
    raw: Raw,
    inputs: Inputs,
    rules: Rules = DEFAULT,
    *,
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
    rules
        How clusters are compared and joined.
    curve
        Whether to add loss, stability and knee of every number of clusters, which decide nothing.
    seed
        Seed.
    device
        Where components and neighbours are computed; all else is the processor's.
    start
        A partition to start from instead of communities, -1 for cells without a label.
    known
        Where what was found of cells is kept, for other partitions of the same.
    """
    rules = replace(rules, scheme=resolve_scheme(rules.scheme, raw))
    rng = np.random.default_rng(seed)
    everyone = cells = cells_to_split(raw, rules.scheme)
    if start is not None:
        everyone = cells = np.intersect1d(cells, np.flatnonzero(start >= 0))
    if len(cells) > MOST_CELLS:
        cells = np.sort(rng.choice(cells, MOST_CELLS, replace=False))
    known = {} if known is None else known
    if cells.tobytes() not in known:
        known[cells.tobytes()] = evidence_of(
            raw.cells(cells), inputs, rules.scheme, rng, n_splits=rules.n_splits, seed=seed, device=device
        )
    evidence = known[cells.tobytes()]
    if start is None:
        fitted, x = features(inputs, evidence.few, seed, device)
        fine = diffusion.communities(x, resolution=rules.resolution, random_state=seed, device=device)
    else:
        fine = np.unique(start[cells], return_inverse=True)[1]
    fine = signals.by_size(fine)
    found = joined(evidence, fine, rules, seed)
    record = {
        "n_clusters": int(found.labels.max()) + 1,
        "chosen_by": found.chosen_by,
        "params": asdict(rules),
        "n_cells": len(cells),
        **found.record,
        "gain": evidence.gain,
        "gain_se": evidence.error,
    }
    if curve:
        table = curve_of(found.splits, seed)
        record |= {"curve": table, "knee": prediction.knee(table["n_clusters"].to_numpy(), table["loss"].to_numpy())}
    if len(cells) == len(everyone):
        labels = found.labels
    else:
        of_fine = found.labels[np.unique(fine, return_index=True)[1]]
        if start is None:
            fine = _nearest_known(fitted.project(raw).numpy()[everyone], np.isin(everyone, cells), fine)
        else:
            fine = _looked_up(start[cells], fine, start[everyone])
        labels = np.where(fine >= 0, of_fine[fine], -1)
        labels[labels >= 0] = signals.by_size(labels[labels >= 0])
    return Choice(*(spread(some, everyone, len(raw), missing=-1) for some in (labels, fine)), record)


def _nearest_known(z: np.ndarray, known: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels of cells that have one, and for the others that of the cluster whose mean is nearest."""
    found = diffusion.nearest_mean(z, labels, among=known)
    found[known] = labels
    return found


def _looked_up(names: np.ndarray, numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Numbers by name; -1 for a name that has none."""
    table = np.full(max(names.max(), wanted.max()) + 1, -1)
    table[names] = numbers
    return table[wanted]
