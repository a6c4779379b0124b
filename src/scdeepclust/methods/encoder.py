"""What methods share that learn an encoder without a decoder of everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt

from .. import networks
from .representation import RepresentationMethod

if TYPE_CHECKING:
    from torch import nn

    from ..data import Cells

MOST_RANKED = 5000  # cells, at most, whose effective rank is taken


@dataclass(frozen=True, kw_only=True)
class EncoderMethod(RepresentationMethod, abstract=True):
    """Parameters of every self-supervised encoder.

    Parameters
    ----------
    network_type
        `"residual"`: the embedding is the leading components plus a correction by a perceptron, so that the network
        starts as PCA and leaves it where the data ask. `"mlp"`: a perceptron; also what `"residual"` means where genes
        are read, but by `"mae"`, which reads them through their components.
    hidden
        Widths of the encoder's hidden layers.
    n_latent
        Dimensions of the embedding.
    pretrain_steps
        At most this many minibatches, rounded up to whole passes over the cells.
    lr
        Learning rate of Adam.
    """

    network_type: Literal["residual", "mlp"] = "residual"
    hidden: tuple[Annotated[int, Ge(1)], ...] = (256, 64)
    n_latent: Annotated[int, Ge(1)] = 20
    pretrain_steps: Annotated[int, Ge(0)] = 500
    lr: Annotated[float, Gt(0)] = 1e-3

    def report(self, net: nn.Module, cells: Cells) -> dict[str, Any]:
        """How many dimensions the embedding really uses: few of many say that it has collapsed."""
        from .. import metrics

        z = networks.embed(net, cells)
        z = z[:: -(-len(z) // MOST_RANKED)]  # not the first ones: files are sorted by sample
        return {"effective_rank": metrics.effective_rank(z.cpu().numpy())}
