"""Sizes of the published MaskGITs; numbers only."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class MaskgitConfig:
    """Sizes of one MaskGIT.

    Args:
        codebook_size, num_tokens, grid: what it makes: codes, in a row, or on a grid of (height, width), of video
            (frames, height, width).
        null_class: whether "no class" is a class of its own.
        slots: values of each code of a token, where tokens have several: `codebook_size`, `num_tokens` and `grid` are
            then of words (tokzoo.generators.words).
        planes: (height, width) of each, where tokens lie on planes of growing size; they are said as one row.
        backbone: `bert`: norms after each branch; `uvit`: norms before, and long skips between the halves.
        depth: blocks; a `uvit` has one more, in the middle.
    """

    codebook_size: int = 4096
    num_tokens: int = 32
    grid: tuple[int, ...] | None = None
    num_classes: int = 1000
    null_class: bool = True
    backbone: Literal["bert", "uvit"] = "bert"
    width: int = 768
    depth: int = 24
    num_heads: int = 16
    mlp_dim: int = 3072
    slots: tuple[int, ...] = ()
    planes: tuple[tuple[int, int], ...] = ()


TITOK_L32 = MaskgitConfig()
TITOK_B64 = MaskgitConfig(num_tokens=64)
TITOK_S128 = MaskgitConfig(num_tokens=128, backbone="uvit", width=1024, depth=20, mlp_dim=4096)
ONE_D_PIECE = MaskgitConfig(num_tokens=256)

TINY = MaskgitConfig(codebook_size=40, num_tokens=12, num_classes=10, width=64, depth=2, num_heads=4, mlp_dim=128)
