"""Which of several partitions the data support."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .halves import cells_to_split, need_labelled, resolve_scheme
from .n_clusters import DEFAULT, Choice, choose_n_clusters

if TYPE_CHECKING:
    from ..data import Inputs, Raw
    from .evidence import Evidence
    from .joining import Rules


def choose_partition(
    raw: Raw, inputs: Inputs, partitions: dict[str, np.ndarray], rules: Rules = DEFAULT, *, seed: int = 0
) -> Choice:
    """Choose among given partitions: the finest of which no two clusters would be joined.

    Where joining changes all of them, the one that it changes least (adjusted Rand index) is taken.

    Parameters
    ----------
    raw, inputs, rules, seed
        As in :func:`choose_n_clusters`.
    partitions
        Labels by name, -1 for cells without one.
    """
    from sklearn.metrics import adjusted_rand_score

    found: dict[str, Choice] = {}
    rows: list[tuple[Any, ...]] = []
    known: dict[bytes, Evidence] = {}
    cells = cells_to_split(raw, resolve_scheme(rules.scheme, raw))
    for name, start in partitions.items():
        need_labelled(name, start, cells)
        choice = choose_n_clusters(raw, inputs, rules, curve=False, seed=seed, start=start, known=known)
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
    # No communities were looked for, at any resolution.
    params = {name: value for name, value in choice.record["params"].items() if name != "resolution"}
    own = {
        "params": params,
        "n_clusters": int(choice.fine.max()) + 1,
        "stability": choice.record["stability_fine"],
        "joins": choice.record["joins"].assign(done=False),
    }
    return Choice(choice.fine, choice.fine, {**choice.record, **how, **own})
