"""Sizes of XQ-GAN."""

from dataclasses import dataclass
from typing import Literal

SCALES = (1, 1, 2, 3, 3, 4, 5, 6, 8, 11)  # of ImageFolder


@dataclass(frozen=True, kw_only=True)
class XqganConfig:
    """Sizes of one XQ-GAN. Image sizes are pixels, widths are channels.

    Args:
        width, depth, num_heads: of both transformers.
        num_branches: parts of the product: codes side by side, each of its own queries.
        scales: sides of the planes of tokens, coarse first; one: a plain grid.
        lookup: `vq`, a codebook compared by cosine; `binary`, signs of the unit vector (log2(codebook_size) channels).
        code_dim: channels of one branch.
        scale_dropout: share of a training batch that keeps only a random number of leading scales,
        keep_scales: at least so many.
    """

    image_size: int = 256
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    num_branches: int = 2
    scales: tuple[int, ...] = SCALES
    lookup: Literal["vq", "binary"] = "vq"
    codebook_size: int = 4096
    code_dim: int = 32
    scale_dropout: float = 0.1
    keep_scales: int = 3

    @property
    def grid_size(self) -> int:
        """Queries per side."""
        return self.scales[-1]


def _plain(codebook_size: int, code_dim: int, *, num_branches: int, scale_dropout: float) -> XqganConfig:
    return XqganConfig(
        codebook_size=codebook_size,
        code_dim=code_dim,
        num_branches=num_branches,
        scales=(16,),
        scale_dropout=scale_dropout,
    )


XQGAN_VQ_4096 = _plain(4096, 64, num_branches=1, scale_dropout=0.0)
XQGAN_VQ_8192 = _plain(8192, 32, num_branches=1, scale_dropout=0.0)
XQGAN_VP2_4096 = _plain(4096, 32, num_branches=2, scale_dropout=0.1)
XQGAN_VP2_16384 = _plain(16384, 32, num_branches=2, scale_dropout=0.1)
XQGAN_MSVR10P2_4096 = XqganConfig()
XQGAN_MSVR10P2_8192 = XqganConfig(codebook_size=8192)
XQGAN_MSVR10P2_16384 = XqganConfig(codebook_size=16384)
XQGAN_MSBR10P2_4096 = XqganConfig(lookup="binary", code_dim=12)
XQGAN_MSBR10P2_16384 = XqganConfig(lookup="binary", code_dim=14, codebook_size=16384)
TINY = XqganConfig(
    image_size=16,
    patch_size=4,
    width=32,
    depth=1,
    num_heads=2,
    scales=(1, 1, 2, 3),
    codebook_size=16,
    code_dim=4,
    keep_scales=1,
)
