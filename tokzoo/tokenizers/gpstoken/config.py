"""Sizes of GPSToken."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GpsTokenConfig:
    """Sizes of one GPSToken. Image sizes are pixels, widths are channels.

    Args:
        image_size: side of a tile; larger pictures are whole numbers of tiles.
        num_tokens: Gaussians of a tile unless `encode` is told otherwise: no weight depends on it.
        code_dim: features of a token, beside the five numbers of its Gaussian.
        least_side: regions are halved down to this.
        entropy_power: of a region's entropy, in its complexity.
        looked_side: pixels per side that a region is resized to, before its entropy is taken.
        training_lengths: numbers of tokens that training draws from, batch by batch; none: always `num_tokens`.
        num_cells: per side of a region, that it is read as.
        stem_width: channels of the map that regions are read from.
        width, depth, num_heads: of the transformer.
        cutoff: standard deviations that a Gaussian reaches.
        decoder_width, multipliers, num_blocks: of the convolutional decoder.
        seams: whether tiles are decoded each alone.
        groups: of the norms of maps.
    """

    image_size: int = 256
    num_tokens: int = 128
    code_dim: int = 16
    least_side: int = 8
    entropy_power: float = 2.5
    looked_side: int = 64
    training_lengths: tuple[int, ...] = ()
    num_cells: int = 8
    stem_width: int = 128
    width: int = 512
    depth: int = 30
    num_heads: int = 8
    cutoff: float = 3.0
    decoder_width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4)
    num_blocks: int = 2
    seams: bool = False
    groups: int = 32

    @property
    def map_size(self) -> int:
        """Places per side of the map that Gaussians are painted on."""
        return self.image_size // 2 ** (len(self.multipliers) - 1)


GPSTOKEN_S64 = GpsTokenConfig(num_tokens=64)
GPSTOKEN_M128 = GpsTokenConfig()
GPSTOKEN_L256 = GpsTokenConfig(num_tokens=256, code_dim=32, seams=True)

GPSTOKEN_NANO = GpsTokenConfig(  # ours: 64x64 photos, up to 256 regions
    image_size=64,
    num_tokens=64,
    code_dim=16,
    least_side=4,
    looked_side=16,
    training_lengths=(16, 24, 32, 48, 64),
    num_cells=4,
    stem_width=16,
    width=128,
    depth=5,
    num_heads=4,
    decoder_width=8,
    multipliers=(1, 4),  # as fine a map for a tile as the smallest regions need
    num_blocks=0,
    groups=2,  # fewer forget less of how bright a picture is
)
TINY = GpsTokenConfig(
    image_size=16,
    num_tokens=6,
    code_dim=4,
    least_side=2,
    training_lengths=(4, 6),
    num_cells=2,
    stem_width=32,
    width=32,
    depth=2,
    num_heads=2,
    decoder_width=8,
    multipliers=(1, 2),
    num_blocks=1,
    groups=4,
)
