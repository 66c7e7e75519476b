"""Sizes of WeTok."""

from dataclasses import dataclass

from tokzoo.tokenizers.open_magvit2.config import Magvit2CnnSizes


@dataclass(frozen=True, kw_only=True)
class WetokConfig(Magvit2CnnSizes):
    """Sizes of one WeTok.

    Args:
        num_groups: indices per token, of `code_dim / num_groups` bits each.
        generative: the decoder reads noise beside the codes.
    """

    width: int = 256
    code_dim: int = 32
    num_groups: int = 4
    generative: bool = False


F8, F16, F32 = (1, 2, 2, 4), (1, 1, 2, 2, 4), (1, 1, 2, 2, 4, 8)
WETOK_IMAGENET_F8 = WetokConfig(multipliers=F8)
WETOK_IMAGENET_F16 = WetokConfig(multipliers=F16)
WETOK_GENERAL_24 = WetokConfig(multipliers=F8, code_dim=64, num_groups=8)
WETOK_GENERAL_48 = WetokConfig(multipliers=F8)
WETOK_GENERAL_192 = WetokConfig(multipliers=F16)
WETOK_GENERAL_768 = WetokConfig(multipliers=F32, generative=True)
TINY = WetokConfig(image_size=16, width=32, multipliers=(1, 2), num_blocks=1, code_dim=6, num_groups=2)
