"""Sizes of GPSToken's generator; numbers only."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GpsSitConfig:
    """Sizes of one generator of Gaussian tokens.

    Args:
        num_tokens, code_dim, image_size: what it makes: Gaussians with features, of a picture of one tile.
        means, deviations: of the 5 changes of a Gaussian and the features, by which they are standardised.
        null_class: whether "no class" is a class of its own.
        width, depth, num_heads: of the transformer.
        layout_depth: of the one that draws layouts; 0: there is none, and layouts are given.
        layout_width, layout_heads: of the same.
        layout_means, layout_deviations: of the logarithms of a layout's scales, and its centres.
    """

    num_tokens: int = 128
    code_dim: int = 16
    image_size: int = 256
    means: tuple[float, ...] = (0.0,) * 21
    deviations: tuple[float, ...] = (1.0,) * 21
    num_classes: int = 1000
    null_class: bool = True
    width: int = 1152
    depth: int = 28
    num_heads: int = 16
    layout_depth: int = 0
    layout_width: int = 0
    layout_heads: int = 1
    layout_means: tuple[float, ...] = (0.0,) * 4
    layout_deviations: tuple[float, ...] = (1.0,) * 4

    @property
    def channels(self) -> int:
        """Of what is denoised: the Gaussian and its features."""
        return 5 + self.code_dim


GPSTOKEN_SIT_XL = GpsSitConfig(
    means=(
        *(-0.0211, -0.0196, 0.0107, -0.0052, -0.0044),
        *(1.8017, 2.4036, 2.0145, 1.2402, -4.2579, -1.2646, -3.0395, 2.2928),
        *(3.2168, -0.1431, 0.1600, 1.3924, 3.2345, 1.6994, 0.8237, 0.3222),
    ),
    deviations=(
        *(0.0121, 0.0108, 0.2533, 0.0119, 0.0114),
        *(2.7334, 2.6400, 2.7963, 2.9325, 2.8337, 2.8269, 3.1082, 3.1412),
        *(2.8038, 2.6501, 2.6163, 2.4718, 2.6958, 2.8157, 2.4744, 2.8200),
    ),
)
GPSTOKEN_SIT_NANO = GpsSitConfig(  # ours, for 32 of the Gaussians of gpstoken_nano
    num_tokens=32,
    image_size=64,
    num_classes=19,
    width=64,
    depth=3,
    num_heads=4,
    layout_depth=2,
    layout_width=40,
    layout_heads=2,
)
TINY = GpsSitConfig(
    num_tokens=6,
    code_dim=4,
    image_size=16,
    means=(0.1,) * 9,
    deviations=(0.5,) * 9,
    num_classes=10,
    width=32,
    depth=2,
    num_heads=2,
)
