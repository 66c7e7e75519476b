"""Sizes of MaskGIT's VQGAN."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MaskgitVqganConfig:
    """Sizes of one MaskGIT-VQGAN. Image sizes are pixels, widths are channels."""

    image_size: int = 256
    width: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)  # of the width, per level
    num_blocks: int = 2  # residual blocks per level
    num_middle_blocks: int | None = None  # at the coarsest level, between encoder levels and code; None: num_blocks
    codebook_size: int = 1024
    code_dim: int = 256

    @property
    def downsample(self) -> int:
        """Pixels per token side."""
        return int(2 ** (len(self.multipliers) - 1))


MASKGIT_VQGAN_F16 = MaskgitVqganConfig()  # published as maskgit_vqgan_f16.in1k
TINY = MaskgitVqganConfig(image_size=16, width=32, multipliers=(1, 2), num_blocks=1, codebook_size=16, code_dim=8)
