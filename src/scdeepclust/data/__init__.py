"""IN: AnnData to cells on a device to minibatches. Nothing after this folder knows AnnData."""

from __future__ import annotations

from .align import align
from .cells import Batch, Cells, one_hot, split
from .columns import covariate_keys
from .inputs import Inputs
from .raw import Raw
from .read import read

__all__ = ["Batch", "Cells", "Inputs", "Raw", "align", "covariate_keys", "one_hot", "read", "split"]
