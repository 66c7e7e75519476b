"""Sizes of ELM's binary autoencoder."""

from dataclasses import dataclass

from tokzoo.tokenizers.ldm_sizes import LdmCnnSizes


@dataclass(frozen=True, kw_only=True)
class BaeConfig(LdmCnnSizes):
    """Sizes of one binary autoencoder. `code_dim` is the width of the table of bits, and of the networks' ends.

    Args:
        num_bits: of a token.
        slot_bits: bits per index, adding up to `num_bits`. None: one index of all. The published generators name
            theirs "a-b", a indices of b bits each.
    """

    num_bits: int = 16
    slot_bits: tuple[int, ...] | None = None


ELM_BAE_16 = BaeConfig()
ELM_BAE_20 = BaeConfig(num_bits=20)
ELM_BAE_24 = BaeConfig(num_bits=24)
TINY = BaeConfig(
    image_size=16,
    width=32,
    multipliers=(1, 2),
    num_blocks=1,
    latent_dim=32,
    code_dim=32,
    attention_levels=(1,),
    num_bits=6,
)
