"""What methods share that read features of genes or a representation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le

from .base import Method

if TYPE_CHECKING:
    from ..data import Inputs


@dataclass(frozen=True, kw_only=True)
class FeatureMethod(Method, abstract=True):
    """Parameters of every method whose network reads features.

    Parameters
    ----------
    transform
        How counts, divided by the cell's size factor, become features: `"sqrt"` or `"log1p"`. Log-normalised values
        are taken as they are.
    gene_scaling
        Power of its standard deviation by which each gene is divided: 0 leaves genes as they are (large types are
        told apart best), 1 gives z-scores (rare types are), 0.5 is between. Clipped at 10 standard deviations.
    n_pcs
        Principal components of these features that the network reads. None gives it the genes themselves. A
        representation (`use_rep`) is turned to its principal axes, of which none is left out, and scaled as a whole.
    """

    transform: Literal["sqrt", "log1p"] = "sqrt"
    gene_scaling: Annotated[float, Ge(0), Le(1)] = 0.5
    n_pcs: Annotated[int, Ge(2)] | None = 20

    def inputs(self, kind: str) -> Inputs:
        """The transformation from stored values of a `kind` to what the network sees."""
        from ..data import Inputs

        return Inputs(kind, self.transform, self.gene_scaling, self.n_pcs)
