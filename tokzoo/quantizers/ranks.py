"""Statistics of codebooks over the processes of a run, whose batches may be of unequal size, or empty."""

import torch
import torch.distributed as dist
from torch import Tensor


def sum_over_ranks(*tensors: Tensor) -> None:
    """Adds up each tensor over all processes, in place. Shapes must not depend on the batch."""
    if _several():
        for tensor in tensors:
            dist.all_reduce(tensor)


@torch.no_grad()
def draw_over_ranks(points: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """`count` of all processes' finite points, drawn with replacement, the same for every process.

    Shapes:
        points (N, C), N >= 0 -> (count, C); of no points at all, zeros
    """
    points = points[points.isfinite().all(-1)]
    drawn = points.new_zeros(count, points.shape[-1])
    if len(points):
        drawn = points[_whole(len(points), count, generator).to(points.device)]
    if not _several():
        return drawn
    offers = [torch.empty_like(drawn) for _ in range(dist.get_world_size())]
    sizes = [torch.zeros(1, device=points.device) for _ in offers]
    dist.all_gather(offers, drawn.contiguous())
    dist.all_gather(sizes, torch.tensor([float(len(points))], device=points.device))
    weights = torch.cat(sizes)
    if weights.sum() > 0:
        shares = (weights / weights.sum()).cumsum(0)
        device = "cpu" if generator is None else generator.device
        place = torch.rand(count, generator=generator, device=device).to(points.device)
        owner = torch.searchsorted(shares, place).clamp_max(len(offers) - 1)
        drawn = torch.stack(offers)[owner, torch.arange(count, device=points.device)]
    dist.broadcast(drawn, 0)
    return drawn


def _whole(below: int, count: int, generator: torch.Generator | None) -> Tensor:
    return torch.randint(below, (count,), generator=generator, device="cpu" if generator is None else generator.device)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
