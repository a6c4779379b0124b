"""MAE = autoencoder of genes x squared error of those that are hidden x none x pretrain, then clusters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Lt

from .. import losses, networks
from ..schedule import Phase
from .encoder import EncoderMethod

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ..data import Batch, Cells, Inputs, Raw

HELD_OUT_SEED = 0  # of the genes hidden in cells held out: the same in every epoch and run, so that losses compare
RECONSTRUCTION, MASK = 0.3, 0.7  # weights of scMAE's two terms


@dataclass(frozen=True, kw_only=True)
class MAE(EncoderMethod):
    """Masked autoencoder: some genes of a cell are hidden and predicted from the others; clusters follow.

    Use it where you want a score you can trust: what is predicted is not seen, so the loss on cells held out
    (`held_out` in the history) falls only for what genes tell of each other, stops the training, and compares settings on
    the same cells and genes, such as `n_latent`.

    He et al., CVPR 2022, arXiv 2111.06377; the loss on what was held out is noise2self's (Batson and Royer, ICML 2019,
    arXiv 1901.11365). As in the paper: the loss is taken over hidden entries alone. Differently:
    genes instead of patches and no transformer; hidden genes stand at their mean; entries that are not zero are hidden
    at `mask_rate` and at most as many zeros, each weighted by one over its chance, so that the loss is that of an
    even choice; the network begins as PCA. A cell's size factor still counts hidden genes.

    `form="scmae"` is that of Fang, Zheng, Li, Bioinformatics 2024, doi 10.1093/bioinformatics/btae020: genes are
    swapped for another cell's, the network also tells which, and the error runs over all genes, 0.75 to 0.25 in favour of
    swapped ones. Its paper takes `mask_rate=0.4, transform="log1p", gene_scaling=1, n_pcs=None, hidden=(256, 128),
    n_latent=128`, fixed epochs and imputed zeros.

    Parameters
    ----------
    form
        `"masked"` or `"scmae"`.
    mask_rate
        Share of entries that are hidden or swapped.
    n_pcs
        Width of the first, linear layer, which begins as so many principal components. None reads genes directly.
    patience
        Training ends after this many epochs without a lower loss on a tenth of the cells, held out.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, "mae", n_clusters=3, pretrain_steps=20, progress=False)
    >>> sorted(adata.uns["deepclust"]["held_out"])
    ['loss', 'loss_of_mean', 'loss_se']
    """

    predicts_by: ClassVar[tuple[str, ...]] = ("form", "mask_rate", "transform", "gene_scaling")

    form: Literal["masked", "scmae"] = "masked"
    mask_rate: Annotated[float, Gt(0), Lt(1)] = 0.3
    patience: Annotated[int, Ge(1)] = 10

    @property
    def scores_unseen(self) -> bool:
        """ScMAE's loss runs over all genes."""
        return self.form == "masked"

    @property
    def reads_values(self) -> bool:
        """Whether minibatches carry genes: they tell which entries are zero."""
        return True

    def inputs(self, kind: str) -> Inputs:
        """Genes, of which some can be hidden."""
        from ..data import Inputs

        return Inputs(kind, self.transform, self.gene_scaling, None)

    def network(self, inputs: Inputs, *, n_genes: int, n_categories: int) -> nn.Module:
        """A masked autoencoder, and the place for clusters."""
        n_vars = inputs.n_features
        net = networks.MaskedAutoencoder(
            n_vars,
            None if self.n_pcs is None else min(self.n_pcs, n_vars),
            self.hidden,
            self.n_latent,
            residual=self.network_type == "residual" and self.n_pcs is not None,
            rotation=inputs.components.clone() if inputs.principal else None,
            n_covariates=n_categories,
            predicts_mask=self.form == "scmae",
        )
        net.register_buffer("score", net.decoder.weight.new_full((3,), float("nan")))
        return self.attach_head(net, self.n_latent)

    def initialise(self, net: nn.Module, inputs: Inputs, raw: Raw, learnt: Raw) -> None:
        """Begin as PCA."""
        if self.n_pcs is None:
            return
        components, spread = inputs.components, 1.0
        if not inputs.principal:
            twin = super().inputs(learnt.kind)
            twin.fit(replace(learnt, covariates=None), seed=0)  # components alone: no batches are taken out
            components, spread = twin.components, float(twin.spread / inputs.spread)
        net.start(components[: net.axes.out_features], spread)

    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """Predict what is hidden, until cells held out gain no more, then find clusters."""
        return [
            Phase(
                "pretrain",
                epochs=cells.n_epochs(self.pretrain_steps),
                loss=lambda batch: self.learn(net, batch),
                end=lambda held_out: self.take_score(net, cells, held_out),
                patience=self.patience,
                recordable=True,
                lr=self.lr,
            ),
            self.find_clusters(net, cells, seed),
        ]

    def learn(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Terms of one minibatch."""
        genes = net.genes(batch.x)
        generator = None if net.training else _generator(genes.device)
        if self.form == "scmae":
            return self.swapped(net, genes, batch, generator)
        hidden, chance = self.hide(genes, batch, generator)
        prediction = self.predicted(net, genes, batch, hidden, chance)
        return {"masked": losses.masked_mse(prediction, genes, hidden, chance)}

    def hide(self, genes: Tensor, batch: Batch, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Which entries are hidden, and the chance of each."""
        there = genes.new_ones(genes.shape, dtype=bool) if batch.counts is None else batch.counts.dense() > 0
        chance = losses.masking_chances(there, self.mask_rate)
        return _uniform(genes, generator) < chance, chance

    @staticmethod
    def predicted(net: nn.Module, genes: Tensor, batch: Batch, hidden: Tensor, chance: Tensor) -> Tensor:
        """Genes as the network tells them from those that are not hidden."""
        # Scaled up as in dropout, so that axes have the expected values of the whole cell.
        return net.decode(net.embed(genes * ~hidden / (1 - chance)), batch.covariates)[0]

    def take_score(self, net: nn.Module, cells: Cells, held_out: Tensor | None) -> None:
        """Record the loss on cells held out, its standard error, and the loss of predicting the mean."""
        if not self.scores_unseen:
            return
        import torch

        from ..distributed import gathered

        net.eval()
        found = []
        for batch in cells.batches(held_out):
            genes = net.genes(batch.x)
            hidden, chance = self.hide(genes, batch, _generator(genes.device))
            weight = hidden / chance
            errors = (self.predicted(net, genes, batch, hidden, chance) - genes).square(), genes.square()
            found.append(torch.stack([*((weight * error).sum(1) for error in errors), weight.sum(1)], 1))
        loss, mean, weight = gathered(torch.cat(found)).T
        each = (loss - loss.sum() / weight.sum() * weight) / weight.mean()  # of a ratio of means
        loss, mean = loss.sum() / weight.sum(), mean.sum() / weight.sum()
        net.score.copy_(torch.stack([loss, losses.standard_error(each), mean]))
        net.train()

    def report(self, net: nn.Module, cells: Cells) -> dict[str, Any]:
        """The loss on genes hidden in cells held out, beside what every encoder reports."""
        found = super().report(net, cells)
        if not self.scores_unseen:
            return found
        names = ("loss", "loss_se", "loss_of_mean")
        return found | {"held_out": dict(zip(names, net.score.tolist(), strict=True))}

    def swapped(
        self, net: nn.Module, genes: Tensor, batch: Batch, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Terms of scMAE."""
        donor = genes[_uniform(genes[:, 0], generator).argsort()]
        swapped = genes.where(_uniform(genes, generator) >= self.mask_rate, donor)
        changed = swapped != genes
        prediction, logits = net.decode(net.embed(swapped), batch.covariates)
        return {
            "reconstruction": RECONSTRUCTION * losses.swap_loss(prediction, genes, changed),
            "mask": MASK * losses.changed_entries(logits, changed),
        }


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return like.new_empty(like.shape).uniform_(generator=generator)


def _generator(device: torch.device) -> torch.Generator:
    import torch

    return torch.Generator(device).manual_seed(HELD_OUT_SEED)
