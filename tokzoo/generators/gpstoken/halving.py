"""Regions that fill a picture, one for each of some points. B batch, N points, each x and y."""

import torch
from torch import Tensor

LEAST = 2  # pixels of a side of a region, so that its Gaussian has a scale


def halve(centres: Tensor, sides: Tensor, size: int) -> Tensor:
    """Cuts a picture into halves, and these again, until every point has a region of its own.

    As in a partition, wide regions become a left and a right half, tall ones an upper and a lower. Square ones are cut
    where fewer of the rough regions, `sides` wide and high around their points, would be cut: so the regions of a
    partition come back as they were. Where all points of a region lie in one half, the nearest goes to the other.

    Args:
        centres: pixels (B, N, 2).
        sides: pixels (B, N, 2), from a region's first to its last.
        size: of the picture, pixels a side.

    Returns:
        int64 (B, N, 4): left, top, right, bottom pixel of the region of each point, in their order.

    Raises:
        ValueError: more points than the picture has regions.
    """
    number, most = centres.shape[1], int(_room(torch.tensor(size))) ** 2
    if number > most:
        raise ValueError(f"a picture of {size}x{size} has {most} regions of at least {LEAST} pixels; got {number}")
    start = torch.zeros_like(centres, dtype=torch.int64)
    length = torch.full_like(start, size)
    for _ in range(2 * size.bit_length()):
        box = torch.cat([start, length], dim=-1)
        together = (box.unsqueeze(2) == box.unsqueeze(1)).all(-1)  # (B, N, N): points that share a region
        axis = _axis_to_cut(start, length, centres, sides, together)  # (B, N, 1)
        begin, whole, across = start.gather(2, axis), length.gather(2, axis), length.gather(2, 1 - axis)
        half = whole // 2

        along = centres.gather(2, axis)
        shared = together.sum(-1, keepdim=True)
        before = (together & (along < begin + half - 0.5).mT).sum(-1, keepdim=True)
        most_before, most_behind = (_room(part) * _room(across) for part in (half, whole - half))
        first = before.clamp(min=1).minimum(most_before).minimum(shared - 1).maximum(shared - most_behind)
        behind = (together & (along.mT < along)).sum(-1, keepdim=True) >= first

        crowded = shared > 1
        start = start.scatter(2, axis, torch.where(crowded & behind, begin + half, begin))
        length = length.scatter(2, axis, torch.where(crowded, torch.where(behind, whole - half, half), whole))
    return torch.cat([start, start + length - 1], dim=-1)


def _axis_to_cut(start: Tensor, length: Tensor, centres: Tensor, sides: Tensor, together: Tensor) -> Tensor:
    """0, x, or 1, y, of the region of each point: int64 (B, N, 1)."""
    lines = start + length // 2 - 0.5
    cut = (centres - sides / 2 < lines) & (centres + sides / 2 > lines)
    x_cuts, y_cuts = (together.float() @ cut.float()).unbind(-1)  # whole numbers; CUDA multiplies no integers
    wide, square = length[..., 0] > length[..., 1], length[..., 0] == length[..., 1]
    return (~(wide | (square & (x_cuts < y_cuts)))).long().unsqueeze(-1)


def _room(length: Tensor) -> Tensor:
    """Parts of a side that halving surely reaches: the greatest power of 2 of parts of at least LEAST pixels."""
    powers = LEAST * 2 ** torch.arange(1, 32, device=length.device)
    return 2 ** (length.unsqueeze(-1) >= powers).sum(-1)
