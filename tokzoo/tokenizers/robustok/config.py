"""Sizes of RobusTok."""

from dataclasses import dataclass

from tokzoo.tokenizers.xqgan.config import XqganConfig


@dataclass(frozen=True, kw_only=True)
class RobustokConfig(XqganConfig):
    """Sizes of one RobusTok: an XQ-GAN of one branch and one scale, and how its training disturbs tokens.

    Args:
        perturbed_tokens: alpha, chance of a token to be disturbed in an affected image.
        perturbed_images: beta, share of a batch that is affected.
        neighbours: delta, how many codes near a latent one is drawn from.
    """

    num_branches: int = 1
    scales: tuple[int, ...] = (16,)
    code_dim: int = 64
    scale_dropout: float = 0.0
    perturbed_tokens: float = 1.0
    perturbed_images: float = 0.1
    neighbours: int = 100


ROBUSTOK = RobustokConfig()
TINY = RobustokConfig(
    image_size=16,
    patch_size=4,
    width=32,
    depth=1,
    num_heads=2,
    scales=(3,),
    codebook_size=16,
    code_dim=4,
    neighbours=4,
)
