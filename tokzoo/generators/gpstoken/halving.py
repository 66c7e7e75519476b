"""Regions that fill a picture, one for each of some points. B batch, N points, each x and y."""

import torch
from torch import Tensor

LEAST = 2  # pixels of a side of a region, so that its Gaussian has a scale


def halve(centres: Tensor, sides: Tensor, size: int) -> Tensor:
    """Cuts a picture into halves, and these again, until every point has a region of its own.

    As in a partition, wide regions are cut from top to bottom and tall ones from left to right. Square ones are cut
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
        lines = start + length // 2 - 0.5
        cut = (centres - sides / 2 < lines) & (centres + sides / 2 > lines)
        x_cuts, y_cuts = (together.long() @ cut.long()).unbind(-1)
        wide, square = length[..., 0] > length[..., 1], length[..., 0] == length[..., 1]
        axis = (~(wide | (square & (x_cuts < y_cuts)))).long().unsqueeze(-1)  # 0 is x

        along, line = centres.gather(2, axis), lines.gather(2, axis)
        rank = (together & (along.transpose(1, 2) < along)).sum(-1)
        shared, before = together.sum(-1), (together & (along < line).transpose(1, 2)).sum(-1)
        half = length.gather(2, axis) // 2
        other = length.gather(2, 1 - axis).squeeze(2)
        room_before, room_after = (
            _room(part.squeeze(2)) * _room(other) for part in (half, length.gather(2, axis) - half)
        )
        first = before.clamp(min=1).minimum(room_before).minimum(shared - 1).maximum(shared - room_after)
        behind = (rank >= first).unsqueeze(-1)
        moved = start.scatter(2, axis, torch.where(behind, start.gather(2, axis) + half, start.gather(2, axis)))
        shrunk = length.scatter(2, axis, torch.where(behind, length.gather(2, axis) - half, half))
        crowded = (shared > 1).unsqueeze(-1)
        start, length = torch.where(crowded, moved, start), torch.where(crowded, shrunk, length)
    return torch.cat([start, start + length - 1], dim=-1)


def _room(length: Tensor) -> Tensor:
    """Parts of a side that halving surely reaches: the greatest power of 2 of parts of at least LEAST pixels."""
    powers = LEAST * 2 ** torch.arange(1, 32, device=length.device)
    return 2 ** (length.unsqueeze(-1) >= powers).sum(-1)
