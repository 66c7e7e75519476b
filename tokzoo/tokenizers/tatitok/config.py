"""Sizes of TA-TiTok."""

from dataclasses import dataclass

from tokzoo.tokenizers.titok.config import BASE, SMALL, SMALLEST, TitokConfig, VitSize


@dataclass(frozen=True, kw_only=True)
class TatitokConfig(TitokConfig):
    """Sizes of one TA-TiTok: those of a TiTok of one training stage, and of the text that guides its decoder.

    Args:
        text_length: tokens of text, padding included.
        text_dim: channels of a text feature.
    """

    text_length: int = 77
    text_dim: int = 768


def _vq(num_tokens: int) -> TatitokConfig:
    return TatitokConfig(num_tokens=num_tokens, encoder=BASE, codebook_size=8192, code_dim=64, normalize_codes=False)


def _kl(num_tokens: int, encoder: VitSize) -> TatitokConfig:
    return TatitokConfig(num_tokens=num_tokens, encoder=encoder, bottleneck="kl", code_dim=16)


TATITOK_BL32_VQ = _vq(32)
TATITOK_BL64_VQ = _vq(64)
TATITOK_BL128_VQ = _vq(128)
TATITOK_BL32_VAE = _kl(32, BASE)
TATITOK_BL64_VAE = _kl(64, BASE)
TATITOK_SL128_VAE = _kl(128, SMALL)

TINY = TatitokConfig(
    image_size=16,
    patch_size=4,
    num_tokens=4,
    encoder=SMALLEST,
    decoder=SMALLEST,
    codebook_size=16,
    code_dim=6,
    normalize_codes=False,
    text_length=5,
    text_dim=12,
)
