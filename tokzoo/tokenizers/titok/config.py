"""Sizes of TiTok."""

from dataclasses import dataclass
from typing import Literal

from tokzoo.tokenizers.maskgit_vqgan.config import MASKGIT_VQGAN_F16, MaskgitVqganConfig


@dataclass(frozen=True, kw_only=True)
class VitSize:
    """Sizes of one transformer. The MLP is four times the width."""

    width: int
    depth: int
    num_heads: int


SMALL = VitSize(width=512, depth=8, num_heads=8)
BASE = VitSize(width=768, depth=12, num_heads=12)
LARGE = VitSize(width=1024, depth=24, num_heads=16)
NANO = VitSize(width=128, depth=3, num_heads=4)  # ours
SMALLEST = VitSize(width=32, depth=1, num_heads=2)  # of tests
VIT_SIZES = {"small": SMALL, "base": BASE, "large": LARGE}


@dataclass(frozen=True, kw_only=True)
class TitokConfig:
    """Sizes of one TiTok. Image sizes are pixels, widths are channels.

    Args:
        num_tokens: latent tokens per image.
        bottleneck: `vq`, a codebook; `kl`, a Gaussian with `code_dim` channels a token.
        normalize_codes: cosine lookup.
        head: `pixels`; `code_logits`, over the codebook of `pixel` (stage 1: no pixels come out); `code_mixture`, those
            logits' expected code through the decoder of `pixel` (stage 2).
        pixel: the MaskGIT-VQGAN whose codes the legacy heads speak.
        scrambled: the legacy order of the encoder's last projection.
    """

    image_size: int = 256
    patch_size: int = 16
    num_tokens: int = 32
    encoder: VitSize = LARGE
    decoder: VitSize = LARGE
    bottleneck: Literal["vq", "kl"] = "vq"
    codebook_size: int = 4096
    code_dim: int = 12
    normalize_codes: bool = True
    head: Literal["pixels", "code_logits", "code_mixture"] = "pixels"
    pixel: MaskgitVqganConfig = MASKGIT_VQGAN_F16
    scrambled: bool = False

    @property
    def grid_size(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size


def _legacy(num_tokens: int, size: VitSize) -> TitokConfig:
    """Two training stages, pixels by MaskGIT's VQGAN."""
    return TitokConfig(num_tokens=num_tokens, encoder=size, decoder=size, head="code_mixture", scrambled=True)


def _vq8k(num_tokens: int, encoder: VitSize) -> TitokConfig:
    return TitokConfig(num_tokens=num_tokens, encoder=encoder, codebook_size=8192, code_dim=64, normalize_codes=False)


def _kl16(num_tokens: int, encoder: VitSize) -> TitokConfig:
    return TitokConfig(num_tokens=num_tokens, encoder=encoder, bottleneck="kl", code_dim=16)


TITOK_L32 = _legacy(32, LARGE)
TITOK_B64 = _legacy(64, BASE)
TITOK_S128 = _legacy(128, SMALL)
TITOK_BL64_VQ8K = _vq8k(64, BASE)
TITOK_BL128_VQ8K = _vq8k(128, BASE)
TITOK_SL256_VQ8K = _vq8k(256, SMALL)
TITOK_LL32_VAE_C16 = _kl16(32, LARGE)
TITOK_BL64_VAE_C16 = _kl16(64, BASE)
TITOK_BL128_VAE_C16 = _kl16(128, BASE)

TITOK_NANO = TitokConfig(image_size=64, patch_size=8, encoder=NANO, decoder=NANO)  # ours: 64x64 photos, 384 bits each
TINY = TitokConfig(
    image_size=16, patch_size=4, num_tokens=4, encoder=SMALLEST, decoder=SMALLEST, codebook_size=16, code_dim=6
)
