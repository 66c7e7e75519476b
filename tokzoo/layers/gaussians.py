"""Gaussians as tokens have them: from regions, refined, moved between tiles and picture. B batch, T tiles, N a tile.

A Gaussian is sx, sy, rho, x, y, in units of half of what it lies on; see `tokzoo.layers.splatting`.
"""

import torch
from torch import Tensor

REACH = 2 / 3  # standard deviation of a region's Gaussian, in sides of the region, where the whole is 1


def region_gaussians(regions: Tensor, size: tuple[int, int]) -> Tensor:
    """Regions of a picture, each as the Gaussian that lies on it. GPSToken, arXiv:2509.01109, section 3.1.

    Args:
        regions: int64 (..., 4): left, top, right, bottom pixel.
        size: (H, W) of the picture.

    Returns:
        float32 (..., 5).
    """
    left, top, right, bottom = regions.float().unbind(-1)
    height, width = size
    # the authors measure sides without the last pixel, and positions between first and last
    scale_x, scale_y = (right - left) / width * REACH, (bottom - top) / height * REACH
    x = 2 * ((left + right) / 2 / max(width - 1, 1) - 0.5)
    y = 2 * ((top + bottom) / 2 / max(height - 1, 1) - 0.5)
    return torch.stack([scale_x, scale_y, torch.zeros_like(x), x, y], dim=-1)


def refine(initial: Tensor, change: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Gaussians (..., 5) moved by logits: scales stay in (0, 1), correlation and centre in (-1, 1)."""
    span = initial.new_tensor([1.0, 1.0, 2.0, 2.0, 2.0])
    low = initial.new_tensor([0.0, 0.0, -1.0, -1.0, -1.0])
    return torch.sigmoid(torch.logit((initial - low) / span, eps=eps) + change) * span + low


def to_picture(geometry: Tensor, rows: int, columns: int) -> Tensor:
    """Gaussians (B, T, N, 5) of tiles, row-major -> the same in units of the whole picture (B, T * N, 5)."""
    return (geometry / _scale(geometry, rows, columns) + _shift(geometry, rows, columns)).flatten(1, 2)


def to_tiles(geometry: Tensor, rows: int, columns: int) -> Tensor:
    """The way back of `to_picture`: (B, T * N, 5) -> (B, T, N, 5)."""
    apart = geometry.unflatten(1, (rows * columns, -1))
    return (apart - _shift(geometry, rows, columns)) * _scale(geometry, rows, columns)


def _scale(like: Tensor, rows: int, columns: int) -> Tensor:
    return like.new_tensor([columns, rows, 1.0, columns, rows])


def _shift(like: Tensor, rows: int, columns: int) -> Tensor:
    """Centres of tiles (T, 1, 5): zero but for x and y."""
    number = torch.arange(rows * columns, device=like.device)
    x = (2 * (number % columns) + 1).to(like.dtype) / columns - 1
    y = (2 * (number // columns) + 1).to(like.dtype) / rows - 1
    zero = torch.zeros_like(x)
    return torch.stack([zero, zero, zero, x, y], dim=-1).unsqueeze(1)
