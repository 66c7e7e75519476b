"""Nearest-code search without the (points x rows) matrix. N points, K rows, C channels."""

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_VALUES = 2**24  # scores held at once: 64 MiB
CACHE_VALUES = 2**20  # on a CPU, per thread: 4 MiB, which its caches keep
BLOCK = 128  # scores whose maximum is taken before any position is looked for


def nearest_rows(points: Tensor, rows: Tensor) -> Tensor:
    """Index of the row at the least Euclidean distance from each point; of several equally near, the first.

    The nearest row has the greatest score p.r - |r|^2 / 2. On a CPU `argmax` costs more than the matrix product, a
    plain maximum little: so each block of rows gives its maximum, and positions are looked for among the blocks'
    maxima, then in the one block that won.

    Shapes:
        points (N, C), rows (K, C), float32 -> int64 (N,)
    """
    return best_rows(points, rows, rows.square().sum(-1) / -2)


def best_rows(points: Tensor, rows: Tensor, bias: Tensor | None = None) -> Tensor:
    """Index of the row of the greatest score p.r + bias for each point; of several equal ones, the first.

    Shapes:
        points (N, C), rows (K, C), bias (K,), zeros if None; float32 -> int64 (N,)
    """
    bias = rows.new_zeros(len(rows)) if bias is None else bias
    padding = -len(rows) % BLOCK
    bias = F.pad(bias, (0, padding), value=-torch.inf)  # a padding row is never the best
    table = F.pad(rows, (0, 0, 0, padding)).t()
    chunk = max(1, _values_at_once(points.device) // len(bias))
    # an exported loop would fix the number of points
    parts = (points,) if torch.compiler.is_exporting() else points.split(chunk)
    found = torch.cat([_greatest(torch.addmm(bias, part, table)) for part in parts])
    return found.clamp_max(len(rows) - 1)  # of a point that holds infinity, every score is NaN


def nearest_few(points: Tensor, rows: Tensor, count: int) -> Tensor:
    """Indices of the `count` nearest rows of each point, nearest first.

    Shapes:
        points (N, C), rows (K, C), float32 -> int64 (N, count)
    """
    bias = rows.square().sum(-1) / -2
    chunk = max(1, _values_at_once(points.device) // len(rows))
    parts = (torch.addmm(bias, part, rows.t()).topk(count, dim=-1).indices for part in points.split(chunk))
    return torch.cat(list(parts))


def _greatest(scores: Tensor) -> Tensor:
    """`scores.argmax(-1)` of (n, a multiple of BLOCK)."""
    blocks = scores.unflatten(-1, (-1, BLOCK))
    winner = blocks.amax(-1).argmax(-1)  # (n,)
    inside = blocks.gather(1, winner.view(-1, 1, 1).expand(-1, 1, BLOCK)).squeeze(1)
    return winner * BLOCK + inside.argmax(-1)


def _values_at_once(device: torch.device) -> int:
    if device.type != "cpu" or torch.compiler.is_compiling():  # a compiled loop is unrolled: few, large turns
        return MOST_VALUES
    return min(MOST_VALUES, CACHE_VALUES * torch.get_num_threads())
