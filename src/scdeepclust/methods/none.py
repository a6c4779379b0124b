"""No network = identity x none x none x clusters found in the features as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import networks
from .representation import RepresentationMethod

if TYPE_CHECKING:
    from torch import nn

    from ..data import Cells, Inputs
    from ..schedule import Phase


@dataclass(frozen=True, kw_only=True)
class NoNetwork(RepresentationMethod):
    """Clusters of principal components, or of any representation, without a network.

    For a latent that another package has learned (`use_rep="X_scVI"`), and as the baseline for what a network adds: the same
    input, the same choice of the number of clusters, the same algorithms.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, "none", cluster="leiden", resolution=1.0, progress=False)
    >>> adata.obsm["X_deepclust"].shape
    (300, 20)
    """

    @classmethod
    def name(cls) -> str:
        """What `method=` takes."""
        return "none"

    def network(self, inputs: Inputs, *, n_genes: int, n_categories: int) -> nn.Module:
        """Nothing but the place for clusters."""
        return self.attach_head(networks.Identity(), inputs.n_features)

    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """Find clusters."""
        return [self.find_clusters(net, cells, seed)]
