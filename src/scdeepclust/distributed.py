"""What several processes must agree on. Every function is the identity in a single process.

Start the processes with ``torchrun``, call :func:`torch.distributed.init_process_group` with gloo in each, and give each
its own cells, in random order; the weights stay equal because gradients, totals and centres are shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    T = TypeVar("T")


def n_processes() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is."""
    return dist.get_rank() if n_processes() > 1 else 0


def total(x: Tensor) -> Tensor:
    """Sum over processes."""
    if n_processes() > 1:
        dist.all_reduce(x)
    return x


def largest(n: int) -> int:
    """Largest value over processes: all must take equally many steps, or one waits for ever."""
    if n_processes() == 1:
        return n
    box = torch.tensor(n)
    dist.all_reduce(box, op=dist.ReduceOp.MAX)
    return int(box)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over processes."""
    if n_processes() > 1:
        for p in parameters:
            if p.grad is not None:
                dist.all_reduce(p.grad)
                p.grad /= n_processes()


def gathered(x: Tensor) -> Tensor:
    """Rows of all processes, in the order of their ranks."""
    if n_processes() == 1:
        return x
    parts: list[Any] = [None] * n_processes()
    dist.all_gather_object(parts, x.cpu())
    return torch.cat(parts).to(x.device)


def from_rank_zero(make: Callable[[], T]) -> T:
    """Call `make` on the first process only and give every process what it returned."""
    if n_processes() == 1:
        return make()
    box: list[Any] = [make() if rank() == 0 else None]
    dist.broadcast_object_list(box)
    return box[0]
