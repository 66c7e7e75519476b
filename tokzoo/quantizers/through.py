"""How gradients pass a rounding: what the latents are told of what befell their codes. C channels."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Through = Callable[[Tensor, Tensor], Tensor]


def straight_through(latents: Tensor, codes: Tensor) -> Tensor:
    """The codes, with the gradient of the latents: d out / d latents = 1. arXiv:1308.3432; arXiv:1711.00937, 3.2."""
    return _StraightThrough.apply(latents, codes)


def rotate(latents: Tensor, codes: Tensor) -> Tensor:
    """The codes, with the gradient of the rotation and stretch that carries each latent there. arXiv:2410.06424, 3.

    Of unit vectors e of the latent and q of the code, and their lengths' ratio s = |code| / |latent|, both held fixed:
    d out / d latent = s (1 - 2 r r' + 2 q e'), r the unit vector of e + q. Where one of the lengths is 0, or the two
    point apart, there is no such rotation: the gradient passes straight through.

    Shapes:
        latents, codes (..., C) -> (..., C)
    """
    return _Rotation.apply(latents, codes)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latents: Tensor, codes: Tensor) -> Tensor:
        return codes.view_as(codes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latents: Tensor, codes: Tensor) -> Tensor:
        ctx.save_for_backward(latents, codes)
        return codes.view_as(codes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        latents, codes = ctx.saved_tensors
        before, after = latents.norm(dim=-1, keepdim=True), codes.norm(dim=-1, keepdim=True)
        start, end = F.normalize(latents, dim=-1), F.normalize(codes, dim=-1)
        middle = start + end
        length = middle.norm(dim=-1, keepdim=True)
        rotates = (before > 1e-6) & (after > 1e-6) & (length > 1e-3)
        middle = middle / length.clamp_min(1e-3)
        back = gradient - 2 * middle * _dot(middle, gradient) + 2 * start * _dot(end, gradient)
        return torch.where(rotates, after / before.clamp_min(1e-6) * back, gradient), None


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(-1, keepdim=True)


THROUGH: dict[str, Through] = {"straight_through": straight_through, "rotation": rotate}
