"""Regions of a picture as Gaussians with features. B batch, T tiles of a picture, N Gaussians a tile, D width.

S cells per side of a region, L = T * N tokens.
"""

import torch
from torch import Tensor, nn

from tokzoo.layers.convs import GROUPS, ResBlock
from tokzoo.layers.gaussians import refine, region_gaussians, to_picture
from tokzoo.layers.region_align import region_align
from tokzoo.layers.tile_norm import split_tiles
from tokzoo.layers.transformer import TransformerBlock
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Gaussians


class RegionBlock(nn.Module):
    """x += what the region looks like, by its own weighting of the cells; then the block of a ViT.

    Shapes:
        hidden (B, N, D), cells (B, N, S * S, D) -> (B, N, D)
    """

    def __init__(self, dim: int, num_heads: int, num_cells: int):
        super().__init__()
        self.look = nn.Linear(num_cells, 1)
        self.block = TransformerBlock(dim, num_heads)

    def forward(self, hidden: Tensor, cells: Tensor) -> Tensor:
        return self.block(hidden + (self.look.weight @ cells).squeeze(2) + self.look.bias)


class RegionGaussianEncoder(Encoder):
    """Each region becomes a Gaussian that a transformer moves and gives features. GPSToken, arXiv:2509.01109, 3.2.

    Tiles of a larger picture are read one by one; their Gaussians are told in units of the whole.

    Args:
        tile_size: pixels per side of a tile.
        stem_width: channels of the map that regions are read from, at full resolution.
        num_cells: S, cells per side of a region.
        width, depth, num_heads: of the transformer, which knows no order of the tokens.
        code_dim: C, features of a token.
        groups: of the norms of the map.

    Shapes:
        images (B, 3, H, W) in [0, 1], sides multiples of `tile_size`; regions int64 (B, L, 4), pixels in their tile,
        tile by tile in row-major order -> latents (B, L, C), geometry float32 (B, L, 5)

    Raises:
        ValueError: regions that are not as many in every tile.
    """

    def __init__(
        self,
        *,
        tile_size: int,
        stem_width: int,
        num_cells: int,
        width: int,
        depth: int,
        num_heads: int,
        code_dim: int,
        groups: int = GROUPS,
    ):
        super().__init__()
        self.tile_size = tile_size
        self.num_cells = num_cells
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem_width, 3, padding=1),
            ResBlock(stem_width, stem_width, groups=groups),
            ResBlock(stem_width, stem_width, groups=groups),
        )
        self.to_cells = nn.Linear(stem_width, width)
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        self.place = nn.Sequential(nn.Linear(5, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(RegionBlock(width, num_heads, num_cells**2) for _ in range(depth))
        self.to_geometry = nn.Linear(width, 5)
        nn.init.zeros_(self.to_geometry.weight)  # Gaussians begin on their regions
        nn.init.zeros_(self.to_geometry.bias)
        self.to_code = nn.Linear(width, code_dim)

    def forward(self, images: Tensor, regions: Tensor) -> Features:
        rows, columns = (side // self.tile_size for side in images.shape[2:])
        if regions.shape[1] % (rows * columns):
            raise ValueError(
                f"{regions.shape[1]} regions are not as many in each of {rows * columns} tiles; tok.prepare makes them"
            )
        tiles = split_tiles(images, (rows, columns))
        geometry, latents = self.read(tiles, regions.reshape(len(tiles), -1, 4))
        geometry = to_picture(geometry.unflatten(0, (-1, rows * columns)), rows, columns)  # (B, L, 5)
        latents = latents.reshape(len(images), -1, latents.shape[-1])
        return Features(latents, Gaussians(latents.shape[1]), geometry)

    def read(self, tiles: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Tiles (B, 3, h, w), regions (B, N, 4) -> Gaussians (B, N, 5) in units of the tile, features (B, N, C)."""
        initial = region_gaussians(regions, (tiles.shape[2], tiles.shape[3]))
        cells = self.look(tiles, regions)
        hidden = self.query + self.place(initial.to(tiles.dtype))  # (B, N, D)
        for block in self.blocks:
            hidden = block(hidden, cells)
        return refine(initial, self.to_geometry(hidden).float()), self.to_code(hidden)

    def look(self, tiles: Tensor, regions: Tensor) -> Tensor:
        """What every cell of the regions looks like: (B, N, S * S, D)."""
        return self.to_cells(region_align(self.stem(tiles * 2 - 1), regions, self.num_cells)).flatten(2, 3)
