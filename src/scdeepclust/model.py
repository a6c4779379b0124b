"""A method, a network and the genes it knows: train, embed, predict, save, load."""

from __future__ import annotations

import copy
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from . import methods, networks, storage
from .arguments import (
    check_batch_size,
    check_enough_cells,
    check_min_signal,
    check_same_genes,
    check_sample,
    drawn_categories,
    resolve_device,
    resolve_seed,
)
from .checkpoint import Checkpoint, fingerprint
from .data import align, covariate_keys, one_hot, read, split
from .data.cells import CHUNK
from .data.checks import true_or_false
from .distributed import from_rank_zero, gathered, n_processes, rank, total
from .metrics.lineage import lineage_preservation
from .results import NOISE, versions
from .seeding import forked, reseed
from .selection import Rules, choose_n_clusters
from .train import Trainer, kept_threads

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Self

    from anndata import AnnData

    from .data import Cells, Raw

logger = logging.getLogger(__name__)

# Lineage preservation before and after the clustering stage is compared on a few cells: it takes a fraction of a second.
FEWEST_TO_COMPARE, MOST_TO_COMPARE = 50, 1_000
MOST_LOST = 0.1  # of it, before there is a warning
ASK_LESS = {  # of a clustering stage, by parameter
    "weight": "a lower weight",
    "cluster_steps": "fewer cluster_steps",
    "locality": "a higher locality",
}


