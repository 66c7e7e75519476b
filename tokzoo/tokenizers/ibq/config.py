"""Sizes of IBQ."""

from dataclasses import dataclass

from tokzoo.tokenizers.ldm_sizes import LdmCnnSizes


@dataclass(frozen=True, kw_only=True)
class IbqConfig(LdmCnnSizes):
    """Sizes of one IBQ."""

    num_blocks: int = 4
    codebook_size: int = 16384


IBQ_1024 = IbqConfig(codebook_size=1024)
IBQ_8192 = IbqConfig(codebook_size=8192)
IBQ_16384 = IbqConfig()
IBQ_262144 = IbqConfig(codebook_size=262144)
TINY = IbqConfig(
    image_size=16,
    width=32,
    multipliers=(1, 2),
    num_blocks=1,
    latent_dim=8,
    code_dim=6,
    attention_levels=(1,),
    codebook_size=16,
)
