"""Sizes of LlamaGen's tokenizer."""

from dataclasses import dataclass

from tokzoo.tokenizers.ldm_sizes import LdmCnnSizes


@dataclass(frozen=True, kw_only=True)
class LlamagenVqConfig(LdmCnnSizes):
    """Sizes of one tokenizer of LlamaGen. Attention always lies at the coarsest level."""

    code_dim: int = 8
    codebook_size: int = 16384


LLAMAGEN_VQ16 = LlamagenVqConfig()
LLAMAGEN_VQ8 = LlamagenVqConfig(multipliers=(1, 2, 2, 4), attention_levels=(3,))
TINY = LlamagenVqConfig(
    image_size=16,
    width=32,
    multipliers=(1, 2),
    num_blocks=1,
    latent_dim=8,
    code_dim=6,
    attention_levels=(1,),
    codebook_size=16,
)
