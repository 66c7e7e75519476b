"""Fixed positions on a plane, as waves. D width."""

import torch
from torch import Tensor


def wave_positions(dim: int, height: int, width: int) -> Tensor:
    """Sines and cosines of row and column, MoCo v3's, arXiv:2104.02057 -> (D, height, width), float32.

    Channels are quarters: sine and cosine of the row, sine and cosine of the column, at 10000 ** -(i / (D / 4)).

    Raises:
        ValueError: a width that 4 does not divide.
    """
    if dim % 4:
        raise ValueError(f"waves of two coordinates need a width that is a multiple of 4; got {dim}")
    frequencies = 10_000.0 ** -(torch.arange(dim // 4) / (dim // 4))
    rows = (frequencies[:, None] * torch.arange(height)).unsqueeze(2).expand(-1, -1, width)
    columns = (frequencies[:, None] * torch.arange(width)).unsqueeze(1).expand(-1, height, -1)
    return torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()])
