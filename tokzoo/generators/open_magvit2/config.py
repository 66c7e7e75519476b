"""Sizes of the published generators of Open-MAGVIT2; numbers only."""

from dataclasses import dataclass

from tokzoo.generators.gpt.config import GptConfig


@dataclass(frozen=True, kw_only=True)
class OpenMagvit2ArConfig(GptConfig):
    """Sizes of a GPT of which each token is said in parts.

    Args:
        slot_bits: bits of each part, the lowest of the index first; together those of `codebook_size`.
        slot_depth: blocks of the small transformer that says one part after another.
    """

    codebook_size: int = 2**18
    slot_bits: tuple[int, ...] = (6, 12)
    slot_depth: int = 2


OPEN_MAGVIT2_AR_B = OpenMagvit2ArConfig(width=1024, depth=24, num_heads=16)
OPEN_MAGVIT2_AR_L = OpenMagvit2ArConfig(width=1280, depth=36, num_heads=20, slot_depth=3)
OPEN_MAGVIT2_AR_XL = OpenMagvit2ArConfig(width=1536, depth=48, num_heads=24, slot_depth=4)

TINY = OpenMagvit2ArConfig(
    codebook_size=64,
    slot_bits=(2, 4),
    slot_depth=2,
    num_tokens=16,
    grid=(4, 4),
    num_classes=10,
    width=64,
    depth=2,
    num_heads=4,
    multiple_of=32,
)
