"""Sizes of the tiny autoencoders."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TaesdConfig:
    """Sizes of one autoencoder. Image sizes are pixels, widths are channels.

    Args:
        image_size: of the model whose latents it makes; any multiple of `downsample` works.
        width: of the encoder.
        num_blocks: per level of the encoder, full resolution first.
        stem: channels of strided convs before the encoder's first level.
        decoder_widths, decoder_num_blocks: per level, full resolution first; None: the decoder mirrors the encoder.
        pooled: whether the blocks of the coarsest level have a normalised branch.
    """

    image_size: int = 512
    width: int = 64
    num_blocks: tuple[int, ...] = (1, 3, 3, 3)
    stem: tuple[int, ...] = ()
    decoder_widths: tuple[int, ...] | None = None
    decoder_num_blocks: tuple[int, ...] | None = None
    code_dim: int = 4
    pooled: bool = False

    @property
    def downsample(self) -> int:
        """Pixels per latent side."""
        return int(2 ** (len(self.num_blocks) + len(self.stem) - 1))


TAESD = TaesdConfig()  # published as taesd.unstated
TAESDXL = TaesdConfig(image_size=1024)
TAESD3 = TaesdConfig(image_size=1024, code_dim=16)
TAEF1 = TaesdConfig(image_size=1024, code_dim=16)
TAEF2 = TaesdConfig(image_size=1024, code_dim=32, pooled=True)
TAESANA = TaesdConfig(
    image_size=1024,
    stem=(32, 64),
    decoder_widths=(64, 64, 64, 64, 128, 256),
    decoder_num_blocks=(1, 3, 3, 3, 3, 3),
    code_dim=32,
)
TINY = TaesdConfig(image_size=16, width=8, num_blocks=(1, 1, 2), pooled=True)
