"""scVI = variational autoencoder of counts, by scvi-tools x its likelihood x none x train, then clusters of its latent."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import numpy as np
from annotated_types import Ge, Gt, Lt

from .. import losses, networks
from ..schedule import Phase
from .representation import ClusteredMethod
from .sharpening import SharpeningMethod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from ..data import Cells, Inputs, Raw

EPSILON = 1e-8  # that scvi-tools adds to a mean before it takes the logarithm
LOGGERS = ("scvi", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


@dataclass(frozen=True, kw_only=True)
class SCVI(ClusteredMethod, SharpeningMethod):
    """scVI by scvi-tools, then clusters of its latent space.

    Take it where batches or donors differ a lot and a likelihood of counts is wanted, with the defaults that the field knows;
    the slowest method here on a CPU. It reads counts of the genes used, undivided; the first covariate (`batch_key`) is
    its batch. Training is scvi-tools' own, through its public interface, on all cells; on a CPU the likelihood
    comes from our code, the same values in less time. The trained encoder is kept as a part of our network, so that new
    cells are embedded, and the model saved, without scvi-tools' files. A `checkpoint` holds the run once it is trained,
    not in between.

    Lopez, Regier, Cole, Jordan, Yosef, Nature Methods 15:1053-1058, 2018, doi 10.1038/s41592-018-0229-2; scvi-tools:
    Gayoso et al., Nature Biotechnology 40:163-166, 2022, doi 10.1038/s41587-021-01206-w.

    Parameters
    ----------
    cluster
        How clusters are found: `"kmeans"`, `"gmm"` (Gaussian mixture), `"leiden"`, `"agglomerative"` (Ward), `"kmedoids"`,
        `"hdbscan"`, which finds its own number, and cells that belong nowhere (cluster `"noise"`), or `"hardening"`: k-means,
        after which the encoder is trained to sharpen its clusters as in :class:`DEC`.
    likelihood
        Of counts: negative binomial (`"nb"`), or with extra zeros (`"zinb"`, scvi-tools' default).
    n_latent
        Dimensions of the latent space.
    n_hidden
        Width of the hidden layers.
    n_layers
        Hidden layers of encoder and decoder.
    dropout
        Share of the encoder's hidden units that are left out in training.
    max_epochs
        Passes over the cells. None leaves it to scvi-tools: 400, and fewer from 20,000 cells on.
    lr
        Learning rate.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, "scvi", n_clusters=3, max_epochs=2, progress=False)
    >>> adata.obsm["X_deepclust"].shape
    (300, 10)
    """

    cluster: Literal["kmeans", "gmm", "leiden", "agglomerative", "kmedoids", "hdbscan", "hardening"] = "kmeans"
    likelihood: Literal["nb", "zinb"] = "zinb"
    n_latent: Annotated[int, Ge(1)] = 10
    n_hidden: Annotated[int, Ge(1)] = 128
    n_layers: Annotated[int, Ge(1)] = 1
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    max_epochs: Annotated[int, Ge(0)] | None = None
    lr: Annotated[float, Gt(0)] = 1e-3

    @property
    def needs_counts(self) -> bool:
        """Always."""
        return True

    def inputs(self, kind: str) -> Inputs:
        """Log of one plus the counts."""
        from ..data import Inputs

        return Inputs(kind, "log1p_counts", 0.0, None)

    def network(self, inputs: Inputs, *, n_genes: int, n_categories: int) -> nn.Module:
        """scvi-tools' layers, and the place for clusters."""
        net = networks.CountAutoencoder(
            n_genes,
            self.n_hidden,
            self.n_layers,
            self.n_latent,
            n_covariates=n_categories,
            dropout=self.dropout,
            zero_inflated=self.likelihood == "zinb",
        )
        if self.cluster == "hardening":
            net.centroids = networks.Centroids(self.n_latent)
            self.attach_target(net)
        return self.attach_head(net, self.n_latent)

    def initialise(self, net: nn.Module, inputs: Inputs, raw: Raw, learnt: Raw) -> None:
        """The depth that a size factor of one stands for."""
        net.log_depth.copy_(inputs.log_depth())

    def encoder(self, net: nn.Module) -> nn.Module:
        """scvi-tools' encoder, as it embeds cells after training."""
        return networks.MeanEncoder(net.encoder)

    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """Let scvi-tools train, then find clusters, and sharpen them if asked."""
        found = self.find_clusters(net, cells, seed)
        if self.cluster == "hardening":
            found = self.sharpen(
                net,
                cells,
                loss=lambda batch: {
                    "hardening": self.hardening(net, batch, self.log_student_t(net, self.encoder(net)(batch.x)))
                },
                start=lambda: net.centroids.set(
                    net.centroids.weight.new_tensor(self.clusters(net, cells, seed, "kmeans")[0].means)
                ),
            )
        train = Phase("train", run=lambda progress: self.train(net, cells, seed, progress=progress))
        return [found] if self.max_epochs == 0 else [train, found]

    def log_soft_assign(self, net: nn.Module, z: Tensor) -> Tensor:
        """By the algorithm that found the clusters, or, where they were sharpened, Student t memberships."""
        return self.log_student_t(net, z) if self.cluster == "hardening" else super().log_soft_assign(net, z)

    def train(self, net: nn.Module, cells: Cells, seed: int, *, progress: bool) -> list[dict[str, float]]:
        """Train scvi-tools' model on the cells and take its weights over; returns its losses, epoch by epoch."""
        from ..distributed import n_processes

        if n_processes() > 1:
            msg = "method='scvi' leaves training to scvi-tools, in a single process; run it without torchrun."
            raise ValueError(msg)
        with _quiet(sys.stderr if progress else io.StringIO()), _seeded(seed, cells):
            import scvi

            adata, keys = _anndata(cells)
            scvi.model.SCVI.setup_anndata(
                adata, batch_key=keys[0] if keys else None, categorical_covariate_keys=keys[1:] or None
            )
            model = scvi.model.SCVI(
                adata,
                n_hidden=self.n_hidden,
                n_latent=self.n_latent,
                n_layers=self.n_layers,
                dropout_rate=self.dropout,
                gene_likelihood=self.likelihood,
            )
            if cells.device.type == "cpu":
                _speed_up(model.module)
            cuda = cells.device.type == "cuda"
            self._fit(
                model,
                max_epochs=self.max_epochs,
                accelerator="gpu" if cuda else "cpu",
                devices=[cells.device.index or 0] if cuda else 1,
                train_size=1.0,
                shuffle_set_split=False,  # with nothing held out it would but draw from a generator of its own
                batch_size=_batch_size(len(cells), cells.n_batches()),
                plan_kwargs={"lr": self.lr},
                enable_progress_bar=progress,
            )
            history = {name: np.asarray(table, dtype=float).ravel() for name, table in model.history.items()}
        n_categories = () if cells.covariates is None else cells.covariates[1]
        net.take_over(networks.trained_weights(model.module, n_categories))
        n_epochs = len(history["elbo_train"])
        kept = {name: values for name, values in history.items() if len(values) == n_epochs and name.endswith("_train")}
        return [{name: float(values[epoch]) for name, values in kept.items()} for epoch in range(n_epochs)]

    @staticmethod
    def _fit(model: Any, **options: Any) -> None:
        try:
            model.train(**options)
        except SystemExit as stopped:  # what lightning makes of an interruption
            if isinstance(stopped.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
        except ValueError as error:  # torch's distributions refuse NaN in the middle of a step
            if "invalid values" not in str(error):
                raise
            msg = "parameters of its distributions are not finite"
            raise FloatingPointError(msg) from error


def _speed_up(module: Any) -> None:
    """Let a module of scvi-tools take the likelihood of counts, half of its training on a CPU, from our losses.

    The loss stays its own, and so do its value and gradients: it sums what it is given over genes and averages that over
    cells, so each cell may as well have the mean over cells.
    """
    loss = module.loss

    def with_our_likelihood(tensors: Any, inferred: Any, generated: Any, **options: Any) -> Any:
        px = generated["px"]
        log_mean, zero_logits = (px.mu + EPSILON).log(), getattr(px, "zi_logits", None)

        def log_prob(x: Tensor) -> Tensor:
            counts = losses.Counts.from_dense(x)
            given = (log_mean, module.px_r) if zero_logits is None else (log_mean, module.px_r, zero_logits)
            likelihood = losses.nb if zero_logits is None else losses.zinb
            return (-x.shape[1] * likelihood(*given, counts)).expand(len(x), 1)

        return loss(tensors, inferred, generated | {"px": SimpleNamespace(log_prob=log_prob)}, **options)

    module.loss = with_our_likelihood


def _batch_size(n_cells: int, n_batches: int) -> int:
    """Cells in a minibatch, such that no last one holds a single cell, which batch normalisation cannot take."""
    size = -(-n_cells // n_batches)
    while n_cells % size == 1:
        size += 1
    return size


def _anndata(cells: Cells) -> tuple[Any, list[str]]:
    """The cells as scvi-tools takes them."""
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    rows, genes, values, n = [], [], [], 0
    for batch in cells.chunks():
        row, gene, value, _ = batch.counts
        there = value > 0  # on a GPU, rows are padded
        rows.append(row[there].cpu().numpy() + n)
        genes.append(gene[there].cpu().numpy())
        values.append(value[there].cpu().numpy())
        n += len(batch.index)
    where = np.concatenate(rows), np.concatenate(genes)
    x = sparse.csr_matrix((np.concatenate(values), where), (n, batch.counts.shape[1]))
    codes, sizes = (np.zeros((n, 0), int), ()) if cells.covariates is None else cells.covariates
    # By their codes, so that its categories have our order.
    obs = {
        f"covariate{i}": pd.Categorical.from_codes(np.asarray(codes[:, i].cpu()), range(size))
        for i, size in enumerate(sizes)
    }
    return AnnData(x, obs=pd.DataFrame(obs, index=[str(i) for i in range(n)])), list(obs)


@contextmanager
def _quiet(output: TextIO) -> Iterator[None]:
    """What is printed goes to `output`, and no advice on devices and data loaders is logged."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    try:
        with warnings.catch_warnings(), redirect_stdout(output):
            warnings.simplefilter("ignore")
            import scvi  # noqa: F401 sets the level of its logger

            for name in levels:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _seeded(seed: int, cells: Cells) -> Iterator[None]:
    """Global generators that start from `seed` and are given back as they were."""
    from ..seeding import forked, reseed

    state = np.random.get_state()  # noqa: NPY002 scvi-tools draws from the global state
    with forked(cells.device):
        np.random.seed(seed % 2**32)  # noqa: NPY002
        reseed(seed, cells.device)
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002
