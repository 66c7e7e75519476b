"""Codes of coordinates: sines and cosines of octaves."""

import math

import torch
from torch import Tensor


def octave_code(coordinates: Tensor, octaves: int) -> Tensor:
    """Sines and cosines of pi 2^l times each coordinate, l from 0 (arXiv:2003.08934, eq. 4).

    Coordinates vary slowest, then octaves, then sine and cosine: (..., C) -> (..., C * octaves * 2), float32.
    """
    scales = math.pi * 2.0 ** torch.arange(octaves, device=coordinates.device)
    angles = coordinates.float().unsqueeze(-1) * scales
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-3)
