"""Sizes of the tiny autoencoders."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TaesdConfig:
    """Sizes of one autoencoder. Image sizes are pixels, widths are channels.

    Args:
        image_size: of the model whose latents it makes; any multiple of `downsample` works.
        num_blocks: per level, full resolution first.
        pooled: whether the blocks of the coarsest level have a normalised branch.
    """

    image_size: int = 512
    width: int = 64
    num_blocks: tuple[int, ...] = (1, 3, 3, 3)
    code_dim: int = 4
    pooled: bool = False

    @property
    def downsample(self) -> int:
        """Pixels per latent side."""
        return int(2 ** (len(self.num_blocks) - 1))


TAESD = TaesdConfig()  # published as taesd.unstated
TAESDXL = TaesdConfig(image_size=1024)
TAESD3 = TaesdConfig(image_size=1024, code_dim=16)
TAEF1 = TaesdConfig(image_size=1024, code_dim=16)
TAEF2 = TaesdConfig(image_size=1024, code_dim=32, pooled=True)
TINY = TaesdConfig(image_size=16, width=8, num_blocks=(1, 1, 2), pooled=True)
