"""Channels to their nearest level, beside the authors' way of it. N tokens, C channels, K levels."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tokzoo.benchmarks.micro import Comparison
from tokzoo.benchmarks.timing import interleaved
from tokzoo.quantizers.channel_tables import ChannelTableQuantizer, published_table
from tokzoo.quantizers.dimension_wise import DimensionWiseQuantizer

TOKENS, CHANNELS = 16 * 256, 16  # of sixteen images of 256 x 256 pixels
BATCHES = 8  # one after the other in each call, as a data set is quantized
LEVELS = (16, 64, 256)
RANGE = dict(low=-5.0, high=5.0, reach=3.0)


def distance_matrix(quantizer: DimensionWiseQuantizer, latents: Tensor) -> Tensor:
    """The authors' way: all N x C x K distances, then argmin."""
    span = quantizer.high - quantizer.low
    scaled = (latents - quantizer.low) / span * (2 * quantizer.reach) - quantizer.reach
    clipped = scaled.clamp(-quantizer.reach, quantizer.reach)
    return (clipped.unsqueeze(-1) - quantizer.values).abs().argmin(-1)


def _repeat(way: Callable[[Tensor], Tensor], latents: Tensor) -> None:
    for _ in range(BATCHES):
        way(latents)


def compare(*, device: str = "cpu", rounds: int = 5) -> list[Comparison]:
    """One table by cells, and a table per channel by bisection, beside the matrix of distances."""
    found = []
    for levels in LEVELS:
        latents = torch.randn(1, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(0)).to(device)
        shared = DimensionWiseQuantizer(CHANNELS, levels, **RANGE).to(device)
        tables = ChannelTableQuantizer((levels,) * CHANNELS).to(device)
        tables.load_tables([published_table(levels, **RANGE)] * CHANNELS)
        theirs = distance_matrix(shared, latents)
        differ = [int((quantizer.index(latents) != theirs).sum()) for quantizer in (shared, tables)]
        ways: dict[str, Callable[[Tensor], Tensor]] = {
            "tokzoo": shared.index,
            "table per channel": tables.index,
            "distance matrix": partial(distance_matrix, shared),
        }
        calls = {name: partial(_repeat, way, latents) for name, way in ways.items()}
        found.append(
            Comparison(
                setting=f"{BATCHES} batches of {TOKENS} tokens, {CHANNELS} channels, {levels} levels",
                timings=interleaved(calls, rounds=rounds, device=device),
                note=f"{differ[0]} and {differ[1]} of {latents.numel()} indices differ from the matrix's (near ties)",
            )
        )
    return found
