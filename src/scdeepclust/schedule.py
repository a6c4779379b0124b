"""A method's schedule as data: the fourth axis of the taxonomy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from .data import Batch


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one objective.

    Parameters
    ----------
    name
        Shown in the progress bar and stored in the history.
    epochs
        At most this many passes over the cells.
    loss
        Terms of the objective for one minibatch; their sum is minimised.
    start
        Called once, without gradients, before the first epoch: k-means for the centres, for example.
    refresh
        Called without gradients before an epoch, to look at all cells or many; returns the share of these whose label changed.
    every
        Epochs between two refreshes.
    tolerance
        The phase ends when `refresh` reports a share no larger (never at the first `min_refreshes`).
    min_refreshes
        Refreshes before labels may be called settled; labels of a phase's first steps can stand still by chance.
    patience
        Hold out a tenth of the cells, and end the phase after this many epochs without a lower loss on them, at the
        weights of the lowest. None trains on all cells for all epochs.
    lr
        Learning rate of Adam.
    lr_of
        Other learning rates, by the beginning of the parameters' names (`{"mixture.": 2e-3}`).
    decay
        Factor of all learning rates from one epoch to the next.
    sharpens
        Whether it pulls clusters apart: the embedding as it was before is kept, because lineages are read off that.
    recordable
        Whether every minibatch of a size takes the same kernels on the same tensors, so that a GPU may record a step and
        replay it: `loss` and `after` ask the data nothing, leave nothing to Python that changes from step to step, and what
        they read is changed in place.
    max_norm
        Gradients whose norm is larger are shortened to it.
    run
        Trains instead of the epochs, where another package has the loop: called once, told whether to show its progress,
        it returns a row of losses an epoch.
    after
        Called without gradients after every step of the optimiser, and recorded with it: a teacher that follows, or a bound that is kept.
    end
        Called once, without gradients, after the last epoch, at the weights that stay, with the indices of the cells held
        out (None without `patience`): what is decided by the loss on them.
    """

    name: str
    epochs: int = 0
    loss: Callable[[Batch], dict[str, Tensor]] | None = None
    start: Callable[[], None] | None = None
    refresh: Callable[[], float] | None = None
    every: int = 1
    tolerance: float = 0.0
    min_refreshes: int = 3
    patience: int | None = None
    lr: float = 1e-3
    lr_of: Mapping[str, float] = field(default_factory=dict)
    decay: float = 1.0
    sharpens: bool = False
    recordable: bool = False
    max_norm: float | None = None
    run: Callable[[bool], list[dict[str, float]]] | None = None
    after: Callable[[], None] | None = None
    end: Callable[[Tensor | None], None] | None = None
