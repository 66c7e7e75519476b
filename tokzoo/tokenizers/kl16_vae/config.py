"""Sizes of the KL-16 autoencoder."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Kl16VaeConfig:
    """Sizes of one autoencoder. Image sizes are pixels, widths are channels.

    Args:
        multipliers: of the width, per level.
        num_blocks: residual blocks per encoder level; the decoder has one more.
        attention_levels: encoder levels with self-attention, 0 at full resolution.
        decoder_attention_levels: the same of the decoder.
        groups: of every GroupNorm.
        scale: what generators multiply the latents by.
    """

    image_size: int = 256
    width: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_blocks: int = 2
    code_dim: int = 16
    attention_levels: tuple[int, ...] = (4,)
    decoder_attention_levels: tuple[int, ...] = ()
    groups: int = 32
    scale: float = 0.2325

    @property
    def downsample(self) -> int:
        """Pixels per latent side."""
        return int(2 ** (len(self.multipliers) - 1))


KL16_VAE = Kl16VaeConfig()  # published as kl16_vae.in1k
TINY = Kl16VaeConfig(image_size=16, width=32, multipliers=(1, 2), num_blocks=1, code_dim=4, attention_levels=(1,))
