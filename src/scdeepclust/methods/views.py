"""What methods share that learn by comparing views of a cell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from .. import diffusion, networks, views
from .encoder import EncoderMethod

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from torch import Tensor, nn

    from ..data import Batch, Cells, Inputs

# What each kind of values can give, and what of it is taken where nothing is said.
POSSIBLE = {
    "counts": ("thin", "mask", "noise", "neighbors", "mixup"),
    "lognorm": ("mask", "noise", "neighbors", "mixup"),
    "rep": ("noise", "neighbors", "mixup"),
}
DEFAULT = {
    "counts": ("thin", "neighbors"),
    "lognorm": ("mask", "neighbors"),
    "rep": ("noise", "neighbors"),
}
WORDS = {"lognorm": "log-normalised values", "rep": "a representation"}


@dataclass(frozen=True, kw_only=True)
class ViewMethod(EncoderMethod, abstract=True):
    """Parameters of every method that compares views of a cell.

    Parameters
    ----------
    views
        What makes the two views of a cell, one after the other: `"thin"` (of counts: two disjoint parts of the molecules,
        at a common depth), `"mask"` (of genes: some are hidden), `"noise"` (Gaussian), `"neighbors"` (the second is of
        a mutual nearest neighbour) and `"mixup"` (each is moved towards such a neighbour). None takes thinning and
        neighbours of counts, masking and neighbours of log-normalised values, noise and neighbours of a representation.
    depth
        Size factor of thinned views: of the typical cell's molecules so many go to each.
    mask_rate
        Share of genes that a masked view hides.
    noise
        Standard deviation of the noise, where the mean square of a feature is one.
    n_neighbors
        Among how many nearest a cell's mutual neighbours are looked for; in counts each of two halves of the molecules has
        to find one of the two cells. Also of the graph of Leiden.
    projection
        Widths of the layers of the head in which views are compared, and which is left out afterwards. With none, they
        are compared in the embedding.
    """

    views: tuple[Literal["thin", "mask", "noise", "neighbors", "mixup"], ...] | None = None
    depth: Annotated[float, Gt(0), Le(0.5)] = 0.3
    mask_rate: Annotated[float, Gt(0), Lt(1)] = 0.3
    noise: Annotated[float, Gt(0)] = 0.3
    n_neighbors: Annotated[int, Ge(2)] = 15
    projection: tuple[Annotated[int, Ge(1)], ...] = ()

    @property
    def reads_values(self) -> bool:
        """Whether minibatches carry genes, of which views are made."""
        return True

    def inputs(self, kind: str) -> Inputs:
        """The transformation; refuses views that values of this kind cannot give."""
        impossible = sorted(set(self.views or ()) - set(POSSIBLE[kind]))
        if impossible:
            needs = "counts (name their layer with layer=...)" if impossible == ["thin"] else "values of genes"
            msg = (
                f"views={self.views!r}: {', '.join(map(repr, impossible))} needs {needs}, but found {WORDS[kind]}; of these there "
                f"are {', '.join(map(repr, POSSIBLE[kind]))}."
            )
            raise ValueError(msg)
        if self.views is not None and not self.views:
            msg = "views=() makes two equal views, of which nothing is learned; name at least one, or give None."
            raise ValueError(msg)
        if self.n_pcs is None and kind != "rep" and self.needs_neighbors(kind):
            msg = "Neighbours are looked for in principal components: give n_pcs, or ask for nothing that needs neighbours."
            raise ValueError(msg)
        return super().inputs(kind)

    def views_of(self, kind: str) -> tuple[str, ...]:
        """The views that are made of values of this kind."""
        return DEFAULT[kind] if self.views is None else self.views

    def needs_neighbors(self, kind: str) -> bool:
        """Whether anything asks who is near whom."""
        return bool({"neighbors", "mixup"} & set(self.views_of(kind)))

    def network(self, inputs: Inputs, *, n_genes: int, n_categories: int) -> nn.Module:
        """An encoder with a projection head, and the place for clusters."""
        net = self.projector(inputs)
        net.views = self.views_of(inputs.kind)
        return self.attach_head(net, self.n_latent)

    def projector(self, inputs: Inputs) -> nn.Module:
        """Encoder and projection head."""
        residual = self.network_type == "residual" and inputs.principal
        return networks.Projector(
            inputs.n_features, self.hidden, self.n_latent, n_projection=self.projection, residual=residual
        )

    def prepare(self, cells: Cells, seed: int) -> Cells:
        """Find mutual neighbours, and average features over neighbours, so that far can be told from near."""
        kind = "rep" if cells.features is None else "counts" if cells.size is not None else "lognorm"
        if not self.needs_neighbors(kind):
            return cells
        import torch

        x = cells.x.cpu().numpy()
        halves = self.halves(cells, seed) if cells.size is not None else (x, x)
        partners = views.mutual(*halves, self.n_neighbors, random_state=seed)
        near = diffusion.neighbors_of(cells.x, self.n_neighbors, random_state=seed)
        partners = torch.as_tensor(partners, dtype=torch.int64, device=cells.device)
        return replace(cells, neighbors=partners, target=diffusion.average_of(cells.x, near, 1))

    def halves(self, cells: Cells, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Features of two halves of the molecules, cells x features."""
        import torch

        generator = torch.Generator(cells.device).manual_seed(seed)
        parts = [
            [
                cells.features(*half, b.covariates)
                for half in views.thin(b.counts, b.size, float("inf"), generator=generator)
            ]
            for b in cells.chunks()
        ]
        return tuple(torch.cat(half).cpu().numpy() for half in zip(*parts, strict=True))

    def views_with(self, net: nn.Module, cells: Cells, batch: Batch, other: Tensor) -> tuple[Tensor, Tensor]:
        """Features of a view of each cell of a minibatch, and of one of another cell, or of the same."""
        one, two = self.seen(net, cells, batch)
        differs = other != batch.index
        if cells.device.type != "cpu":  # to see all anew is less work for a GPU than to wait for how many those are
            if other is not batch.index:
                two = next(self.seen(net, cells, cells[other])).where(differs[:, None], two)
        elif differs.any():
            two = two.clone()
            two[differs] = next(self.seen(net, cells, cells[other[differs]]))
        if "mixup" in net.views:
            one, two = (self.mixed(net, cells, cell, x) for cell, x in ((batch.index, one), (other, two)))
        return one, two

    def mixed(self, net: nn.Module, cells: Cells, index: Tensor, x: Tensor) -> Tensor:
        """Views of cells moved towards those of neighbours."""
        partner = cells[views.draw(cells.neighbors[index])]
        return views.mix(x, next(self.seen(net, cells, partner)))

    def seen(self, net: nn.Module, cells: Cells, batch: Batch, *, mask_rate: float | None = None) -> Iterator[Tensor]:
        """Features of two views of the same cells: thinned, masked, noisy."""
        mask_rate = self.mask_rate if mask_rate is None else mask_rate
        rows = ((batch.counts, batch.size),) * 2
        if "thin" in net.views:
            rows = views.thin(*rows[0], self.depth)
        for counts, size in rows:
            x = batch.x
            if {"thin", "mask"} & set(net.views):
                masked = "mask" in net.views
                kept = views.kept_genes(counts.shape, mask_rate, cells.device) if masked else None
                x = cells.features(counts, size, batch.covariates, kept=kept)
            yield views.add_noise(x, self.noise) if "noise" in net.views else x


