"""Latents as a model of latents wants them. C channels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tokzoo.layers.precision import KeepsFloat32


class LatentScale(KeepsFloat32):
    """(z - shift) * scale, which brings latents to about zero mean and unit variance; `restore` is the way back.

    Args:
        scale, shift: one for all channels, or one for each.

    Shapes:
        latents (..., C) of any float dtype -> the same

    Raises:
        ValueError: a scale that is not positive.
    """

    float32 = ("scale", "shift")
    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Sequence[float] = (1.0,), shift: Sequence[float] = (0.0,)):
        super().__init__()
        if not scale or min(scale) <= 0 or not shift:
            raise ValueError(f"scales must be positive, one for all channels or one for each; got {tuple(scale)}")
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32), persistent=False)
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32), persistent=False)

    def forward(self, latents: Tensor) -> Tensor:
        return ((latents - self.shift) * self.scale).to(latents.dtype)

    def restore(self, latents: Tensor) -> Tensor:
        """What `forward` was given."""
        return (latents / self.scale + self.shift).to(latents.dtype)
