"""What methods share that learn a representation first, and find clusters in it afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from .. import clustering, diffusion, networks
from ..schedule import Phase
from .base import Method
from .features import FeatureMethod

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from ..data import Cells


@dataclass(frozen=True, kw_only=True)
class ClusteredMethod(Method, abstract=True):
    """Parameters of every method that clusters a representation after it has been learned.

    Parameters
    ----------
    cluster
        How clusters are found: `"kmeans"`, `"gmm"` (Gaussian mixture), `"leiden"`, `"agglomerative"` (Ward),
        `"kmedoids"` or `"hdbscan"`, which finds its own number, and cells that belong nowhere (cluster `"noise"`). The last
        three see 10,000 cells at most, the first two 20,000, drawn at random; the others go where these tell them.
    resolution
        Of Leiden, which then decides how many clusters there are.
    min_cluster_size
        Smallest cluster of HDBSCAN, in cells that it sees: of more than 10,000, that many drawn at random.
    n_neighbors
        Neighbours in the graph of Leiden.
    n_init
        Starts of k-means; the best is taken.
    """

    cluster: Literal["kmeans", "gmm", "leiden", "agglomerative", "kmedoids", "hdbscan"] = "kmeans"
    resolution: Annotated[float, Gt(0)] | None = None
    min_cluster_size: Annotated[int, Ge(2)] = 10
    n_neighbors: Annotated[int, Ge(2)] = 15
    n_init: Annotated[int, Ge(1)] = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resolution is not None and self.cluster != "leiden":
            msg = f"resolution={self.resolution} is of cluster='leiden'; with cluster={self.cluster!r} give n_clusters."
            raise ValueError(msg)
        if self.n_clusters is not None and self.finds_number:
            other = "resolution" if self.resolution is not None else "cluster='hdbscan'"
            msg = f"n_clusters={self.n_clusters} and {other} both decide how many clusters there are; give one of them."
            raise ValueError(msg)

    @property
    def finds_number(self) -> str:
        """What finds the number of clusters by itself, if anything does."""
        if self.cluster == "hdbscan":
            return f"HDBSCAN, clusters of at least {self.min_cluster_size} of the cells that it sees"
        return "" if self.resolution is None else f"Leiden at resolution {self.resolution:g}"

    def attach_head(self, net: nn.Module, n_latent: int) -> nn.Module:
        """Give a network the place for its clusters."""
        net.head = networks.Head(n_latent)
        return net

    def find_clusters(self, net: nn.Module, cells: Cells, seed: int) -> Phase:
        """The phase, without training, that finds clusters in the embedding."""
        return Phase("cluster", start=lambda: self._find(net, cells, seed))

    def clusters(self, net: nn.Module, cells: Cells, seed: int, kind: str) -> tuple[clustering.Found, np.ndarray]:
        """What an algorithm finds among all embedded cells, the same in every process, and these cells."""
        from ..distributed import from_rank_zero, gathered

        here = networks.embed(net, cells)
        z = gathered(here).cpu().numpy()

        def found() -> clustering.Found:
            start, n_clusters = None, self.n_clusters
            if n_clusters is None and cells.partition is not None:
                start = diffusion.means(here.cpu().numpy(), cells.partition.cpu().numpy())
                n_clusters = len(start)
            return clustering.find(
                z,
                kind,
                n_clusters,
                start=start,
                resolution=self.resolution,
                min_cluster_size=self.min_cluster_size,
                n_neighbors=self.n_neighbors,
                n_init=self.n_init,
                random_state=seed,
            )

        return from_rank_zero(found), z

    def _find(self, net: nn.Module, cells: Cells, seed: int) -> None:
        self.place(net, *self.clusters(net, cells, seed, self.cluster), seed)

    def place(self, net: nn.Module, found: clustering.Found, z: np.ndarray, seed: int) -> None:
        """Put clusters into the head."""
        if found.means is None:
            net.head.set_reference(z[found.cells], found.labels, seed=seed)
            return
        precisions = found.precisions_cholesky
        if precisions is None:
            spread = ((z[found.cells] - found.means[found.labels]) ** 2).mean()
            precisions = float(1 / max(spread, 1e-12) ** 0.5)
        net.head.set_components(found.means, precisions, found.weights)

    def has_noise(self, net: nn.Module) -> bool:
        """Whether the last column of memberships is for cells that belong nowhere."""
        return bool(net.head.n_noise)

    def log_soft_assign(self, net: nn.Module, z: Tensor) -> Tensor:
        """Posterior probabilities of centres and mixtures; votes of the nearest training cells otherwise."""
        return net.head(z)


@dataclass(frozen=True, kw_only=True)
class RepresentationMethod(ClusteredMethod, FeatureMethod, abstract=True):
    """What is clustered is learned from features."""

    @property
    def needs_counts(self) -> bool:
        """Whether a likelihood explains counts."""
        return False
