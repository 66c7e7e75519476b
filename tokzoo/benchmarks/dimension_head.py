"""TokenBridge's head with a cache, beside the authors' way, which runs the codes so far through it at every step.

N places, C codes of a token, K levels.
"""

import torch
from torch import Tensor

from tokzoo.benchmarks.micro import Comparison
from tokzoo.benchmarks.timing import interleaved
from tokzoo.generators.tokenbridge.config import TOKENBRIDGE_B
from tokzoo.generators.tokenbridge.head import DimensionHead

PLACES = 64
WIDTH, DEPTH, HEADS = 256, 4, 8


def recomputed(head: DimensionHead, features: Tensor) -> Tensor:
    """The likeliest codes (N, C) of features (N, D), without a cache."""
    told = head.tell(features)
    codes = torch.empty(len(features), 0, dtype=torch.int64, device=features.device)
    for step in range(head.channels):
        seen = told[:, : step + 1]
        hidden = torch.cat([told[:, :1], head.embedded(codes)], dim=1) + head.positions[: step + 1]
        for block in head.blocks:
            hidden = block(hidden, seen)
        last = head.normed(hidden, seen)[:, -1]
        code = (last @ head.out[step].t() + head.out_bias[step]).argmax(-1)
        codes = torch.cat([codes, code.unsqueeze(1)], dim=1)
    return codes


def compare(*, device: str = "cpu", rounds: int = 5) -> list[Comparison]:
    """A head as TokenBridge's, narrower, with random weights."""
    config = TOKENBRIDGE_B
    torch.manual_seed(0)
    head = DimensionHead(
        (config.num_levels,) * config.channels,
        config.decoder_width,
        width=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
    ).to(device)
    features = torch.randn(PLACES, config.decoder_width, generator=torch.Generator().manual_seed(0)).to(device)
    differ = int((head.sample(features, temperature=0) != recomputed(head, features)).sum())
    calls = {
        "tokzoo": lambda: head.sample(features, temperature=0),
        "prefix recomputed": lambda: recomputed(head, features),
    }
    return [
        Comparison(
            setting=f"{PLACES} places, {config.channels} codes, width {WIDTH}, {DEPTH} blocks",
            timings=interleaved(calls, rounds=rounds, device=device, memory=False),
            note=f"{differ} of {PLACES * config.channels} codes differ",
        )
    ]
