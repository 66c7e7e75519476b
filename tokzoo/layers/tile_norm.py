"""Norms by the statistics of each tile of a map. B batch, C channels, H W places, G groups."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.convs import EPS, GROUPS


class TileNorm(nn.Module):
    """(x - mean) / (spread + eps), scaled and shifted, mean and spread being those of each tile where there are many.

    GPSToken, arXiv:2509.01109. Between the centres of tiles they are interpolated (bicubic), so that tiles leave no
    seams. The published eps is added to the standard deviation, not to the variance as in GroupNorm.

    Shapes:
        hidden (B, C, H, W) -> the same; tiles (rows, columns) divide H and W
    """

    def __init__(self, channels: int, *, groups: int = GROUPS):
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, hidden: Tensor, tiles: tuple[int, int] = (1, 1)) -> Tensor:
        parts = split_tiles(hidden.float(), tiles).unflatten(1, (self.groups, -1)).flatten(2)  # (B * T, G, P)
        spread, mean = torch.std_mean(parts, 2, correction=0)
        mean, spread = (each.unflatten(0, (-1, *tiles)).movedim(3, 1) for each in (mean, spread))
        if tiles != (1, 1):
            mean, spread = (F.interpolate(each, hidden.shape[2:], mode="bicubic") for each in (mean, spread))
        repeats = hidden.shape[1] // self.groups
        mean, spread = (each.repeat_interleave(repeats, 1) for each in (mean, spread))  # (B, C, 1 or H, 1 or W)
        scale = self.weight[:, None, None] / (spread + EPS)
        return torch.addcmul(self.bias[:, None, None] - mean * scale, hidden.float(), scale).to(hidden.dtype)


class TileResBlock(nn.Module):
    """`ResBlock` of latent diffusion with `TileNorm`: norm, SiLU, 3x3 conv, twice; a 1x1 conv where widths differ.

    Shapes:
        hidden (B, in_channels, H, W) -> (B, out_channels, H, W)
    """

    def __init__(self, in_channels: int, out_channels: int, *, groups: int = GROUPS):
        super().__init__()
        self.norm1 = TileNorm(in_channels, groups=groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = TileNorm(out_channels, groups=groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, hidden: Tensor, tiles: tuple[int, int] = (1, 1)) -> Tensor:
        branch = self.conv1(F.silu(self.norm1(hidden, tiles)))
        branch = self.conv2(F.silu(self.norm2(branch, tiles)))
        return branch + (hidden if self.shortcut is None else self.shortcut(hidden))


def split_tiles(plane: Tensor, tiles: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B * rows * columns, C, h, w), row-major."""
    rows, columns = tiles
    return plane.unflatten(3, (columns, -1)).unflatten(2, (rows, -1)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def join_tiles(parts: Tensor, tiles: tuple[int, int]) -> Tensor:
    """The way back of `split_tiles`."""
    return parts.unflatten(0, (-1, *tiles)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
