"""What autoencoder methods share: inputs, network, reconstruction, pretraining, and where centres start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from .. import diffusion, losses, networks, views
from ..schedule import Phase
from .features import FeatureMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..data import Batch, Cells, Inputs, Raw


@dataclass(frozen=True, kw_only=True)
class AutoencoderMethod(FeatureMethod, abstract=True):
    """Parameters of every method that learns an autoencoder.

    Parameters
    ----------
    likelihood
        What the decoder explains: the features, by squared error (`"mse"`), or the counts, by a negative binomial
        (`"nb"`) with a dispersion for each gene, or one with extra zeros (`"zinb"`).
    network_type
        `"residual"`: the embedding is the leading components plus a correction by a perceptron, and features are
        decoded linearly, so that the network starts as PCA and leaves it where the data ask. `"mlp"`: perceptrons
        that mirror each other, as in the papers; also what `"residual"` means where genes are read.
    hidden
        Widths of the encoder's hidden layers; a perceptron decoder mirrors them.
    n_latent
        Dimensions of the embedding.
    noise
        Standard deviation of Gaussian noise added to the features during training.
    n_neighbors
        Neighbours over which features and embedding are averaged, where `n_diffusion` asks for it. Types with fewer
        cells than this are in danger.
    n_diffusion
        Steps of averaging over neighbours (each cell itself left out) of the features that the decoder explains, so
        that the network learns to denoise, and in which k-means looks for centres.
    locality
        Weight of a term that keeps every cell near its `n_neighbors` neighbours, so that the clustering stage does not
        tear continua apart. 0 leaves it out.
    n_init
        Starts of k-means; the best is taken.
    pretrain_steps
        At most this many minibatches of pretraining, rounded up to whole passes over the cells.
    patience
        Pretraining ends after this many epochs without a lower loss on a tenth of the cells, held out.
    lr
        Learning rate of Adam in pretraining.
    """

    likelihood: Literal["mse", "nb", "zinb"] = "mse"
    network_type: Literal["residual", "mlp"] = "residual"
    hidden: tuple[Annotated[int, Ge(1)], ...] = (256, 64)
    n_latent: Annotated[int, Ge(1)] = 20
    noise: Annotated[float, Ge(0)] = 0.0
    n_neighbors: Annotated[int, Ge(1)] = 10
    n_diffusion: Annotated[int, Ge(0)] = 1
    locality: Annotated[float, Ge(0)] = 0.0
    n_init: Annotated[int, Ge(1)] = 30
    pretrain_steps: Annotated[int, Ge(0)] = 1000
    patience: Annotated[int, Ge(1)] = 10
    lr: Annotated[float, Gt(0)] = 1e-3

    @property
    def without_counts(self) -> str:
        """A squared error serves too."""
        return "give likelihood='mse'"

    @property
    def needs_counts(self) -> bool:
        """Whether a likelihood explains counts."""
        return self.likelihood != "mse"

    def network(self, inputs: Inputs, *, n_genes: int, n_categories: int) -> nn.Module:
        """An autoencoder with cluster centres."""
        net = networks.Autoencoder(
            inputs.n_features,
            self.hidden,
            self.n_latent,
            n_out=n_genes if self.needs_counts else inputs.n_features,
            n_covariates=n_categories,
            residual=self.network_type == "residual" and inputs.principal,
            counts=self.needs_counts,
            zero_inflated=self.likelihood == "zinb",
        )
        net.centroids = networks.Centroids(self.n_latent)
        return net

    def inputs(self, kind: str) -> Inputs:
        """The transformation; refuses genes where neighbours are to be held together."""
        return self.searched(super().inputs(kind))

    def searched(self, inputs: Inputs) -> Inputs:
        """The same, if neighbours can be found in such features or nobody asks for them."""
        if self.locality and not inputs.principal:
            msg = (
                f"locality={self.locality} needs principal components to find neighbours in: give n_pcs, or locality=0."
            )
            raise ValueError(msg)
        return inputs

    def initialise(self, net: nn.Module, inputs: Inputs, raw: Raw, learnt: Raw) -> None:
        """Let a decoder of counts begin at each gene's mean, which spares it many steps."""
        if self.needs_counts:
            net.mean.bias.copy_(inputs.log_mean(raw))

    def prepare(self, cells: Cells, seed: int) -> Cells:
        """Average features over neighbours, for the decoder to explain and for centres to start from."""
        if cells.x is None or not (self.n_diffusion or self.locality):
            return cells
        neighbors = diffusion.neighbors_of(cells.x, self.n_neighbors, random_state=seed)
        if self.locality:
            cells = replace(cells, neighbors=neighbors)
        if self.n_diffusion:
            cells = replace(cells, target=diffusion.average_of(cells.x, neighbors, self.n_diffusion))
        return cells

    def encode(self, net: nn.Module, batch: Batch) -> Tensor:
        """Embedding of a minibatch, of noisy features while training."""
        return net.encode(views.add_noise(batch.x, self.noise) if self.noise and net.training else batch.x)

    def reconstruction(self, net: nn.Module, batch: Batch, z: Tensor) -> Tensor:
        """Loss of the decoder on a minibatch."""
        decoded = net.decode(z, batch.covariates)
        if self.likelihood == "mse":
            return losses.mse(decoded.mean, batch.target)
        log_mean = decoded.log_counts(batch.size)
        if self.likelihood == "nb":
            return losses.nb(log_mean, net.log_dispersion, batch.counts)
        return losses.zinb(log_mean, net.log_dispersion, decoded.zero_logits, batch.counts)

    def learn(self, net: nn.Module, cells: Cells, batch: Batch) -> dict[str, Tensor]:
        """Terms of pretraining."""
        z = self.encode(net, batch)
        return {"reconstruction": self.reconstruction(net, batch, z), **self.held_together(net, cells, batch, z)}

    def pretrain(self, net: nn.Module, cells: Cells) -> Phase:
        """Learn to reconstruct, until cells held out gain no more."""
        return Phase(
            "pretrain",
            epochs=cells.n_epochs(self.pretrain_steps),
            loss=lambda batch: self.learn(net, cells, batch),
            patience=self.patience,
            recordable=True,
            lr=self.lr,
        )

    def held_together(self, net: nn.Module, cells: Cells, batch: Batch, z: Tensor) -> dict[str, Tensor]:
        """The locality term, if it is wanted: each cell and one of its neighbours, drawn anew each time."""
        if cells.neighbors is None:
            return {}
        neighbor = net.encode(cells.x[views.draw(cells.neighbors[batch.index])])
        return {"locality": self.locality * losses.locality(z, neighbor)}

    def start_features(self, embedding: Tensor, averaged: Tensor | None) -> Tensor | None:
        """In what k-means looks for clusters: features averaged over neighbours, or None for the embedding, averaged."""
        return averaged

    def start_centroids(self, net: nn.Module, cells: Cells, seed: int) -> None:
        """Put the centres at the means of the clusters that the data have chosen, or where k-means finds clusters."""
        from ..distributed import from_rank_zero, gathered

        if self.n_clusters is None:
            embedding = networks.embed(net, cells)
            found = from_rank_zero(lambda: diffusion.means(embedding.cpu().numpy(), cells.partition.cpu().numpy()))
        else:
            some = cells.sample(diffusion.MOST_CELLS, seed)
            here = networks.embed(net, cells, some)
            smooth = self.start_features(here, None if cells.target is None else cells.target[some.to(cells.device)])
            smooth = None if smooth is None else gathered(smooth).cpu().numpy()
            z = gathered(here).cpu().numpy()
            # Where there are more cells than in the sample, starts would take longer than all that follows a start.
            n_choosing = len(z) if len(some) == len(cells) else len(z) // 8
            found = from_rank_zero(
                lambda: diffusion.starting_centres(
                    z,
                    self.n_clusters,
                    smooth=smooth,
                    n_neighbors=self.n_neighbors,
                    n_diffusion=self.n_diffusion,
                    n_init=self.n_init,
                    n_choosing=n_choosing,
                    random_state=seed,
                )
            )
        net.centroids.set(net.centroids.weight.new_tensor(found))

    def log_soft_assign(self, net: nn.Module, z: Tensor) -> Tensor:
        """Student t memberships."""
        return losses.student_t(z, net.centroids.weight)
