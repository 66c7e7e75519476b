"""Sizes of the published VAR models; numbers only."""

from dataclasses import dataclass

SCALES_256 = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
SCALES_512 = (1, 2, 3, 4, 6, 9, 13, 18, 24, 32)


@dataclass(frozen=True, kw_only=True)
class VarConfig:
    """Sizes of one VAR.

    Args:
        codebook_size, code_dim: of the tokenizer's codes, which it reads.
        scales: sides of the planes of tokens, coarse first.
        null_class: whether "no class" is a class of its own.
        shared_modulation: one map of the class for all blocks, to which each adds a vector, in place of a map for each.
    """

    codebook_size: int = 4096
    code_dim: int = 32
    scales: tuple[int, ...] = SCALES_256
    num_classes: int = 1000
    null_class: bool = True
    width: int = 1024
    depth: int = 16
    num_heads: int = 16
    mlp_dim: int = 4096
    shared_modulation: bool = False

    @property
    def num_tokens(self) -> int:
        """Of all scales."""
        return sum(side * side for side in self.scales)


def of_depth(depth: int, *, scales: tuple[int, ...] = SCALES_256, shared_modulation: bool = False) -> VarConfig:
    """The published model of that depth: every head is 64 wide, and there are as many as blocks."""
    width = 64 * depth
    return VarConfig(
        scales=scales,
        width=width,
        depth=depth,
        num_heads=depth,
        mlp_dim=4 * width,
        shared_modulation=shared_modulation,
    )


VAR_D16 = of_depth(16)
VAR_D20 = of_depth(20)
VAR_D24 = of_depth(24)
VAR_D30 = of_depth(30)
VAR_D36 = of_depth(36, scales=SCALES_512, shared_modulation=True)

TINY = VarConfig(
    codebook_size=16,
    code_dim=8,
    scales=(1, 2, 3, 4),
    num_classes=10,
    width=64,
    depth=2,
    num_heads=2,
    mlp_dim=128,
)