class Model:
    """A deep clustering of cells that can be trained, asked, saved and applied to new cells.

    :func:`scdeepclust.tl.deepclust` is a few lines on it; use this class to keep the model. The AnnData is read once
    and not kept.

    Parameters
    ----------
    adata
        Cells, with counts or log-normalised values in `X` or a layer, or a representation in `obsm`.
    method
        Name of a method (see :func:`scdeepclust.methods.registry`) or a method object.
    layer
        Layer with the values; `X` if None.
    use_rep
        Key of `obsm` with a representation to cluster instead, or `"X"` to take `X` as it is.
    batch_key
        Column of `obs` with batches that clusters should not depend on. Features are shifted so that batches mix within
        types, and a decoder is told the batch, so that the embedding need not carry it.
    categorical_covariate_keys
        More such columns of `obs`, such as the donor.
    mask_var
        Column of `var`, or booleans, with the genes to use. `"auto"` takes `var["highly_variable"]` where it exists,
        else the 2,000 most variable genes of more than that; None takes all.
    drop_empty
        Whether cells and genes without any count are left out; otherwise they are an error.
    random_state
        Seed. The same seed, version, device and number of threads give the same labels.
    device
        `"auto"`, `"cpu"`, `"cuda"`, ...
    min_signal
        Share of the reproducible signal by which two clusters must differ, where no `n_clusters` is given; None takes the
        default of :func:`scdeepclust.tl.n_clusters`.
    join_shifted
        Whether clusters that a recurring shift tells apart are joined, where no `n_clusters` is given.
    init
        A trained model of another package to start from, where the method can.
    **params
        Parameters of the method.

    Attributes
    ----------
    method
        The method, with its parameters.
    var_names
        Names of the genes in use; none where a representation is read.
    history
        A row an epoch, a column for each term of the loss. Like the following, there after training.
    choice
        How the number of clusters was chosen.
    latent_before
        Embedding of the training cells before the clustering stage, or None where there is no such stage.
    preservation
        Of lineages, `"before"` that stage, where there is one, and `"after"` training.
    tables, report
        What the method says of each training cell, and of the run.
    seconds
        Taken by the training.

    Raises
    ------
    KeyError
        A layer, obsm, obs or var key does not exist.
    TypeError
        A parameter is unknown, or the matrix is not in memory.
    ValueError
        Values or parameters that cannot serve; the message says what to do.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> model = sdc.Model(adata, "dec", n_clusters=3, pretrain_steps=50, cluster_steps=20)
    >>> model.train(progress=False)
    >>> model.predict(adata).shape
    (300,)
    """

    def __init__(  # noqa: PLR0913 keywords of the front, tl.deepclust
        self,
        adata: AnnData,
        method: str | methods.Method = "idec",
        *,
        layer: str | None = None,
        use_rep: str | None = None,
        batch_key: str | None = None,
        categorical_covariate_keys: Sequence[str] | None = None,
        mask_var: str | Sequence[bool] | np.ndarray | None = "auto",
        drop_empty: bool = False,
        random_state: int | np.random.Generator | None = 0,
        device: str | torch.device = "auto",
        min_signal: float | None = None,
        join_shifted: bool = True,
        init: Any = None,
        **params: Any,
    ) -> None:
        self.method = methods.get(method, **params)
        self.seed = resolve_seed(random_state)
        self.device = resolve_device(device)
        covariates = [
            key for argument, key in covariate_keys(batch_key, categorical_covariate_keys) if argument != "batch_key"
        ]
        self.source = {
            "layer": layer,
            "use_rep": use_rep,
            "batch_key": batch_key,
            "categorical_covariate_keys": covariates or None,
        }
        self._check_choice(min_signal, join_shifted=join_shifted)
        named = mask_var is None or isinstance(mask_var, str)
        self.selection = {
            "mask_var": mask_var if named else "array",
            "drop_empty": bool(drop_empty),
            "min_signal": min_signal if min_signal is None else float(min_signal),
            "join_shifted": bool(join_shifted),
        }
        self.versions = versions()
        with kept_threads():
            raw = read(
                adata,
                **self.source,
                mask_var=mask_var,
                counts=self.method.needs_counts,
                without_counts=self.method.without_counts,
                drop_empty=drop_empty,
                labels_key=self.method.labels_key,
            )
        self._initial: dict[str, torch.Tensor] = {}
        if init is not None:
            with forked(torch.device("cpu")):
                self.method, self._initial = self.method.started_from(
                    init, var_names=raw.var_names, categories=raw.categories
                )
        check_enough_cells(len(raw), self.method)
        check_same_genes(raw)
        self._raw: Raw | None = raw.apart()
        self.kept = raw.kept
        self.cell_names, self.var_names, self._columns = raw.obs_names, raw.var_names, raw.columns
        self.covariate_categories = raw.categories
        self.inputs = self.method.inputs(raw.kind)
        self.history = pd.DataFrame()
        self.seconds = 0.0
        self.batch_size = 0
        self.choice: dict[str, Any] = {"chosen_by": "user"}  # how the number of clusters was chosen
        self.order: torch.Tensor | None = None  # centre of each cluster, the largest cluster first
        self.net: torch.nn.Module | None = None
        self._latent: torch.Tensor | None = None
        self.latent_before: np.ndarray | None = None  # embedding before the clustering stage
        self.preservation: dict[str, float] = {}
        self.tables: dict[str, Any] = {}  # more that the method says of each training cell
        self.report: dict[str, Any] = {}  # and of the run

    def train(
        self,
        *,
        batch_size: int | None = None,
        checkpoint: str | os.PathLike | None = None,
        progress: bool = True,
    ) -> None:
        """Train the network and number the clusters by size.

        Parameters
        ----------
        batch_size
            Cells in a minibatch; None takes 256, and 1,024 from 20,000 cells on.
        checkpoint
            File that is written after every epoch. If it exists, the run goes on from there and ends with the labels
            of an uninterrupted one.
        progress
            Whether to show a progress bar on standard error.

        Raises
        ------
        RuntimeError
            The model is trained already.
        ValueError
            `batch_size` cannot serve, the checkpoint is of another run, or a loss is not finite.
        """
        if self._raw is None:
            msg = "This model is trained already; make a new one to train again."
            raise RuntimeError(msg)
        start, raw = time.perf_counter(), self._raw
        self.batch_size = batch_size = check_batch_size(batch_size, int(total(torch.tensor(len(raw)))))
        saved = self._checkpoint(checkpoint, batch_size)
        if saved and saved.path.exists():
            logger.info("going on from %s", saved.path)
        with kept_threads():
            seen = self._seen(len(raw))
            learnt = raw if seen.all() else raw.cells(seen)
            partition = self._choose(learnt, seen)
            x = self._fit_inputs(learnt)
            self.net = self._build(raw, learnt)
            x = x if learnt is raw else None
            chosen = {"partition": partition, "n_chosen": self.choice.get("n_clusters")}
            cells = replace(self._cells(raw, batch_size, x), **chosen)
            cells = self.method.prepare(cells, self.seed)
        logger.info("running %s on %s cells", self.method.name(), f"{len(cells):,}")
        trainer = Trainer(self.net, cells, seed=self.seed, checkpoint=saved, progress=progress)
        history = trainer.fit(self.method.schedule(self.net, cells, self.seed))
        self.net.requires_grad_(requires_grad=False).eval()
        self.history = pd.DataFrame(history, columns=None if history else ["phase", "epoch"])
        self._latent = networks.embed(self.net, cells)
        self._compare(trainer.before, cells)
        self.order = self._by_size(self._latent)
        self.tables, self.report = self.method.tables(self.net, cells), self.method.report(self.net, cells)
        if trainer.interrupted:
            self.report["interrupted"] = True
        self._raw, self._initial = None, {}
        self.seconds = time.perf_counter() - start
        logger.info("    finished (%.1f s): %d clusters", self.seconds, self.n_clusters)

    def __repr__(self) -> str:
        values = {"counts": "counts of {:,} genes", "lognorm": "{:,} log-normalised genes"}.get(
            self.inputs.kind, "a representation"
        )
        trained = "not trained" if self.order is None else f"{self.n_clusters} clusters"
        return f"<Model {self.method.name()!r} of {values.format(len(self.var_names))}: {trained}>"

    @property
    def n_clusters(self) -> int:
        """Number of clusters, that of cells which belong nowhere left out."""
        return len(self._trained().order) - self.method.has_noise(self.net)

    @property
    def categories(self) -> list[str]:
        """Names of the columns of memberships."""
        named = [str(k) for k in range(self.n_clusters)]
        return [*named, NOISE] if self.method.has_noise(self.net) else named

    def get_latent_representation(self, adata: AnnData | None = None) -> np.ndarray:
        """Embedding of cells.

        Parameters
        ----------
        adata
            New cells, with the model's genes (matched by name) and the same kind of values in the same place; None stands
            for the training cells, which a loaded model does not have.

        Returns
        -------
        Cells x `n_latent`, float32.

        Raises
        ------
        KeyError
            New cells lack a layer or key that the model reads.
        RuntimeError
            The model is not trained.
        ValueError
            The cells cannot serve; the message says what to do.
        """
        return self._embed(adata).cpu().numpy().copy()  # a copy: the training cells' is needed again

    def predict(self, adata: AnnData | None = None, *, soft: bool = False) -> np.ndarray:
        """Clusters of cells.

        Parameters
        ----------
        adata
            New cells, aligned by gene name; None stands for the training cells.
        soft
            Whether to return memberships instead of labels.

        Returns
        -------
        Names of clusters, one a cell; or, if `soft`, memberships, cells x clusters (:attr:`categories`), rows sum to one.

        Raises
        ------
        KeyError
            New cells lack a layer or key that the model reads.
        RuntimeError
            The model is not trained.
        ValueError
            The cells cannot serve; the message says what to do.
        """
        memberships = self.memberships(self.get_latent_representation(adata))
        return memberships if soft else np.asarray(self.categories)[memberships.argmax(1)]

    def check_denoises(self) -> None:
        """Refuse to denoise what the method cannot.

        Raises
        ------
        ValueError
            The method does not predict expression, or there are no genes.
        """
        self.method.check_denoises()
        if self.inputs.kind == "rep":
            msg = "A representation (use_rep) has no genes to denoise; train on counts or log-normalised values."
            raise ValueError(msg)

    @torch.no_grad()
    def denoise(self, adata: AnnData | None = None) -> pd.DataFrame:
        """Denoised expression, by methods that predict it.

        Parameters
        ----------
        adata
            New cells, aligned by gene name; None stands for the training cells.

        Returns
        -------
        Cells x genes that the model was trained on: logarithm of one plus the counts at the median depth of the training
        cells, or log-normalised values where these were given.

        Raises
        ------
        KeyError
            New cells lack a layer or key that the model reads.
        RuntimeError
            The model is not trained.
        ValueError
            The method does not denoise, or was trained on a representation, or the cells cannot serve.
        """
        self.check_denoises()
        z = self._embed(adata)
        names = self.cell_names if adata is None else adata.obs_names
        values = [self.method.denoised(self.net, self.inputs, part).cpu().numpy() for part in z.split(CHUNK)]
        return pd.DataFrame(np.concatenate(values), index=names, columns=self.var_names)

    @torch.no_grad()
    def memberships(self, embedding: np.ndarray) -> np.ndarray:
        """Memberships of cells that are embedded already.

        Parameters
        ----------
        embedding
            Cells x `n_latent`, as :meth:`get_latent_representation` gives it.

        Returns
        -------
        Cells x clusters (:attr:`categories`), the largest cluster first, float32; rows sum to one.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            The embedding is no matrix of the model's dimensions.
        """
        z = torch.as_tensor(np.array(embedding, dtype=np.float32), device=self.device)
        try:
            log_q = self.method.log_soft_assign(self._trained().net, z)
        except (IndexError, RuntimeError) as error:
            if self.order is None:
                raise
            msg = f"embedding has shape {tuple(z.shape)}, which this model did not make; give what get_latent_representation gives."
            raise ValueError(msg) from error
        return log_q.exp()[:, self.order.to(z.device)].cpu().numpy()

    @property
    def mixture(self) -> dict[str, np.ndarray]:
        """Weights (clusters), means and variances (clusters x `n_latent`) of a mixture, the largest cluster first.

        Raises
        ------
        TypeError
            The method learns no mixture.
        """
        found = self.method.mixture(self._trained().net)
        return {name: value[self.order.numpy()] for name, value in found.items()}

    @torch.no_grad()
    def sample(
        self,
        cluster: str | int,
        n: int,
        *,
        covariates: Mapping[str, str] | None = None,
        size_factor: float = 1.0,
        random_state: int | np.random.Generator | None = 0,
    ) -> np.ndarray:
        """Draw cells of a cluster from a generative model.

        Parameters
        ----------
        cluster
            Name of the cluster, as in `obs`.
        n
            How many cells.
        covariates
            Category of each covariate by the name of its column, such as `{"batch": "a"}`; a category is drawn for each
            cell where none is given.
        size_factor
            Depth of the cells, 1 for the median of the training cells.
        random_state
            Seed.

        Returns
        -------
        Counts, cells x `var_names`; features as the decoder has them (cells x features) where it explains no counts.

        Raises
        ------
        TypeError
            The method is no generative model.
        ValueError
            There is no such cluster, covariate or category.
        """
        self._trained()
        check_sample(str(cluster), n, size_factor, self.categories)
        seed = resolve_seed(random_state)
        component = int(self.order[self.categories.index(str(cluster))])
        keys = [key for _, key in covariate_keys(self.source["batch_key"], self.source["categorical_covariate_keys"])]
        codes = drawn_categories(
            dict(covariates or {}), dict(zip(keys, self.covariate_categories, strict=True)), n, seed
        )
        told = None if codes is None else one_hot(torch.from_numpy(codes), list(map(len, self.covariate_categories)))
        told = None if told is None else told.to(self.device)
        return self.method.sample(self.net, component, n, covariates=told, size_factor=size_factor, seed=seed)

    def save(self, folder: str | os.PathLike, *, overwrite: bool = False) -> None:
        """Save to a folder of JSON and safetensors.

        Parameters
        ----------
        folder
            New folder; it appears whole or not at all.
        overwrite
            Whether to replace a model that is there.

        Raises
        ------
        FileExistsError
            The folder exists and `overwrite` is False, or it is no saved model.
        FileNotFoundError
            The folder in which it is to be does not exist.
        RuntimeError
            The model is not trained.
        """
        storage.save(self._trained(), folder, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | os.PathLike, *, device: str | torch.device = "auto") -> Self:
        """Load what :meth:`save` wrote; nothing in the folder is executed, and no AnnData is needed.

        Parameters
        ----------
        folder
            Where it was saved.
        device
            Where it is to work, as in :func:`scdeepclust.tl.deepclust`.

        Returns
        -------
        The trained model, without its training cells.

        Raises
        ------
        FileNotFoundError
            There is no such folder.
        ValueError
            It is not a model of scdeepclust, or is damaged.
        """
        return storage.load(cls, folder, resolve_device(device))

    def _compare(self, before: dict[str, torch.Tensor] | None, cells: Cells) -> None:
        """Keep the embedding as it was before a stage that pulls clusters apart, and warn where that stage tore it."""
        found = {"after": self._latent.cpu().numpy()}
        if before is not None:
            earlier = copy.deepcopy(self.net)
            earlier.load_state_dict(before)
            found["before"] = self.latent_before = networks.embed(earlier, cells).cpu().numpy()
        if cells.x is None or len(cells) < FEWEST_TO_COMPARE:
            return
        some = np.random.default_rng(self.seed).permutation(len(cells))[:MOST_TO_COMPARE]
        reference = cells.x[torch.from_numpy(some).to(self.device)].cpu().numpy()
        for name, z in found.items():
            self.preservation[name] = lineage_preservation(z[some], reference, n_landmarks=100)["score"]
        if self.preservation.get("before", 0.0) - self.preservation["after"] > MOST_LOST:
            less = " or ".join(words for name, words in ASK_LESS.items() if hasattr(self.method, name))
            logger.warning(
                "The clustering stage lowered lineage preservation from %(before).2f to %(after).2f: neighbours were pulled "
                "apart. For lineages use the embedding before it, X_..._before, as tl.lineage does; for clusters ask it for "
                "less: %(less)s.",
                {**self.preservation, "less": less},
            )

    def _checkpoint(self, path: str | os.PathLike | None, batch_size: int) -> Checkpoint | None:
        if path is None:
            return None
        if n_processes() > 1:
            msg = "checkpoint= works in a single process only; leave it out under torchrun."
            raise ValueError(msg)
        raw = self._raw
        settings = {
            "method": self.method.name(),
            **self.method.params,
            "seed": self.seed,
            "batch_size": batch_size,
            "device": self.device.type,
            "versions": versions(),
            "genes": raw.var_names,
            "n_genes": raw.n_genes,
            "covariates": raw.categories,
            "min_signal": self.selection["min_signal"],
            "join_shifted": self.selection["join_shifted"],
        }
        arrays = [raw.values] if raw.kind == "rep" else [raw.values.data, raw.values.indices, raw.values.indptr]
        arrays += [weights.numpy() for weights in self._initial.values()]
        arrays += [array for array in (raw.covariates, raw.totals, raw.labels) if array is not None]
        found = Checkpoint(path, fingerprint(settings, arrays))
        found.load()  # a file that cannot serve is refused before any work
        return found

    def _check_choice(self, min_signal: float | None, *, join_shifted: bool) -> None:
        """Refuse a threshold that is none, and what would decide nothing."""
        true_or_false("join_shifted", join_shifted)
        if min_signal is not None:
            check_min_signal(min_signal)
        asked = {"min_signal": min_signal} if min_signal is not None else {}
        asked |= {} if join_shifted else {"join_shifted": join_shifted}
        if asked and (self.method.n_clusters is not None or self.method.finds_number):
            given = self.method.finds_number or f"n_clusters={self.method.n_clusters}"
            name, value = asked.popitem()
            msg = f"{name}={value!r} decides nothing, because the number of clusters is that of {given}; leave it out."
            raise ValueError(msg)

    def _choose(self, learnt: Raw, seen: np.ndarray) -> torch.Tensor | None:
        """The partition to start from, if no number of clusters is given, chosen among the cells that were seen.

        Several processes take that of the first, which has chosen among its own cells.
        """
        if self.method.n_clusters is not None:
            return None
        if self.method.finds_number:
            self.choice = {"chosen_by": self.method.finds_number}
            return None
        logger.info("choosing the number of clusters")
        named = {name: self.selection[name] for name in ("min_signal", "join_shifted")}
        rules = Rules(**{name: value for name, value in named.items() if value is not None})
        choice = from_rank_zero(
            lambda: choose_n_clusters(
                learnt, self.method.inputs(learnt.kind), rules, curve=False, seed=self.seed, device=self.device
            )
        )
        choice.announce()
        self.choice = choice.record
        labels = np.full(len(seen), -1)
        if rank() == 0:
            labels[seen] = choice.labels
        return torch.as_tensor(labels, device=self.device)

    def _seen(self, n: int) -> np.ndarray:
        """Which cells anything may be fitted to before training: not those held out, where their loss is to be honest."""
        if not self.method.scores_unseen:
            return np.ones(n, dtype=bool)
        return np.isin(np.arange(n), split(n, self.seed)[0].numpy())

    def _fit_inputs(self, raw: Raw) -> torch.Tensor | None:
        """Fit the transformation; several processes take that of the first."""
        x = None
        if n_processes() == 1:
            x = self.inputs.fit(raw, seed=self.seed, device=self.device)
        else:

            def fitted() -> dict[str, torch.Tensor]:
                self.inputs.fit(raw, seed=self.seed, device=self.device)
                return self.inputs.state_dict()

            self.inputs.load_state_dict(from_rank_zero(fitted))
        self.inputs.to(self.device)
        return x

    def _build(self, raw: Raw, learnt: Raw) -> torch.nn.Module:
        with forked(cpu := torch.device("cpu")):
            reseed(self.seed, cpu)
            net = self.method.network(
                self.inputs, n_genes=len(raw.var_names), n_categories=sum(map(len, raw.categories))
            )
        with torch.no_grad():
            self.method.initialise(net, self.inputs, raw, learnt)
            net.load_state_dict(from_rank_zero(lambda: {**net.state_dict(), **self._initial}))
        return net.to(self.device)

    def _cells(self, raw: Raw, batch_size: int, x: torch.Tensor | None = None) -> Cells:
        return self.inputs.cells(
            raw, device=self.device, batch_size=batch_size, with_counts=self.method.reads_values, x=x
        )

    def _by_size(self, z: torch.Tensor) -> torch.Tensor:
        log_q = gathered(self.method.log_soft_assign(self.net, z))
        sizes = torch.bincount(log_q.argmax(1), minlength=log_q.shape[1])
        n_noise = int(self.method.has_noise(self.net))
        of_clusters = sizes[: len(sizes) - n_noise]
        if not len(of_clusters):
            logger.warning(
                "HDBSCAN found no cluster, only noise; lower min_cluster_size, or take another algorithm (cluster=)."
            )
        if (of_clusters == 0).any():
            logger.warning(
                "%d of %d clusters are empty; fewer may describe the data.",
                int((of_clusters == 0).sum()),
                len(of_clusters),
            )
        order = of_clusters.argsort(descending=True, stable=True)
        return torch.cat([order, order.new_tensor([len(of_clusters)] * n_noise)]).cpu()

    def _trained(self) -> Self:
        if self.order is None:
            msg = "This model is not trained yet; call model.train() first."
            raise RuntimeError(msg)
        return self

    def _embed(self, adata: AnnData | None) -> torch.Tensor:
        self._trained()
        if adata is None:
            if self._latent is None:
                msg = "A loaded model does not keep its training cells; give adata."
                raise ValueError(msg)
            return self._latent
        raw = align(
            adata,
            self.var_names,
            kind=self.inputs.kind,
            n_features=self.inputs.n_features,
            columns=self._columns,
            categories=self.covariate_categories,
            **self.source,
        )
        return networks.embed(self.net, self._cells(raw, batch_size=256))
