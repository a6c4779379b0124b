"""The combinations of components, neighbours, weights and steps that a search tries."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from .. import diffusion
from ..data.checks import one_of, whole_number
from .halves import SCHEMES, resolve_scheme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..data import Raw

N_PCS = (2, 5, 10, 15, 20, 30, 50)
MOST_NEIGHBORS = 100


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is tried.

    Parameters
    ----------
    scheme
        `"count_split"`, `"gene_split"`, `"self"` (DEWAKSS: graph and target from the same values) or `"auto"`.
    n_pcs
        Numbers of principal components.
    n_neighbors
        Most neighbours; every number up to it is tried.
    weights
        Kinds of weights.
    n_steps
        Most steps; those beyond one are tried with the best components and weights.
    self_loops
        Whether a cell is its own neighbour.
    rule
        `"min"`, or `"one_se"`: of all whose loss is within a standard error of the lowest, the fewest components,
        then the fewest steps, then the most neighbours.
    n_splits
        Independent splits.
    """

    scheme: str = "auto"
    n_pcs: Sequence[int] | None = None
    n_neighbors: int | None = None
    weights: Sequence[str] = ("uniform", "distance")
    n_steps: int = 2
    self_loops: bool = False
    rule: Literal["one_se", "min"] = "one_se"
    n_splits: int = 3

    def checked(self, raw: Raw) -> Grid:
        """The grid that the data allow.

        Raises
        ------
        ValueError
            A value is out of range, or the data do not serve the scheme.
        """
        scheme = resolve_scheme(self.scheme, raw, (*SCHEMES, "self"))
        for name, values in (("n_pcs", self.n_pcs), ("weights", self.weights)):
            if values is not None and not len(values):
                msg = f"{name} is empty; give what to try, or leave it out."
                raise ValueError(msg)
        for w in self.weights:
            one_of("weights", w, diffusion.WEIGHTS)
        one_of("rule", self.rule, ["one_se", "min"])
        numbers = {name: whole_number(name, getattr(self, name)) for name in ("n_steps", "n_splits")}
        numbers["n_neighbors"] = None if self.n_neighbors is None else whole_number("n_neighbors", self.n_neighbors)
        numbers["n_pcs"] = None if self.n_pcs is None else [whole_number("n_pcs", d) for d in self.n_pcs]
        if self.self_loops and scheme != "count_split":
            msg = (
                f"self_loops=True with scheme={scheme!r} would let each cell predict itself; only "
                "scheme='count_split' holds out what the cell itself could tell."
            )
            raise ValueError(msg)
        numbers["weights"] = list(dict.fromkeys(self.weights))
        return replace(self, **numbers | {"scheme": scheme} | ({"n_splits": 1} if scheme == "self" else {}))

    def clipped(self, raw: Raw) -> Grid:
        """No more components and neighbours than there can be; a warning names what is left of those asked for."""
        n_cells, n_features = raw.values.shape
        most_pcs = min(n_cells - 2, n_features // 2 if self.scheme == "gene_split" else n_features)
        most_pcs -= raw.kind != "rep"
        what = f"{n_cells} cells x {n_features} {'features' if raw.kind == 'rep' else 'genes'}"
        if most_pcs < 1 or n_cells < 3:
            msg = f"{what} are too few to search neighbours in."
            raise ValueError(msg)
        pcs = sorted({min(int(d), most_pcs) for d in (self.n_pcs or N_PCS)})
        k = min(self.n_neighbors or MOST_NEIGHBORS, n_cells - 2)
        if (self.n_pcs is not None and max(self.n_pcs) > most_pcs) or k < (self.n_neighbors or 0):
            msg = f"{what} do not allow the grid asked for; tried are n_pcs={pcs} and up to n_neighbors={k}."
            warnings.warn(msg, UserWarning, stacklevel=4)
        return replace(self, n_pcs=pcs, n_neighbors=k)
