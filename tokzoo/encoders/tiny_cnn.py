"""The encoder of the tiny autoencoders. B batch, C code_dim, H W pixels, h w latent places."""

from collections.abc import Sequence as PySequence
from itertools import pairwise

from torch import Tensor, nn

from tokzoo.layers.patches import to_tokens
from tokzoo.layers.tiny_blocks import TinyBlock
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Grid


class TinyCnnEncoder(Encoder):
    """One width, a strided conv before each level but the first. TAESD, github.com/madebyollin/taesd.

    Args:
        width: channels.
        num_blocks: per level, full resolution first.
        code_dim: C, channels out.
        pooled: whether the blocks of the last level have the normalised branch.
        stem: channels of strided convs before the first level, the last with `width`; none: a conv of stride 1.

    Shapes:
        images (B, 3, H, W) in [0, 1], sides multiples of 2 ** (levels - 1 + stem) -> latents (B, h * w, C) on a grid
    """

    def __init__(
        self,
        *,
        width: int,
        num_blocks: PySequence[int],
        code_dim: int,
        pooled: bool = False,
        stem: PySequence[int] = (),
    ):
        super().__init__()
        layers: list[nn.Module] = [] if stem else [nn.Conv2d(3, width, 3, padding=1)]
        for before, after in pairwise((3, *stem)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        for level, count in enumerate(num_blocks):
            if level:
                layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False))
            last = level == len(num_blocks) - 1
            layers += [TinyBlock(width, pooled=pooled and last) for _ in range(count)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, code_dim, 3, padding=1))

    def forward(self, images: Tensor) -> Features:
        latents = self.layers(images)  # (B, C, h, w)
        return Features(to_tokens(latents), Grid(*latents.shape[2:]))
