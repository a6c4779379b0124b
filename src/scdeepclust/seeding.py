"""Torch's global streams of random numbers: begun anew for a run, and given back as the caller had them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def forked(device: torch.device) -> AbstractContextManager[None]:
    """Streams of the CPU and of `device` that are given back as they were; other devices are left alone."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def reseed(seed: int, device: torch.device) -> None:
    """Begin the streams of the CPU and of `device` at `seed`."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed devices that are not ours
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
