"""Nearest-code search beside the plain way of it. N vectors, K codes, C channels."""

import torch
from torch import Tensor

from tokzoo.benchmarks.micro import Comparison
from tokzoo.benchmarks.timing import interleaved
from tokzoo.quantizers.nearest import nearest_rows

SIZES = ((65536, 16384, 8), (65536, 4096, 12), (8192, 8192, 64))  # N, K, C
ROWS_AT_ONCE = 1024  # of the chunked baseline


def whole_matrix(points: Tensor, rows: Tensor) -> Tensor:
    """The plain way: all N x K distances, then argmin."""
    return torch.cdist(points, rows).argmin(-1)


def chunked(points: Tensor, rows: Tensor) -> Tensor:
    """The same, `ROWS_AT_ONCE` vectors at a time."""
    return torch.cat([torch.cdist(part, rows).argmin(-1) for part in points.split(ROWS_AT_ONCE)])


def compare(*, device: str = "cpu", rounds: int = 5) -> list[Comparison]:
    """Ours, the whole matrix and the chunked one at codebook sizes that are in use."""
    found = []
    for count, size, channels in SIZES:
        generator = torch.Generator().manual_seed(0)
        points = torch.randn(count, channels, generator=generator).to(device)
        rows = torch.randn(size, channels, generator=generator).to(device)
        ours = nearest_rows(points, rows)
        away = (points - rows[ours]).norm(dim=-1)
        least = (points - rows[chunked(points, rows)]).norm(dim=-1)
        worse = int((away > least * (1 + 1e-5) + 1e-6).sum())  # of two rows at one distance either will do
        calls = {
            "tokzoo": lambda points=points, rows=rows: nearest_rows(points, rows),
            "cdist + argmin": lambda points=points, rows=rows: whole_matrix(points, rows),
            "cdist + argmin, chunked": lambda points=points, rows=rows: chunked(points, rows),
        }
        found.append(
            Comparison(
                setting=f"{count} vectors, {size} codes, {channels} channels",
                timings=interleaved(calls, rounds=rounds, device=device),
                note=f"{worse} of {count} vectors have a nearer code than ours found",
            )
        )
    return found
