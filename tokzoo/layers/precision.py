"""Float32 where it matters."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from torch import Tensor, nn


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """While open, products keep the dtype of their operands. A cast alone leaves matrix products to autocast."""
    if not torch.amp.is_autocast_available(device.type):  # the meta device has none
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class KeepsFloat32(nn.Module):
    """A module whose buffers named in `float32` stay so when it is cast: constants, averages."""

    float32: tuple[str, ...] = ()

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Self:
        before = {name: self._buffers[name] for name in self.float32}
        super()._apply(fn, *args, **kwargs)
        for name, kept in before.items():
            moved = self._buffers[name]
            if moved is not None and kept is not None and moved.dtype != kept.dtype:
                self._buffers[name] = kept.to(moved.device)
        return self
