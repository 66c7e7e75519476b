"""Sizes of ALIT."""

from dataclasses import dataclass, replace
from typing import Literal

from tokzoo.tokenizers.karl import config as karl
from tokzoo.tokenizers.karl.config import VAE, VQGAN, BaseConfig
from tokzoo.tokenizers.titok.config import VitSize


@dataclass(frozen=True, kw_only=True)
class AlitConfig:
    """Sizes of one ALIT. Image sizes are pixels, widths are channels.

    Args:
        round_tokens: tokens that each of `num_rounds` rounds adds.
        bottleneck: `vq`, a codebook; `none`, continuous tokens.
        normalize_codes: cosine lookup.
        settle_above: probability of the base's own code from which on a patch may be blanked for later rounds; of a
            `vqgan` base only.
    """

    image_size: int = 256
    patch_size: int = 16
    round_tokens: int = 32
    num_rounds: int = 8
    encoder: VitSize
    decoder: VitSize
    bottleneck: Literal["vq", "none"] = "vq"
    codebook_size: int = 4096
    code_dim: int = 12
    normalize_codes: bool = True
    settle_above: float = 0.55
    base: BaseConfig = VQGAN

    @property
    def grid_size(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def max_tokens(self) -> int:
        """Tokens after all rounds."""
        return self.round_tokens * self.num_rounds


SMALL = VitSize(width=1024, depth=8, num_heads=8)
BASE = VitSize(width=768, depth=12, num_heads=12)
SEMILARGE = VitSize(width=1024, depth=16, num_heads=16)

ALIT_SMALL_VQGAN = AlitConfig(encoder=SMALL, decoder=SMALL)
ALIT_SMALL_VQGAN_CONTINUOUS = replace(ALIT_SMALL_VQGAN, bottleneck="none")
ALIT_BASE_VQGAN = AlitConfig(encoder=BASE, decoder=BASE)
ALIT_SEMILARGE_VQGAN = AlitConfig(encoder=SEMILARGE, decoder=SEMILARGE)
ALIT_SMALL_VAE = replace(ALIT_SMALL_VQGAN, base=VAE)
ALIT_SMALL_VAE_CONTINUOUS = replace(ALIT_SMALL_VAE, bottleneck="none")

TINY = AlitConfig(
    image_size=16,
    patch_size=2,
    round_tokens=4,
    num_rounds=2,
    encoder=VitSize(width=32, depth=1, num_heads=2),
    decoder=VitSize(width=32, depth=1, num_heads=2),
    codebook_size=16,
    code_dim=6,
    base=karl.TINY.base,
)
