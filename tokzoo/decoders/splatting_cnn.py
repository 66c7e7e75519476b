"""Gaussians painted on a map of features, and a convolutional network that makes pixels of it. B batch, L tokens."""

from collections.abc import Sequence as PySequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.convs import GROUPS, MapAttention, Upsample
from tokzoo.layers.gaussians import to_tiles
from tokzoo.layers.splatting import splat
from tokzoo.layers.tile_norm import TileNorm, TileResBlock, join_tiles, split_tiles
from tokzoo.parts import Decoder
from tokzoo.tokens import Features


class SplattingCnnDecoder(Decoder):
    """Features of Gaussians are summed up at every place, then decoded as VQGAN does. GPSToken, arXiv:2509.01109, 3.3.

    Args:
        map_size: places per side of the map of a tile.
        cutoff: standard deviations to either side that a Gaussian reaches.
        width, multipliers: channels of level i, 0 at full resolution, are width * multipliers[i]; between levels the
            map doubles.
        num_blocks: residual blocks per level, one less than there are, as in VQGAN.
        code_dim: C, features of a token.
        seams: whether tiles of a larger picture are decoded each alone and put side by side. Otherwise all Gaussians
            are painted on one map and only statistics and attention are those of tiles.
        groups: of every norm.

    Shapes:
        codes (B, L, C), geometry (B, L, 5), extent (H, W) -> images (B, 3, H, W), nominally in [0, 1], of tiles of
        map_size * 2 ** (levels - 1) pixels; with `seams` every tile has as many tokens, tile by tile

    Raises:
        ValueError: no geometry; with `seams`, tokens that are not as many in every tile.
    """

    def __init__(
        self,
        *,
        map_size: int,
        cutoff: float,
        width: int,
        multipliers: PySequence[int],
        num_blocks: int,
        code_dim: int,
        seams: bool = False,
        groups: int = GROUPS,
    ):
        super().__init__()
        self.map_size, self.cutoff, self.seams = map_size, cutoff, seams
        widths = [width * multiplier for multiplier in multipliers]
        top = widths[-1]
        self.tile_size = map_size * 2 ** (len(widths) - 1)
        self.conv_in = nn.Conv2d(code_dim, top, 3, padding=1)
        self.middle1, self.middle2 = (TileResBlock(top, top, groups=groups) for _ in range(2))
        self.attention = MapAttention(top, groups=groups)
        self.levels = nn.ModuleList(
            nn.ModuleList(
                TileResBlock(before if number == 0 else after, after, groups=groups) for number in range(num_blocks + 1)
            )
            for after, before in pairwise([*widths, top])
        )
        self.upsamples = nn.ModuleList(Upsample(channels) for channels in widths[1:])  # after level i + 1
        self.norm_out = TileNorm(widths[0], groups=groups)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, codes: Features) -> Tensor:
        if codes.geometry is None:
            raise ValueError("codes to be painted need geometry (B, L, 5): sx, sy, rho, x, y of their Gaussians")
        rows, columns = (1, 1) if codes.extent is None else (side // self.tile_size for side in codes.extent)
        if not self.seams or rows * columns == 1:
            size = (rows * self.map_size, columns * self.map_size)
            return self.decode_map(splat(codes.geometry, codes.latents, size, cutoff=self.cutoff), (rows, columns))
        tiles = rows * columns
        if codes.latents.shape[1] % tiles:
            raise ValueError(f"{codes.latents.shape[1]} tokens are not as many in each of {tiles} tiles")
        geometry = to_tiles(codes.geometry, rows, columns).flatten(0, 1)  # (B * T, N, 5)
        latents = codes.latents.reshape(len(geometry), -1, codes.latents.shape[2])
        size = (self.map_size, self.map_size)
        return join_tiles(self.decode_map(splat(geometry, latents, size, cutoff=self.cutoff)), (rows, columns))

    def decode_map(self, painted: Tensor, tiles: tuple[int, int] = (1, 1)) -> Tensor:
        """A map (B, C, h, w), of so many tiles, -> images."""
        hidden = self.middle1(self.conv_in(painted), tiles)
        hidden = join_tiles(self.attention(split_tiles(hidden, tiles)), tiles)
        hidden = self.middle2(hidden, tiles)
        for level in range(len(self.levels) - 1, -1, -1):
            for block in self.levels[level]:  # type: ignore[attr-defined]
                hidden = block(hidden, tiles)
            if level:
                hidden = self.upsamples[level - 1](hidden)
        return (self.conv_out(F.silu(self.norm_out(hidden))) + 1) / 2  # the last norm is of the whole picture
