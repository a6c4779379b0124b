"""VaDE = variational autoencoder x likelihood of counts x Gaussian mixture as prior x pretrain, then both together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from .. import clustering, losses, networks
from ..schedule import Phase
from .autoencoder import AutoencoderMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..data import Batch, Cells, Inputs, Raw


@dataclass(frozen=True, kw_only=True)
class VaDE(AutoencoderMethod):
    """Variational deep embedding: counts explained by a latent space in which every cluster is a Gaussian.

    Take it where a model of the data is wanted: clusters have posterior probabilities, and cells of any of them can be
    drawn (:meth:`scdeepclust.Model.sample`). Where only labels are, :class:`IDEC` is faster and agrees with them as well or better.

    Jiang, Zheng, Tan, Tang, Zhou, IJCAI 2017, doi 10.24963/ijcai.2017/273, arXiv 1611.05148. As in the paper: the evidence
    lower bound with the posterior of a cell's cluster taken at a sample of its latent variables, deterministic
    pretraining, learning rates of their own for network and mixture, both decaying. Differently, so that clusters do not
    collapse: posteriors start with nearly no variance, the divergence is warmed up, component variances are bounded, weights are
    logits and all probabilities are logarithms. And for cells: counts are explained by a negative binomial given the cell's
    size factor; the mixture starts from the clusters that k-means finds in features averaged over neighbours; a linear
    decoder of these features, from the posterior's mean, shapes the embedding in pretraining and holds it afterwards
    (`anchor`). A squared error counts as a Gaussian whose variance is the error itself. Labels are those at the
    posterior's mean, so the same cell always has the same.

    `init` of :func:`scdeepclust.tl.deepclust` takes a trained `scvi.model.SCVI` of the same genes: the network is then
    built as that model's (`network_type="batchnorm"`), takes its weights over, and the mixture starts in its latent space,
    without pretraining. The model must be as scvi-tools makes it by default but for widths, layers, latent dimensions,
    dropout, likelihood (NB or ZINB), batch and categorical covariates.

    Parameters
    ----------
    network_type
        `"residual"` and `"mlp"` as elsewhere, with the embedding's variance from a perceptron of its own. `"batchnorm"`: the
        layers of scvi-tools' SCVI, of one width, which read the logarithm of one plus the counts of genes; `transform`,
        `gene_scaling`, `n_pcs`, `n_diffusion` and `anchor` are then without effect.
    dropout
        Share of the hidden units of a `"batchnorm"` encoder that are left out in training.
    start
        What finds the clusters from which the mixture starts where `n_clusters` is given: `"kmeans"`, `"gmm"` or
        `"leiden"`, in features averaged over neighbours where `n_diffusion` asks for it. Without it, the mixture starts from
        the clusters that the data have chosen.
    weight
        Weight of the divergence from the mixture; 1 is the evidence lower bound.
    anchor
        Weight of the linear decoder of features beside counts; 0 leaves it to pretraining.
    warmup_steps
        Minibatches over which the weight of the divergence grows from nothing.
    cluster_steps
        At most this many minibatches of the second stage, rounded up to whole passes over the cells.
    cluster_lr
        Learning rate of Adam for the network in the second stage.
    mixture_lr
        Learning rate of Adam for the mixture.
    decay
        Factor of both from one epoch of the second stage to the next.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> model = sdc.Model(adata, "vade", n_clusters=3, pretrain_steps=20, cluster_steps=20)
    >>> model.train(progress=False)
    >>> model.sample("0", 5).shape  # counts of five new cells
    (5, 100)
    """

    likelihood: Literal["mse", "nb", "zinb"] = "nb"
    network_type: Literal["residual", "mlp", "batchnorm"] = "residual"
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    start: Literal["kmeans", "gmm", "leiden"] = "kmeans"
    weight: Annotated[float, Ge(0)] = 1.0
    anchor: Annotated[float, Ge(0)] = 1.0
    warmup_steps: Annotated[int, Ge(0)] = 200
    cluster_steps: Annotated[int, Ge(0)] = 500
    cluster_lr: Annotated[float, Gt(0)] = 5e-4
    mixture_lr: Annotated[float, Gt(0)] = 2e-3
    decay: Annotated[float, Gt(0), Le(1)] = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network_type != "batchnorm":
            return
        if not self.needs_counts or not self.hidden or len(set(self.hidden)) > 1 or self.locality:
            msg = (
                f"network_type='batchnorm' explains counts by layers of one width, without locality; found likelihood="
                f"{self.likelihood!r}, hidden={self.hidden}, locality={self.locality}: give for example "
                "likelihood='nb', hidden=(128,), locality=0."
            )
            raise ValueError(msg)

    def inputs(self, kind: str) -> Inputs:
        """Features as elsewhere; the logarithm of one plus the counts for layers with batch normalisation."""
        if self.network_type != "batchnorm":
            return super().inputs(kind)
        from ..data import Inputs

        return self.searched(Inputs(kind, "log1p_counts", 0.0, None))

    def network(self, inputs: Inputs, *, n_genes: int, n_categories: int) -> nn.Module:
        """A variational autoencoder with a mixture as its prior, and a linear decoder of features beside that of counts."""
        if self.network_type == "batchnorm":
            net = self._layers(n_genes, n_categories)
        else:
            residual = self.network_type == "residual" and inputs.principal
            net = networks.VariationalAutoencoder(
                inputs.n_features,
                self.hidden,
                self.n_latent,
                n_out=n_genes if self.needs_counts else inputs.n_features,
                n_covariates=n_categories,
                residual=residual,
                counts=self.needs_counts,
                zero_inflated=self.likelihood == "zinb",
            )
        anchored = self.needs_counts and inputs.principal
        net.features = networks.linear(self.n_latent, inputs.n_features) if anchored else None
        net.mixture = networks.Mixture(self.n_latent)
        return net

    def _layers(self, n_genes: int, n_categories: int) -> nn.Module:
        return networks.CountAutoencoder(
            n_genes,
            self.hidden[0],
            len(self.hidden),
            self.n_latent,
            n_covariates=n_categories,
            dropout=self.dropout,
            zero_inflated=self.likelihood == "zinb",
        )

    def initialise(self, net: nn.Module, inputs: Inputs, raw: Raw, learnt: Raw) -> None:
        """Let a decoder of counts begin at each gene's mean, or a softmax over genes at the cells' depth."""
        if self.network_type == "batchnorm":
            net.log_depth.copy_(inputs.log_depth())
        else:
            super().initialise(net, inputs, raw, learnt)

    def started_from(
        self, init: Any, *, var_names: list[str], categories: list[list[str]]
    ) -> tuple[VaDE, dict[str, Tensor]]:
        """The method in the form of a model that scvi-tools trained, and that model's weights."""
        module = getattr(init, "module", None)
        if not all(hasattr(module, part) for part in ("z_encoder", "decoder", "px_r", "gene_likelihood")):
            msg = f"init must be a trained scvi.model.SCVI, not {type(init).__name__}."
            raise TypeError(msg)
        if not init.is_trained:
            msg = "init is not trained yet; call its train() first."
            raise ValueError(msg)
        if module.gene_likelihood not in {"nb", "zinb"} or module.latent_distribution != "normal":
            msg = (
                f"init has likelihood {module.gene_likelihood!r} and latent distribution "
                f"{module.latent_distribution!r}; 'nb' or 'zinb', and 'normal', can be taken over."
            )
            raise ValueError(msg)
        if init.adata.var_names.to_list() != var_names:
            msg = (
                f"init was trained on other genes, or in another order ({init.adata.n_vars} there, {len(var_names)} here): "
                "give the cells with the genes of its training, adata[:, init.adata.var_names], and mask_var=None."
            )
            raise ValueError(msg)
        registry = init.adata_manager.get_state_registry
        known = [list(map(str, registry("batch").categorical_mapping))]
        known += [list(map(str, names)) for names in registry("extra_categorical_covs").get("mappings", {}).values()]
        if [names for names in known if len(names) > 1] != [names for names in categories if len(names) > 1]:
            msg = (
                f"init was trained with the categories {known}, here they are {categories}: give batch_key and "
                "categorical_covariate_keys as in its training."
            )
            raise ValueError(msg)
        form = replace(
            self,
            network_type="batchnorm",
            hidden=(module.n_hidden,) * module.n_layers,
            n_latent=module.n_latent,
            likelihood=module.gene_likelihood,
            pretrain_steps=0,
        )
        weights = networks.trained_weights(module, list(map(len, categories)))
        try:
            form._layers(len(var_names), sum(map(len, categories))).take_over(weights)
        except RuntimeError as error:
            msg = f"init has layers that are not scvi-tools' default and cannot be taken over ({error})."
            raise ValueError(msg) from error
        return form, weights

    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """Pretrain without noise, place the mixture, then train all."""
        return [
            self.pretrain(net, cells),
            Phase(
                "cluster",
                epochs=cells.n_epochs(self.cluster_steps),
                loss=lambda batch: self.cluster_terms(net, cells, batch),
                start=lambda: self.start_mixture(net, cells, seed),
                sharpens=True,
                recordable=True,
                lr=self.cluster_lr,
                lr_of={"mixture.": self.mixture_lr},
                decay=self.decay,
                after=net.mixture.step,
            ),
        ]

    def learn(self, net: nn.Module, cells: Cells, batch: Batch) -> dict[str, Tensor]:
        """Terms of pretraining: features shape the embedding, from which counts are explained."""
        if net.features is None:
            return super().learn(net, cells, batch)
        z = self.encode(net, batch)
        return {
            "reconstruction": self.reconstruction(net, batch, z.detach()),
            "features": losses.mse(net.features(z), batch.target),
            **self.held_together(net, cells, batch, z),
        }

    def cluster_terms(self, net: nn.Module, cells: Cells, batch: Batch) -> dict[str, Tensor]:
        """Terms of the negative evidence lower bound, divided by the number of genes or features."""
        mean, log_variance = net.posterior(batch.x)
        z = mean + (log_variance / 2).exp() * mean.new_empty(mean.shape).normal_()
        reconstruction = self.reconstruction(net, batch, z)
        # The likelihood of a Gaussian whose variance is the error, up to a constant.
        terms = {"reconstruction": reconstruction if self.needs_counts else reconstruction.clamp_min(1e-6).log() / 2}
        if net.features is not None and self.anchor:
            terms["features"] = self.anchor * losses.mse(net.features(mean), batch.target)
        weight = self.weight * net.mixture.warmth(self.warmup_steps) / net.n_out
        terms["divergence"] = weight * losses.mixture_divergence(mean, log_variance, z, tuple(net.mixture))
        return terms | self.held_together(net, cells, batch, mean)

    def start_mixture(self, net: nn.Module, cells: Cells, seed: int) -> None:
        """Give the mixture the clusters that the data have chosen, or those found now."""
        from ..distributed import from_rank_zero, gathered

        here = networks.embed(net, cells)
        smooth = self.start_features(here, cells.target)
        z = gathered(here).cpu().numpy()
        smooth = z if smooth is None else gathered(smooth).cpu().numpy()

        def found() -> tuple[np.ndarray, np.ndarray]:
            if self.n_clusters is None:
                known = cells.partition >= 0
                return here[known].cpu().numpy(), cells.partition[known].cpu().numpy()
            clusters = clustering.find(smooth, self.start, self.n_clusters, n_init=self.n_init, random_state=seed)
            return z[clusters.cells], np.unique(clusters.labels, return_inverse=True)[1]

        net.mixture.set(*from_rank_zero(found))

    def log_soft_assign(self, net: nn.Module, z: Tensor) -> Tensor:
        """Posterior probabilities of the mixture's components."""
        return losses.mixture_log_posterior(z, *net.mixture)

    def mixture(self, net: nn.Module) -> dict[str, np.ndarray]:
        """Weights, means and variances of the components."""
        logits, means, log_variances = net.mixture
        found = {"weights": logits.softmax(0), "means": means, "variances": log_variances.exp()}
        return {name: value.detach().cpu().numpy() for name, value in found.items()}

    def sample(
        self, net: nn.Module, component: int, n: int, *, covariates: Tensor | None, size_factor: float, seed: int
    ) -> np.ndarray:
        """Cells of one component."""
        rng = np.random.default_rng(seed)
        mixture = self.mixture(net)
        mean, variance = mixture["means"][component], mixture["variances"][component]
        z = net.mixture.means.new_tensor(rng.normal(mean, np.sqrt(variance), (n, len(mean))))
        decoded = net.decode(z, covariates)
        if not self.needs_counts:
            return decoded.mean.cpu().numpy()
        rate = decoded.log_counts(z.new_tensor(size_factor)).clamp(-30, 15).double().exp().cpu().numpy()
        dispersion = net.log_dispersion.exp().double().cpu().numpy()
        counts = rng.poisson(rate * rng.gamma(dispersion, 1 / dispersion, rate.shape))
        if decoded.zero_logits is not None:
            counts[rng.random(rate.shape) < decoded.zero_logits.sigmoid().cpu().numpy()] = 0
        return counts
