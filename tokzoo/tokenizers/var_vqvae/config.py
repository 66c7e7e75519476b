"""Sizes of VAR's tokenizer."""

from dataclasses import dataclass

from tokzoo.tokenizers.ldm_sizes import LdmCnnSizes


@dataclass(frozen=True, kw_only=True)
class VarVqvaeConfig(LdmCnnSizes):
    """Sizes of one tokenizer of VAR.

    Args:
        scales: sides of the planes of tokens, coarse first; the last is that of the latents.
        num_smoothing: convolutions phi that the scales share.
        smoothing_ratio: how much of phi's conv is mixed in.
    """

    width: int = 160
    latent_dim: int = 32
    code_dim: int = 32
    codebook_size: int = 4096
    scales: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    num_smoothing: int = 4
    smoothing_ratio: float = 0.5


VAR_VQVAE = VarVqvaeConfig()
VAR_VQVAE_512 = VarVqvaeConfig(image_size=512, scales=(1, 2, 3, 4, 6, 9, 13, 18, 24, 32))
TINY = VarVqvaeConfig(
    image_size=16,
    width=32,
    multipliers=(1, 2, 2),
    num_blocks=1,
    latent_dim=8,
    code_dim=8,
    attention_levels=(2,),
    codebook_size=16,
    scales=(1, 2, 3, 4),
)
