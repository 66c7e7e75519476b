"""Sizes of the published MARs; numbers only."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MarConfig:
    """Sizes of one MAR.

    Args:
        channels, num_tokens, grid: what it makes: continuous tokens on a grid of (height, width).
        scale, shift: it models (latents - shift) * scale.
        null_class: whether "no class" is a class of its own.
        width, decoder_width: of the two transformers; `depth` blocks each.
        num_buffers: how often the class stands before the tokens.
        head_width, head_depth: of the network that denoises a token.
    """

    channels: int = 16
    num_tokens: int = 256
    grid: tuple[int, int] = (16, 16)
    scale: float = 0.2325
    shift: float = 0.0
    num_classes: int = 1000
    null_class: bool = True
    width: int = 768
    decoder_width: int = 768
    depth: int = 12
    num_heads: int = 12
    num_buffers: int = 64
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
