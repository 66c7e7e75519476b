"""Sizes of the autoencoders under FlexTok: those of Stable Diffusion's (arXiv:2112.10752), with more channels."""

from dataclasses import dataclass

from tokzoo.tokenizers.kl16_vae.config import Kl16VaeConfig


@dataclass(frozen=True, kw_only=True)
class FlextokVaeConfig(Kl16VaeConfig):
    """Sizes of one autoencoder, f8: four levels, self-attention in the middle only.

    Args:
        scale: the published one is in the config.json of the hub alone, and 1 here: load by the repository's name to
            have it. Encoding and decoding do without.
    """

    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    attention_levels: tuple[int, ...] = ()
    scale: float = 1.0


FLEXTOK_VAE_C4 = FlextokVaeConfig(code_dim=4)
FLEXTOK_VAE_C8 = FlextokVaeConfig(code_dim=8)
FLEXTOK_VAE_C16 = FlextokVaeConfig(code_dim=16)
TINY = FlextokVaeConfig(image_size=16, width=8, multipliers=(1, 2), num_blocks=1, code_dim=4, groups=4)
