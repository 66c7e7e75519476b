"""How images come to the size that a network sees: each tool its own rule. B batch, C channels, H W pixels, S side."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["RESIZE_RULES", "antialiased_bicubic", "half_pixel_bilinear", "plain_bicubic", "tf1_bilinear"]


def tf1_bilinear(images: Tensor, size: tuple[int, int]) -> Tensor:
    """TensorFlow 1's bilinear resize: position y * H / S with no half-pixel shift, no antialiasing, edges repeated.

    Inside the Inception of the first FID, of ADM and torch-fidelity. It is a product with two sparse matrices.

    Shapes:
        images (B, C, H, W) float -> (B, C, *size), not rounded
    """
    down, across = (_tf1_weights(images.shape[2 + axis], size[axis]).to(images.device, images.dtype) for axis in (0, 1))
    return down @ images @ across.t()


def _tf1_weights(length: int, resized: int) -> Tensor:
    """(resized, length): what each pixel of a line is mixed of."""
    places = torch.arange(resized, dtype=torch.float32) * (length / resized)  # single precision, as the original
    first = places.floor().long().clamp_max(length - 1)
    share = places - first
    rows = torch.arange(resized)
    weights = torch.zeros(resized, length)
    weights[rows, first] += 1 - share
    weights[rows, (first + 1).clamp_max(length - 1)] += share
    return weights


def half_pixel_bilinear(images: Tensor, size: tuple[int, int]) -> Tensor:
    """pytorch-fid's rule: bilinear around pixel centres, no antialiasing. (B, C, H, W) -> (B, C, *size)."""
    return F.interpolate(images, size, mode="bilinear", align_corners=False)


def antialiased_bicubic(images: Tensor, size: tuple[int, int]) -> Tensor:
    """clean-fid's rule (arXiv:2104.11222): Pillow's bicubic on float channels, clipped to [0, 1], not rounded.

    Shapes:
        images (B, C, H, W) float in [0, 1] -> (B, C, *size)
    """
    return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def plain_bicubic(images: Tensor, size: tuple[int, int]) -> Tensor:
    """LlamaGen's rule for reconstructions and samples: bicubic, no antialiasing, neither clipped nor rounded.

    Shapes:
        images (B, C, H, W) float -> (B, C, *size)
    """
    return F.interpolate(images, size, mode="bicubic", align_corners=False)


RESIZE_RULES: dict[str, Callable[[Tensor, tuple[int, int]], Tensor]] = {
    "tf1_bilinear": tf1_bilinear,
    "half_pixel_bilinear": half_pixel_bilinear,
    "antialiased_bicubic": antialiased_bicubic,
}
