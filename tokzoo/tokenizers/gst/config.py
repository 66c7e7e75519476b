"""Sizes of GST."""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class GstConfig:
    """Sizes of one GST. Image sizes are pixels, widths are channels, lengths are metres.

    Args:
        image_size, patch_size: pixels per side of the picture, of a patch; every patch becomes one Gaussian.
        num_tokens: Gaussians that those of the patches are pooled to.
        feature_width: of what is known of a patch.
        feature_depth: transformer blocks that make it of colours and points; None: it is given, as `features`.
        feature_heads: of those blocks.
        head_widths: hidden layers of the network that tells a patch's Gaussian.
        offset: whether means move off the points of their patches; without, mu = 0 in the words of the paper.
        isotropic: whether Gaussians are balls, of one scale each.
        rotated: whether Gaussians turn; those of the paper lie along the camera's axes.
        code: what tells where a patch is: sines and cosines of its mean in `space`, or a vector learned for its place
            in the `picture`, of the same width.
        octaves: of the code of a mean, sines and cosines of pi, 2 pi, 4 pi ... times it.
        unit: the length that counts as 1 there.
        start_scale: standard deviation of a patch's Gaussian before anything is learned.
        width: of a token.
        paint_width: channels that are painted with, and of the network that makes pixels of them.
        cutoff: standard deviations that a Gaussian reaches.
        released_heads: heads of the pooling in the code that the authors released, which is another network than the
            paper's; None: the paper's.
    """

    image_size: int = 224
    patch_size: int = 14
    num_tokens: int = 128
    feature_width: int = 1152
    feature_depth: int | None = None
    feature_heads: int = 4
    head_widths: tuple[int, ...] = (768, 512)
    offset: bool = True
    isotropic: bool = False
    rotated: bool = True
    code: Literal["space", "picture"] = "space"
    octaves: int = 6
    unit: float = 1.0
    start_scale: float = 0.05
    width: int = 768
    paint_width: int = 32
    cutoff: float = 3.0
    released_heads: int | None = None

    @property
    def num_patches(self) -> int:
        """Patches, and so Gaussians before pooling, of a square picture."""
        return (self.image_size // self.patch_size) ** 2


GST_128 = GstConfig()
GST_128_AXIS_ALIGNED = GstConfig(rotated=False)
GST_128_RELEASED = GstConfig(rotated=False, head_widths=(512, 512), octaves=16, width=512, released_heads=8)

GST_NANO = GstConfig(  # ours: 64x64 pictures, and patches known by their own colours and points
    image_size=64,
    patch_size=4,
    feature_width=64,
    feature_depth=1,
    head_widths=(96, 64),
    unit=4.0,
    start_scale=0.04,
    width=96,
    paint_width=16,
)
GST_NANO_16 = replace(GST_NANO, patch_size=8, num_tokens=16, feature_width=96)  # ours: 64 patches, few tokens
TINY = GstConfig(
    image_size=16,
    patch_size=4,
    num_tokens=6,
    feature_width=16,
    feature_depth=1,
    feature_heads=2,
    head_widths=(16, 12),
    octaves=3,
    unit=4.0,
    start_scale=0.1,
    width=24,
    paint_width=8,
)
