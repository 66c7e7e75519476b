"""Learned positions that fit grids of several sizes. D width."""

import torch.nn.functional as F
from torch import Tensor

from tokzoo.layers.patches import to_map, to_tokens


def sample_positions(table: Tensor, height: int, width: int) -> Tensor:
    """The entries of a square `table` (D, side, side) nearest to a grid's cells -> (height * width, D), row-major.

    Row i is entry floor(i * side / height); columns likewise.
    """
    return to_tokens(F.interpolate(table.unsqueeze(0), size=(height, width), mode="nearest")).squeeze(0)


def resize_positions(table: Tensor, height: int, width: int) -> Tensor:
    """A square `table` (side * side, D), row-major, at another size -> (height * width, D): bicubic, antialiased."""
    side = round(len(table) ** 0.5)
    if (height, width) == (side, side):
        return table
    plane = to_map(table.float().unsqueeze(0), side, side)  # half precision has no such kernel on a CPU
    resized = F.interpolate(plane, size=(height, width), mode="bicubic", antialias=True)
    return to_tokens(resized).squeeze(0).to(table.dtype)
