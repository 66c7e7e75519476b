"""Painting with Gaussians beside the dense formula, and the partition beside one region at a time. N Gaussians.

The Gaussians are those of the partitions of photos; without photos, of smooth noise.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo import hub
from tokzoo import images as photos
from tokzoo.benchmarks.micro import OURS, Comparison
from tokzoo.benchmarks.timing import interleaved
from tokzoo.layers.gaussians import region_gaussians
from tokzoo.layers.partition import complexity, partition
from tokzoo.layers.splatting import splat

SIDE, BATCH, NUMBER, CHANNELS = 256, 8, 256, 16
REGIONS = 128
CUTOFF = 3.0


def compare(
    *, device: str = "cpu", rounds: int = 5, files: Sequence[str | Path] = (), batch: int = BATCH
) -> list[Comparison]:
    """Forward and backward of painting, then the partition of a photo.

    Args:
        files: photos, of which the first `batch` are used.
    """
    grey = _grey(files, batch).to(device)
    with torch.inference_mode(False), torch.enable_grad():
        return [_painting(grey, device, rounds), _partition(grey[:1], device, rounds)]


def dense_splat(geometry: Tensor, features: Tensor, size: tuple[int, int], *, cutoff: float = CUTOFF) -> Tensor:
    """The formula as it reads: weights (B, N, H, W), then an einsum."""
    scale_x, scale_y, rho, x, y = geometry[..., None, None].unbind(2)
    dx = torch.linspace(-1, 1, size[1], device=geometry.device) - x
    dy = torch.linspace(-1, 1, size[0], device=geometry.device)[:, None] - y
    form = (dx / scale_x) ** 2 - 2 * rho * dx * dy / (scale_x * scale_y) + (dy / scale_y) ** 2
    inside = (dx.abs() <= cutoff * scale_x) & (dy.abs() <= cutoff * scale_y)
    return torch.einsum("bnhw,bnc->bchw", torch.exp(-form / (2 * (1 - rho**2))) * inside, features)


def _painting(grey: Tensor, device: str, rounds: int) -> Comparison:
    size = (SIDE, SIDE)
    generator = torch.Generator().manual_seed(0)
    geometry = region_gaussians(partition(grey, NUMBER), size)
    features = torch.randn(len(grey), NUMBER, CHANNELS, generator=generator).to(device)
    given = torch.randn(len(grey), CHANNELS, *size, generator=generator).to(device)

    def trained(way: Callable[..., Tensor], images: int = len(grey)) -> list[Tensor]:
        inputs = [each[:images].clone().requires_grad_() for each in (geometry, features)]
        painted = way(*inputs, size, cutoff=CUTOFF)
        return [painted.detach(), *torch.autograd.grad(painted, inputs, given[:images])]

    away = max(
        float((got - want).abs().max() / want.abs().max())
        for got, want in zip(trained(splat, 1), trained(dense_splat, 1), strict=True)
    )
    return Comparison(
        setting=f"{NUMBER} Gaussians, {CHANNELS} channels, {SIDE}x{SIDE}, batch {len(grey)}, forward and backward",
        timings=interleaved(
            {OURS: lambda: trained(splat), "dense einsum": lambda: trained(dense_splat)}, rounds=rounds, device=device
        ),
        note=f"map and gradients differ by at most {away:.1e} of the largest",
    )


def _partition(grey: Tensor, device: str, rounds: int) -> Comparison:
    found = partition(grey, REGIONS)[0]

    def one_by_one() -> list[Tensor]:
        image = torch.zeros(1, dtype=torch.int64, device=grey.device)
        return [complexity(grey, image, region[None]) for region in found]

    return Comparison(
        setting=f"a photo of {SIDE}x{SIDE} into {REGIONS} regions",
        timings=interleaved(
            {OURS: lambda: partition(grey, REGIONS), "its last regions alone, one by one": one_by_one},
            rounds=rounds,
            device=device,
            memory=False,
        ),
        note="the greedy search scores some 450 regions, of which 128 are the last",
    )


@torch.no_grad()
def partition_in_encode(name: str, file: str | Path, *, rounds: int = 5) -> Comparison:
    """What the partition takes of `encode` of one photo, by a GPSToken of this name with any weights."""
    tok = hub.create_model(name).eval()
    images = tok.preprocess(file)
    return Comparison(
        setting=f"{name}, a photo of {tok.image_size}x{tok.image_size}: partition, and encode which has it in it",
        timings=interleaved(
            {OURS: lambda: tok.prepare(images), "encode": lambda: tok.encode(images)}, rounds=rounds, memory=False
        ),
    )


def _grey(files: Sequence[str | Path], batch: int) -> Tensor:
    """(B, SIDE, SIDE) in [0, 1]."""
    if not files:
        coarse = torch.rand(batch, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        return F.interpolate(coarse, (SIDE, SIDE), mode="bicubic").squeeze(1).clamp(0, 1)
    made = [photos.to_tensor(photos.bilinear_crop(photos.open_image(file), SIDE)) for file in files[:batch]]
    return torch.einsum("bchw,c->bhw", torch.stack(made), torch.tensor([0.299, 0.587, 0.114]))
