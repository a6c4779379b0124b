"""Modules that take the size of what is loaded into them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def overwritten(old: Tensor, new: Tensor) -> Tensor:
    """New values where the old ones lie, if as many, so that a recorded step of training finds them; else a copy."""
    return old.copy_(new) if old.shape == new.shape else new.clone()


class Resizable(nn.Module):
    """A module whose own parameters and buffers take the shape and type of what is loaded.

    What the data decide, such as the number of clusters, is known only after training, and has to be saved with the rest.
    """

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        for own in (self._parameters, self._buffers):
            for name, tensor in own.items():
                stored = state_dict.get(f"{prefix}{name}")
                if tensor is None or stored is None or (stored.shape, stored.dtype) == (tensor.shape, tensor.dtype):
                    continue
                empty = torch.empty_like(stored, device=tensor.device)
                if isinstance(tensor, nn.Parameter):
                    tensor.data = empty
                else:
                    own[name] = empty
        super()._load_from_state_dict(state_dict, prefix, *args)
