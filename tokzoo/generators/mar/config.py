"""Sizes of the published MARs; numbers only."""

from dataclasses import dataclass

from tokzoo.generators.masked_config import MaskedConfig


@dataclass(frozen=True, kw_only=True)
class MarConfig(MaskedConfig):
    """Sizes of one MAR, which makes continuous tokens.

    Args:
        scale, shift: it models (latents - shift) * scale.
        head_width, head_depth: of the network that denoises a token.
    """

    scale: float = 0.2325
    shift: float = 0.0
    head_width: int = 1024
    head_depth: int = 6


MAR_B = MarConfig()
MAR_L = MarConfig(width=1024, decoder_width=1024, depth=16, num_heads=16, head_width=1280, head_depth=8)
MAR_H = MarConfig(width=1280, decoder_width=1280, depth=20, num_heads=16, head_width=1536, head_depth=12)

TINY = MarConfig(
    channels=4,
    num_tokens=16,
    grid=(4, 4),
    num_classes=10,
    width=32,
    decoder_width=48,
    depth=2,
    num_heads=4,
    num_buffers=6,
    head_width=40,
    head_depth=2,
)