@dataclass(frozen=True, kw_only=True)
class NeighborViewMethod(ViewMethod, abstract=True):
    """Parameters of every method whose second view may be of a neighbour.

    Parameters
    ----------
    neighbor_rate
        Share of cells whose second view is a neighbour's, where `views` has `"neighbors"`.
    """

    neighbor_rate: Annotated[float, Gt(0), Le(1)] = 0.5

    def two_views(self, net: nn.Module, cells: Cells, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features of two views of each cell of a minibatch, the second by chance of a neighbour."""
        other = batch.index
        if "neighbors" in net.views:
            other = views.draw(cells.neighbors[other]).where(views.chance(other, self.neighbor_rate), other)
        return self.views_with(net, cells, batch, other)


@dataclass(frozen=True, kw_only=True)
class ContrastMethod(ViewMethod, abstract=True):
    """Parameters of every method that tells a cell from others.

    Parameters
    ----------
    negatives
        What counts as unlike a cell: `"all"` other cells, `"not_neighbors"`, or, by degree, those that are far from it in
        features averaged over neighbours (`"graph"`), so that near types are not pushed as far apart as far ones.
    reach
        Of `negatives="graph"`: the share of cells that count as near.
    """

    negatives: Literal["all", "not_neighbors", "graph"] = "graph"
    reach: Annotated[float, Gt(0), Lt(1)] = 0.2

    def needs_neighbors(self, kind: str) -> bool:
        """Whether anything asks who is near whom."""
        return super().needs_neighbors(kind) or self.negatives != "all"
