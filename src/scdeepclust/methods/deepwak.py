"""DeePWAK = autoencoders x prediction of held-out halves x averages within soft clusters x pretrain, then all together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from .. import clustering, diffusion, losses, networks
from ..diffusion import signal
from ..schedule import Phase
from .features import FeatureMethod

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from ..data import Batch, Cells, Inputs, Raw

N_SPLITS = 5  # over which the loss of the cells held out is averaged


@dataclass(frozen=True, kw_only=True)
class DeePWAK(FeatureMethod):
    """Denoising with a deep partitioned weighted affinity kernel: clusters are what predicts cells from each other.

    Each head embeds cells, partitions them softly, replaces every embedding by the average over the other cells
    that share its clusters, and decodes that; heads are pooled into one prediction. Use it for several partitions of the
    same cells at once (`n_heads`), for denoising within clusters, or where the loss itself should say how much a partition
    predicts (`uns[key]["held_out"]`).

    Wiechecki and Zaslavsky, preprint of 2024, and their code. Differently: the network reads half of the molecules (or
    genes, or axes) of a cell and predicts the other half, because the published form, which predicts what it reads
    (`split="none"`), predicts pure noise too; averages are over rows and not columns of the kernel, are over more
    than a minibatch and never need a matrix of cells x cells; the partitioner reads the head's embedding (as in an earlier
    version of their code) and starts from k-means, several heads from partitions whose means add up and that share little;
    heads are kept independent by a term, which their loss lacks;
    autoencoders are anchored by their own reconstruction; Adam keeps its state.

    Parameters
    ----------
    split
        What the network reads and what it predicts: halves of the molecules (`"count_split"`, of counts), of the genes
        (`"gene_split"`; of a representation, of its axes after a random turn), both the same (`"none"`, as published),
        or `"auto"`: of the molecules where there are counts, of the genes otherwise.
    n_heads
        Heads. Further heads find what else tells cells apart than the clusters of the first.
    n_blocks
        Blocks of heads behind each other; each reads what the one before has denoised.
    pooling
        How heads' predictions become one: their `"sum"`, or a `"linear"` layer.
    consensus
        How heads become one partition and embedding: by clusters of what they predict together (`"ensemble"`), or by an
        encoder and a partitioner that are trained to serve all heads in place of their own (`"learned"`, as published).
    independence
        Weight of the mutual information (nats) between heads' partitions, in the choice of where they start and in
        joint training.
    head_dropout
        Share of heads that is left out of a cell's prediction in training, so that each has to stand alone.
    anchor
        Weight of each head's own reconstruction without averages.
    prune
        Whether clusters are removed, after training, the one missed least first, as long as the loss on cells held out
        rises by no more than its standard error; `n_clusters` is then the most there may be.
    network_type
        `"residual"`: encoders start as the identity on the leading components and decoders are linear. `"mlp"`:
        perceptrons, as published; also what `"residual"` means where genes are read.
    hidden
        Widths of the encoders' hidden layers; perceptron decoders mirror them.
    n_latent
        Dimensions of each head's embedding.
    n_neighbors
        Neighbours over which features are averaged before k-means finds clusters to start from.
    n_diffusion
        Steps of that average.
    n_init
        Starts of k-means; the best is taken.
    pretrain_steps
        At most this many minibatches in which each head learns to predict without averages.
    cluster_steps
        At most this many minibatches of joint training.
    patience
        Both stages end after this many epochs without a lower loss on a tenth of the cells, held out.
    lr
        Learning rate of Adam in pretraining.
    cluster_lr
        Learning rate of Adam in joint training.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3)
    >>> sdc.tl.deepclust(adata, "deepwak", n_clusters=3, n_heads=2, pretrain_steps=20, cluster_steps=20, progress=False)
    >>> list(adata.obsm["deepclust_heads"])
    ['head0', 'head1']
    """

    predicts_by: ClassVar[tuple[str, ...]] = ("split", "transform", "gene_scaling", "n_pcs")

    split: Literal["auto", "count_split", "gene_split", "none"] = "auto"
    n_heads: Annotated[int, Ge(1)] = 1
    n_blocks: Annotated[int, Ge(1)] = 1
    pooling: Literal["sum", "linear"] = "sum"
    consensus: Literal["ensemble", "learned"] = "ensemble"
    independence: Annotated[float, Ge(0)] = 0.1
    head_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    anchor: Annotated[float, Ge(0)] = 0.1
    prune: bool = False
    network_type: Literal["residual", "mlp"] = "residual"
    hidden: tuple[Annotated[int, Ge(1)], ...] = (256, 64)
    n_latent: Annotated[int, Ge(1)] = 20
    n_neighbors: Annotated[int, Ge(1)] = 10
    n_diffusion: Annotated[int, Ge(0)] = 1
    n_init: Annotated[int, Ge(1)] = 30
    pretrain_steps: Annotated[int, Ge(0)] = 500
    cluster_steps: Annotated[int, Ge(0)] = 1000
    patience: Annotated[int, Ge(1)] = 10
    lr: Annotated[float, Gt(0)] = 1e-3
    cluster_lr: Annotated[float, Gt(0)] = 1e-3

    @property
    def scores_unseen(self) -> bool:
        """The published form predicts what it has read."""
        return self.split != "none"

    @property
    def without_counts(self) -> str:
        """Genes can be split, too."""
        return "give split='gene_split'"

    @property
    def needs_counts(self) -> bool:
        """Whether molecules have to be split."""
        return self.split == "count_split"

    @property
    def reads_values(self) -> bool:
        """Whether minibatches carry values of genes, of which halves are made."""
        return self.split != "none"

    def network(self, inputs: Inputs, *, n_genes: int, n_categories: int) -> nn.Module:
        """Blocks of heads."""
        net = networks.Affinity(
            inputs.n_features,
            self.hidden,
            self.n_latent,
            n_heads=self.n_heads,
            n_blocks=self.n_blocks,
            n_covariates=n_categories,
            linear=self.pooling == "linear",
            learned=self.consensus == "learned",
            residual=self.network_type == "residual" and inputs.principal,
        )
        net.register_buffer("median_total", inputs.median_total.reshape(()).clone())
        # Of each gene the mean that was seen, and what gives it back to denoised values.
        net.register_buffer("gene_mean", inputs.mean.new_zeros(n_genes))
        net.register_buffer("gain", inputs.mean.new_ones(n_genes))
        return net

    def prepare(self, cells: Cells, seed: int) -> Cells:
        """Average features over neighbours, for k-means to find clusters in; not of cells held out, nor over them."""
        if cells.x is None or not self.n_diffusion:
            return cells
        seen, _ = cells.split(seed)
        target, x = cells.x.clone(), cells.x[seen]
        neighbors = diffusion.neighbors_of(x, self.n_neighbors, random_state=seed)
        target[seen] = diffusion.average_of(x, neighbors, self.n_diffusion)
        return replace(cells, target=target)

    def halves(self, net: nn.Module, cells: Cells, batch: Batch, again: int = 0) -> losses.Halves:
        """What the network reads of a minibatch, and the error of what it predicts; in evaluation the same each time."""
        import torch

        seed = int(batch.index[0]) + len(cells) * again
        generator = None if net.training else torch.Generator(batch.x.device).manual_seed(seed)
        if self.split == "none":
            return losses.Halves(batch.x, losses.squared_error(batch.x))
        if batch.counts is None:
            return losses.of_axes(batch.x, generator)
        if batch.size is None or self.split == "gene_split":
            projected = cells.x is not None
            features = partial(cells.features, covariates=batch.covariates)
            return losses.of_genes(batch.counts, batch.size, features, projected=projected, generator=generator)

        def of_half(rows: losses.Counts, size: Tensor) -> Tensor:
            return cells.features(rows, size, batch.covariates) - net.shift

        return losses.of_molecules(batch.counts, batch.size, net.median_total, of_half, generator)

    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """Pretrain heads, place clusters, train all, and, where that is learned, the consensus.

        Nothing before the score has seen the cells held out: no axes, no clusters to start from, no averages.
        """
        seen, _ = cells.split(seed)
        joint = {
            "epochs": cells.n_epochs(self.cluster_steps),
            "lr": self.cluster_lr,
            "patience": self.patience,
        }
        phases = [
            Phase(
                "pretrain",
                epochs=cells.n_epochs(self.pretrain_steps),
                loss=lambda batch: {"reconstruction": self.plain(net, cells, batch)},
                start=lambda: self.center(net, cells, seen),
                patience=self.patience,
                lr=self.lr,
            ),
            Phase(
                "cluster",
                loss=lambda batch: self.denoise(net, cells, batch),
                start=lambda: self.place(net, cells, seen, seed),
                end=lambda held_out: self.settle(net, cells, seen, held_out, seed),
                sharpens=True,
                **joint,
            ),
        ]
        if self.n_heads > 1 and self.consensus == "learned":
            phases.append(
                Phase(
                    "consensus",
                    loss=lambda batch: self.agree(net, cells, batch),
                    end=lambda held_out: self.settle_consensus(net, cells, seen, held_out),
                    lr_of={"blocks.": 0.0, "pools.": 0.0},
                    **joint,
                )
            )
        return phases

    # ------------------------------------------------------------------------------------------------- objectives

    def plain(self, net: nn.Module, cells: Cells, batch: Batch) -> Tensor:
        """Error of every head's autoencoder alone, mean over heads."""
        halves = self.halves(net, cells, batch)
        heads = [head.autoencoder for block in net.blocks for head in block]
        return sum(
            halves.error(head.decode(head.encode(halves.seen), batch.covariates).mean).mean() for head in heads
        ) / len(heads)

    def denoise(self, net: nn.Module, cells: Cells, batch: Batch) -> dict[str, Tensor]:
        """Terms of joint training."""
        halves = self.halves(net, cells, batch)
        blocks = net(halves.seen, batch.covariates, dropout=self.head_dropout, plain=True)
        parts = [part for block, _ in blocks for part in block]
        terms = {
            "denoising": sum(halves.error(pooled).mean() for _, pooled in blocks) / len(blocks),
            "reconstruction": self.anchor * sum(halves.error(part.plain).mean() for part in parts) / len(parts),
        }
        if self.independence and self.n_heads > 1:
            pairs = [pair for block, _ in blocks for pair in combinations([part.log_c.exp() for part in block], 2)]
            shared = sum(losses.mutual_information(*pair) for pair in pairs) / len(pairs)
            terms["independence"] = self.independence * shared
        return terms

    def agree(self, net: nn.Module, cells: Cells, batch: Batch) -> dict[str, Tensor]:
        """The loss of all heads' decoders on the consensus instead of their own embeddings and partitions."""
        halves = self.halves(net, cells, batch)
        return {"denoising": halves.error(net.predict(net.encode(halves.seen), batch.covariates)).mean()}

    # ------------------------------------------------------------------------------------------ before and after

    def center(self, net: nn.Module, cells: Cells, seen: Tensor) -> None:
        """Measure how far the mean of half a cell's features is from that of whole cells."""
        if self.split not in {"auto", "count_split"} or not cells.with_counts or cells.size is None:
            return
        import torch

        from ..distributed import total

        net.eval()
        sums = net.shift.new_zeros(len(net.shift) + 1)
        for batch in cells.chunks(seen):
            x = self.halves(net, cells, batch).seen
            sums += torch.cat([x.sum(0), x.new_tensor([len(x)])])
        sums = total(sums)
        net.shift.copy_(sums[:-1] / sums[-1])
        net.train()

    def place(self, net: nn.Module, cells: Cells, seen: Tensor, seed: int) -> None:
        """Start partitioners from k-means in averaged features, together where there are several heads."""
        from ..distributed import from_rank_zero, gathered

        net.eval()
        whole = self.n_clusters is None  # then the first process has chosen clusters among its own cells
        x = (cells.target if cells.target is not None else networks.embed(net, cells))[seen]
        smooth = (x if whole else gathered(x)).cpu().numpy()
        labels = from_rank_zero(lambda: self.starts(smooth, _partition(cells, seen), seed))
        for b, block in enumerate(net.blocks):
            for a, head in enumerate(block):
                z = _over(cells, lambda batch, b=b, head=head: head.autoencoder.encode(net.read(batch.x, b)), seen)
                z = (z if whole else gathered(z)).cpu().numpy()
                head.partitioner.load_state_dict(from_rank_zero(partial(self.started, head.partitioner, z, labels[a])))
            self.sum_up_block(net, cells, seen, b)
        net.train()

    def started(self, partitioner: nn.Module, z: np.ndarray, labels: np.ndarray) -> dict[str, Tensor]:
        """State of a partitioner that begins at these labels."""
        # Several partitions lie across each other: only discriminants see past the others.
        partitioner.start(z, labels, spherical=self.n_heads == 1)
        return partitioner.state_dict()

    def starts(self, smooth: np.ndarray, partition: np.ndarray | None, seed: int) -> list[np.ndarray]:
        """Labels for each head to start from: partitions whose means add up to the cells."""
        few = np.arange(len(smooth))
        if len(smooth) > diffusion.MOST_CELLS:  # starts matter more than cells
            few = np.random.default_rng(seed).choice(few, diffusion.MOST_CELLS, replace=False)
        labels = diffusion.additive(
            smooth[few],
            min(self.n_clusters, len(few)) if self.n_clusters is not None else int(partition.max()) + 1,
            self.n_heads,
            first=None if self.n_clusters is not None else partition[few],
            independence=self.independence,
            n_init=self.n_init,
            random_state=seed,
        )
        found = np.full((self.n_heads, len(smooth)), -1)
        found[:, few] = labels
        return list(found)

    def sum_up(self, net: nn.Module, cells: Cells, some: Tensor | None) -> None:
        """Averages within all clusters, over (some) cells as they are."""
        for b in range(self.n_blocks):
            self.sum_up_block(net, cells, some, b)
        if net.consensus is not None and net.consensus.learned:
            net.consensus.means.set(_sums(cells, net.consensus.partitioner, lambda batch: net.encode(batch.x), some))

    def sum_up_block(self, net: nn.Module, cells: Cells, some: Tensor | None, b: int) -> None:
        """Averages within the clusters of a block's heads."""
        for head in net.blocks[b]:

            def embed(batch: Batch, head: nn.Module = head) -> Tensor:
                return head.autoencoder.encode(net.read(batch.x, b))

            head.means.set(_sums(cells, head.partitioner, embed, some))

    def settle(self, net: nn.Module, cells: Cells, seen: Tensor, held_out: Tensor | None, seed: int) -> None:
        """Remove clusters that are not needed, start a consensus of all heads, and take score."""
        net.eval()
        self.sum_up(net, cells, seen)
        if self.prune:
            self.remove_surplus(net, cells, seen, held_out)
        if net.consensus is not None:
            self.start_consensus(net, cells, seen, seed)
        self.finish(net, cells, held_out)

    def settle_consensus(self, net: nn.Module, cells: Cells, seen: Tensor, held_out: Tensor | None) -> None:
        """The same for a consensus that has been learned."""
        net.eval()
        self.sum_up(net, cells, seen)
        self.finish(net, cells, held_out)

    def remove_surplus(self, net: nn.Module, cells: Cells, seen: Tensor, held_out: Tensor | None) -> None:
        """Remove clusters, each time the one missed least, as long as the loss stays within a standard error of the first."""
        loss = self.errors(net, cells, held_out, by_heads=True)[:, 0]
        most = float(loss.mean() + losses.standard_error(loss).nan_to_num())
        for b, block in enumerate(net.blocks):
            for head in block:
                while head.n_clusters() > 1:
                    found = [self.without(net, cells, held_out, head, k) for k in range(head.n_clusters())]
                    if min(found) > most:
                        break
                    head.keep(_all_but(found.index(min(found)), head.n_clusters()))
                self.sum_up_block(net, cells, seen, b)

    def without(self, net: nn.Module, cells: Cells, held_out: Tensor | None, head: nn.Module, k: int) -> float:
        """Held-out loss where a head lacks a cluster."""
        kept = {name: value.clone() for name, value in head.state_dict().items()}
        head.keep(_all_but(k, head.n_clusters()))
        found = float(self.errors(net, cells, held_out, by_heads=True)[:, 0].mean())
        head.load_state_dict(kept)
        return found

    def start_consensus(self, net: nn.Module, cells: Cells, seen: Tensor, seed: int) -> None:
        """Clusters of what all heads predict together, from which a learned consensus starts."""
        from ..distributed import from_rank_zero, gathered

        whole = self.n_clusters is None
        together = _over(cells, lambda batch: net.together(net.embeddings(batch.x)), seen)
        embedded = _over(cells, lambda batch: net.encode(batch.x), seen) if net.consensus.learned else together
        together, embedded = ((x if whole else gathered(x)).cpu().numpy() for x in (together, embedded))

        def started() -> dict[str, Tensor]:
            start = diffusion.means(together, _partition(cells, seen)) if whole else None
            n = len(start) if whole else min(self.n_clusters, len(together))
            with diffusion.fewer_allowed():
                found = clustering.find(together, "kmeans", n, start=start, n_init=self.n_init, random_state=seed)
            net.consensus.partitioner.start(embedded[found.cells], found.labels, spherical=not net.consensus.learned)
            return net.consensus.partitioner.state_dict()

        net.consensus.partitioner.load_state_dict(from_rank_zero(started))
        self.sum_up(net, cells, seen)

    def errors(self, net: nn.Module, cells: Cells, held_out: Tensor | None, *, by_heads: bool = False) -> Tensor:
        """Held-out loss of the prediction for each cell held out, and that of no prediction: cells x 2.

        Before a consensus of them has been learned, heads predict `by_heads` alone.
        """
        import torch

        from ..distributed import gathered

        found = []
        for batch in cells.batches(held_out):
            of_batch = []
            for again in range(N_SPLITS):
                halves = self.halves(net, cells, batch, again)
                if by_heads:
                    prediction = net.together(net.embeddings(halves.seen), batch.covariates)
                else:
                    prediction = net.predict(net.encode(halves.seen), batch.covariates)
                of_batch.append(torch.stack([halves.error(prediction), halves.error(torch.zeros_like(prediction))], 1))
            found.append(torch.stack(of_batch).mean(0))
        return gathered(torch.cat(found))

    def finish(self, net: nn.Module, cells: Cells, held_out: Tensor | None) -> None:
        """Record the loss on cells held out; then average over all cells, and give each gene's denoised values their mean."""
        import torch

        from ..distributed import total

        loss, mean = self.errors(net, cells, held_out).T
        net.score.copy_(torch.stack([loss.mean(), losses.standard_error(loss), mean.mean()]))
        self.sum_up(net, cells, None)
        if len(net.gain):
            sums = sum(net.expression(net.predict(net.encode(batch.x))).sum(0) for batch in cells.chunks())
            n = total(sums.new_tensor([float(len(cells))]))
            net.gain.copy_(net.gene_mean * n / total(sums).clamp_min(1e-8))
        net.train()

    # ----------------------------------------------------------------------------------------------------- results

    def log_soft_assign(self, net: nn.Module, z: Tensor) -> Tensor:
        """Memberships in the only head's clusters, or in those of the consensus."""
        return net.log_soft_assign(z)

    def initialise(self, net: nn.Module, inputs: Inputs, raw: Raw, learnt: Raw) -> None:
        """Remember the mean of each gene, which denoised expression is to keep."""
        if inputs.kind != "rep":
            # at the median depth of all cells
            depth = float(np.median(raw.totals)) / inputs.median_total if inputs.kind == "counts" else 1.0
            net.gene_mean.copy_(inputs.mean_expression(raw).to(net.gene_mean) * depth)
            net.expression = inputs.expression

    def denoised(self, net: nn.Module, inputs: Inputs, z: Tensor) -> Tensor:
        """Log of one plus the rates (or the log-normalised values) of the network's prediction; each gene keeps its mean."""
        values = inputs.expression(net.predict(z)) * net.gain
        return values.log1p() if inputs.kind == "counts" else values

    def tables(self, net: nn.Module, cells: Cells) -> dict[str, Any]:
        """Clusters of each head, the largest first, where there are several heads."""
        import pandas as pd

        if self.n_heads == 1:
            return {}
        found = {}
        for a in range(self.n_heads):
            log_c = _over(cells, lambda batch, a=a: net.partitions(net.embeddings(batch.x))[a])
            labels = signal.by_size(log_c.argmax(1).cpu().numpy())
            names = [str(k) for k in range(labels.max() + 1)]
            found[f"head{a}"] = pd.Categorical.from_codes(labels, categories=names)
        return {"heads": pd.DataFrame(found)}

    def report(self, net: nn.Module, cells: Cells) -> dict[str, Any]:
        """Loss of the prediction of held-out halves of held-out cells, and that of predicting their mean."""
        names = ("loss", "loss_se", "loss_of_mean")
        sizes = [head.n_clusters() for head in net.blocks[-1]]
        return {"held_out": dict(zip(names, net.score.tolist(), strict=True)), "n_clusters_of_heads": sizes}


def _partition(cells: Cells, some: Tensor) -> np.ndarray | None:
    """The chosen clusters that some cells have, numbered from 0; -1 for those without a say."""
    if cells.partition is None:
        return None
    labels = cells.partition[some.to(cells.device)].cpu().numpy()
    known = labels >= 0
    labels[known] = np.unique(labels[known], return_inverse=True)[1]
    return labels


def _over(cells: Cells, function: Callable[[Batch], Tensor], some: Tensor | None = None) -> Tensor:
    """Something of (some) cells of this process, in their order."""
    import torch

    return torch.cat([function(batch) for batch in cells.chunks(some)])


def _sums(
    cells: Cells, partitioner: nn.Module, embed: Callable[[Batch], Tensor], some: Tensor | None
) -> diffusion.ClusterSums:
    """Sums over the clusters of (some) cells of all processes."""
    from ..distributed import total

    sums = None
    for batch in cells.chunks(some):
        z = embed(batch)
        found = diffusion.cluster_sums(partitioner(z).exp(), z)
        sums = found if sums is None else sums.plus(found)
    return diffusion.ClusterSums(*map(total, sums))


def _all_but(k: int, n: int) -> list[int]:
    return [other for other in range(n) if other != k]
