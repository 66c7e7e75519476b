"""Large maps by overlapping tiles. B batch, C channels, H W places in, f how many times fewer (or more) come out."""

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor


def by_tiles(run: Callable[[Tensor], Tensor], whole: Tensor, *, tile: int, overlap: int, factor: Fraction) -> Tensor:
    """`run` over square tiles of `whole`, blended by linear ramps where they overlap; memory is that of one tile.

    Args:
        run: (B, C, h, w) -> (B, D, h * factor, w * factor).
        whole: (B, C, H, W); what is no larger than a tile is run at once.
        tile, overlap: places per side of `whole`, of which `factor` makes whole numbers.

    Raises:
        ValueError: an overlap that leaves no step.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"tiles of {tile} must overlap by less than that; got {overlap}")
    height, width = whole.shape[2:]
    if height <= tile and width <= tile:
        return run(whole)
    total = weights = None
    for top in _starts(height, tile, tile - overlap):
        for left in _starts(width, tile, tile - overlap):
            piece = run(whole[:, :, top : top + tile, left : left + tile])
            if total is None or weights is None:
                total = piece.new_zeros(*piece.shape[:2], int(height * factor), int(width * factor))
                weights = total.new_zeros(1, 1, *total.shape[2:])
            ramp = int(overlap * factor)
            weight = _ramp(piece.shape[2], ramp, piece)[:, None] * _ramp(piece.shape[3], ramp, piece)
            rows = slice(int(top * factor), int(top * factor) + piece.shape[2])
            columns = slice(int(left * factor), int(left * factor) + piece.shape[3])
            total[:, :, rows, columns] += piece * weight
            weights[:, :, rows, columns] += weight
    assert total is not None and weights is not None
    return total / weights


def _starts(length: int, tile: int, step: int) -> list[int]:
    """Where tiles begin, the last flush with the end."""
    last = max(length - tile, 0)
    return [*range(0, last, step), last]


def _ramp(length: int, overlap: int, like: Tensor) -> Tensor:
    """Weights (length,) that rise over `overlap` places from either end."""
    place = torch.arange(length, device=like.device, dtype=like.dtype) + 1
    return torch.minimum(place, place.flip(0)).clamp_max(overlap + 1) / (overlap + 1)
