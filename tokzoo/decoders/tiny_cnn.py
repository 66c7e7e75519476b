"""The decoder of the tiny autoencoders. B batch, C code_dim, h w latent places, f = 2 ** (levels - 1)."""

from collections.abc import Sequence as PySequence

from torch import Tensor, nn

from tokzoo.layers.patches import to_map
from tokzoo.layers.tiny_blocks import SoftClamp, TinyBlock
from tokzoo.parts import Decoder
from tokzoo.tokens import Features, Grid


class TinyCnnDecoder(Decoder):
    """The mirror of `TinyCnnEncoder`: codes are bent into (-3, 3) first, nearest pixels doubled between levels.

    Args: as the encoder's, levels from full resolution (0) to the coarsest, of which the codes come; `pooled` is about
        the blocks of the coarsest.

    Shapes:
        codes (B, h * w, C) on Grid(h, w) -> images (B, 3, h * f, w * f), nominally in [0, 1]
    """

    def __init__(self, *, width: int, num_blocks: PySequence[int], code_dim: int, pooled: bool = False):
        super().__init__()
        layers: list[nn.Module] = [SoftClamp(), nn.Conv2d(code_dim, width, 3, padding=1), nn.ReLU()]
        for level in reversed(range(len(num_blocks))):
            coarsest = level == len(num_blocks) - 1
            layers += [TinyBlock(width, pooled=pooled and coarsest) for _ in range(num_blocks[level])]
            if level:
                layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, codes: Features) -> Tensor:
        grid = codes.layout
        if not isinstance(grid, Grid):
            raise ValueError(f"a convolutional decoder reads codes on a Grid; got {grid}")
        images: Tensor = self.layers(to_map(codes.latents, grid.height, grid.width))
        return images
