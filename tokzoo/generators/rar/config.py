"""Sizes of the published RAR models; numbers only."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RarConfig:
    """Sizes of one RAR.

    Args:
        codebook_size, num_tokens, grid: what it makes: codes, in a row, or on a grid of (height, width), of video
            (frames, height, width).
        null_class: whether "no class" is a class of its own.
        slots: values of each code of a token, where tokens have several: `codebook_size`, `num_tokens` and `grid` are
            then of words (tokzoo.generators.words).
        planes: (height, width) of each, where tokens lie on planes of growing size; they are said as one row.
        extra_positions: rows of the two position tables, and of the table of steps, that are stored and never read.
    """

    codebook_size: int = 1024
    num_tokens: int = 256
    grid: tuple[int, ...] | None = (16, 16)
    num_classes: int = 1000
    null_class: bool = True
    width: int = 768
    depth: int = 24
    num_heads: int = 16
    mlp_dim: int = 3072
    extra_positions: tuple[int, int] = (1022, 98)
    slots: tuple[int, ...] = ()
    planes: tuple[tuple[int, int], ...] = ()


RAR_B = RarConfig()
RAR_L = RarConfig(width=1024, mlp_dim=4096)
RAR_XL = RarConfig(width=1280, depth=32, mlp_dim=5120)
RAR_XXL = RarConfig(width=1408, depth=40, mlp_dim=6144)

TINY = RarConfig(
    codebook_size=40, num_tokens=16, grid=(4, 4), num_classes=10, width=64, depth=2, num_heads=4, mlp_dim=256
)
