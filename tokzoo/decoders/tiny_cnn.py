"""The decoder of the tiny autoencoders. B batch, C code_dim, h w latent places, f = 2 ** (levels - 1)."""

from collections.abc import Sequence as PySequence

from torch import Tensor, nn

from tokzoo.layers.patches import to_map
from tokzoo.layers.tiny_blocks import SoftClamp, TinyBlock
from tokzoo.parts import Decoder
from tokzoo.tokens import Features, Grid


class TinyCnnDecoder(Decoder):
    """`TinyCnnEncoder` backwards: codes are bent into (-3, 3) first, nearest pixels doubled between levels.

    Args:
        widths: channels per level, full resolution first; of the coarsest come the codes.
        num_blocks: per level.
        code_dim: C, channels in.
        pooled: whether the blocks of the coarsest level have the normalised branch.

    Shapes:
        codes (B, h * w, C) on Grid(h, w) -> images (B, 3, h * f, w * f), nominally in [0, 1]
    """

    def __init__(self, *, widths: PySequence[int], num_blocks: PySequence[int], code_dim: int, pooled: bool = False):
        super().__init__()
        layers: list[nn.Module] = [SoftClamp(), nn.Conv2d(code_dim, widths[-1], 3, padding=1), nn.ReLU()]
        for level, (width, count) in reversed(list(enumerate(zip(widths, num_blocks, strict=True)))):
            coarsest = level == len(widths) - 1
            layers += [TinyBlock(width, pooled=pooled and coarsest) for _ in range(count)]
            if level:
                layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, widths[level - 1], 3, padding=1, bias=False)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[0], 3, 3, padding=1))

    def forward(self, codes: Features) -> Tensor:
        grid = codes.layout
        if not isinstance(grid, Grid):
            raise ValueError(f"a convolutional decoder reads codes on a Grid; got {grid}")
        images: Tensor = self.layers(to_map(codes.latents, grid.height, grid.width))
        return images
