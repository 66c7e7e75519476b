"""Sizes that the two generators with a masked backbone have in common; numbers only."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MaskedConfig:
    """Sizes of a masked backbone, and of what is made with it.

    Args:
        channels, num_tokens, grid: tokens of so many channels, on a grid of (height, width).
        null_class: whether "no class" is a class of its own.
        width, decoder_width: of the two transformers; `depth` blocks each.
        num_buffers: how often the class stands before the tokens.
    """

    channels: int = 16
    num_tokens: int = 256
    grid: tuple[int, int] = (16, 16)
    num_classes: int = 1000
    null_class: bool = True
    width: int = 768
    decoder_width: int = 768
    depth: int = 12
    num_heads: int = 12
    num_buffers: int = 64
