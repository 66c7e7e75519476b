"""Sizes of VQGAN."""

from dataclasses import dataclass

from tokzoo.tokenizers.ldm_sizes import LdmCnnSizes


@dataclass(frozen=True, kw_only=True)
class VqganConfig(LdmCnnSizes):
    """Sizes of one VQGAN. `gumbel`: codes are drawn by predicted chances instead of looked up by distance."""

    codebook_size: int = 1024
    gumbel: bool = False


VQGAN_F16_1024 = VqganConfig()
VQGAN_F16_16384 = VqganConfig(codebook_size=16384)
VQGAN_GUMBEL_F8_8192 = VqganConfig(multipliers=(1, 1, 2, 4), attention_levels=(3,), codebook_size=8192, gumbel=True)
TINY = VqganConfig(
    image_size=16,
    width=32,
    multipliers=(1, 2),
    num_blocks=1,
    latent_dim=8,
    code_dim=6,
    attention_levels=(1,),
    codebook_size=16,
)
