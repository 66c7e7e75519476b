"""Sizes of Open-MAGVIT2's video tokenizer."""

from dataclasses import dataclass

from tokzoo.tokenizers.open_magvit2.config import Magvit2CnnSizes


@dataclass(frozen=True, kw_only=True)
class OpenMagvit2VideoConfig(Magvit2CnnSizes):
    """Sizes of one video tokenizer; `num_frames` of the clips that it was trained on."""

    image_size: int = 128
    num_frames: int = 17
    multipliers: tuple[int, ...] = (1, 2, 2, 4)

    @property
    def strides(self) -> tuple[tuple[int, int, int], ...]:
        """(time, height, width) between levels: a level whose multiplier is 1 keeps all its frames."""
        return tuple((1 if multiplier == 1 else 2, 2, 2) for multiplier in self.multipliers[:-1])

    @property
    def frame_downsample(self) -> int:
        """Frames per plane of tokens, after the first."""
        return int(2 ** sum([stride[0] == 2 for stride in self.strides]))


OPEN_MAGVIT2_VIDEO = OpenMagvit2VideoConfig()
TINY = OpenMagvit2VideoConfig(image_size=16, num_frames=5, width=32, multipliers=(1, 2, 2), num_blocks=1, code_dim=6)
