"""Steps of training that a GPU records once and replays.

Networks for cells are small: a GPU has done a kernel before Python has launched the next, and a step has a hundred. A
recorded step (CUDA graph) is launched as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

N_PLAIN = 3  # steps that are taken one kernel at a time first: they make what a recording has to find in place


class Recorded(NamedTuple):
    """A step for minibatches of one size: its kernels, where it looks for its cells, and where it leaves its terms."""

    graph: torch.cuda.CUDAGraph
    index: Tensor
    terms: dict[str, Tensor]


class Replay:
    """A step that is recorded once for each size of minibatch, and replayed.

    What it returns is overwritten by the next step of that size.

    Parameters
    ----------
    step
        Takes the indices of a minibatch's cells, on the GPU, changes the network in place and returns the terms of the loss.
    """

    def __init__(self, step: Callable[[Tensor], dict[str, Tensor]]) -> None:
        self.step, self.n_plain, self.recorded = step, 0, {}
        self.stream: torch.cuda.Stream | None = None
        self.pool: tuple[int, int] | None = None

    def __call__(self, index: Tensor) -> dict[str, Tensor]:
        """Take a step on these cells."""
        if self.n_plain < N_PLAIN:
            self.n_plain += 1
            return self._beside(index)
        if len(index) not in self.recorded:
            self.recorded[len(index)] = self._record(index)
        recorded = self.recorded[len(index)]
        recorded.index.copy_(index)
        recorded.graph.replay()
        return recorded.terms

    def _beside(self, index: Tensor) -> dict[str, Tensor]:
        """One kernel at a time on a stream of its own, as recording asks of the steps before it."""
        here = torch.cuda.current_stream(index.device)
        self.stream = self.stream or torch.cuda.Stream(index.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            terms = self.step(index)
        here.wait_stream(self.stream)
        return terms

    def _record(self, index: Tensor) -> Recorded:
        graph, place = torch.cuda.CUDAGraph(), index.clone()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            terms = self.step(place)
        self.pool = graph.pool()
        return Recorded(graph, place, terms)
