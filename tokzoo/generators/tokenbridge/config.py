"""Sizes of the published TokenBridges; numbers only."""

from dataclasses import dataclass

from tokzoo.generators.masked_config import MaskedConfig

KL16_ORDER = (8, 1, 10, 9, 6, 12, 4, 0, 3, 11, 7, 14, 2, 15, 13, 5)  # channels of most low frequencies first


@dataclass(frozen=True, kw_only=True)
class TokenBridgeConfig(MaskedConfig):
    """Sizes of one TokenBridge, which makes tokens of a code for each channel.

    Args:
        num_levels: values of a code.
        channel_levels: where channels have unlike numbers of levels, these; `num_levels` is then the most of them.
        channel_order: in which a token's codes are said; it belongs to one tokenizer. None: as they are stored.
        head_width, head_depth, head_heads: of the transformer that says a token's codes.
    """

    num_levels: int = 64
    channel_levels: tuple[int, ...] | None = None
    channel_order: tuple[int, ...] | None = KL16_ORDER
    head_width: int = 768
    head_depth: int = 4
    head_heads: int = 8


TOKENBRIDGE_B = TokenBridgeConfig()
TOKENBRIDGE_L = TokenBridgeConfig(width=1024, decoder_width=1024, depth=16, num_heads=16, head_width=1024)
TOKENBRIDGE_H = TokenBridgeConfig(width=1280, decoder_width=1280, depth=20, num_heads=16, head_width=1024, head_depth=6)

TINY = TokenBridgeConfig(
    num_levels=16,
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
    head_heads=4,
)
