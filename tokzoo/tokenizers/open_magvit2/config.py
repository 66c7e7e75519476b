"""Sizes of Open-MAGVIT2."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Magvit2CnnSizes:
    """Sizes of its convolutional networks, which WeTok has too. Image sizes are pixels, widths are channels.

    Args:
        multipliers: of the width, per level; the image shrinks by 2 between levels.
        num_blocks: residual blocks per level, and at the middle.
        code_dim: bits of a token.
    """

    image_size: int = 256
    width: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_blocks: int = 4
    code_dim: int = 18

    @property
    def downsample(self) -> int:
        """Pixels per token side."""
        return int(2 ** (len(self.multipliers) - 1))


@dataclass(frozen=True, kw_only=True)
class OpenMagvit2Config(Magvit2CnnSizes):
    """Sizes of one Open-MAGVIT2.

    `slot_bits`: bits per index, adding up to `code_dim`. None: one index of all; (6, 12) is what the published
    generators predict, two indices a token.
    """

    slot_bits: tuple[int, ...] | None = None


OPEN_MAGVIT2_256 = OpenMagvit2Config()
OPEN_MAGVIT2_128 = OpenMagvit2Config(image_size=128, multipliers=(1, 2, 2, 4))
OPEN_MAGVIT2_PT16384 = OpenMagvit2Config(code_dim=14)
OPEN_MAGVIT2_PT262144 = OpenMagvit2Config()
TINY = OpenMagvit2Config(image_size=16, width=32, multipliers=(1, 2), num_blocks=1, code_dim=6)
