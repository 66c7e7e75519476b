"""Float32 where it matters."""

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """While open, products keep the dtype of their operands. A cast alone leaves matrix products to autocast."""
    if not torch.amp.is_autocast_available(device.type):  # the meta device has none
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
