"""The convolutional encoder of Open-MAGVIT2. B batch, C channels, H W pixels, h w latent places."""

from collections.abc import Sequence as PySequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.convs import ConvLevel, ResBlock, group_norm
from tokzoo.layers.patches import to_tokens
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Grid


class Magvit2CnnEncoder(Encoder):
    """Residual levels without biases or attention, strided convs between them. Open-MAGVIT2, arXiv:2409.04410.

    Args:
        width: channels at full resolution; level i has `width * multipliers[i]`.
        multipliers: one per level; the image shrinks by 2 after each but the last.
        num_blocks: residual blocks per level, and after the last one.
        code_dim: C, channels out.

    Shapes:
        images (B, 3, H, W) in [0, 1], sides multiples of 2 ** (levels - 1) -> latents (B, h * w, C) on a grid
    """

    def __init__(self, *, width: int, multipliers: PySequence[int], num_blocks: int, code_dim: int):
        super().__init__()
        widths = [width * multiplier for multiplier in multipliers]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.levels = nn.ModuleList(
            ConvLevel(
                before,
                after,
                num_blocks,
                resample=nn.Conv2d(after, after, 3, stride=2, padding=1) if level < last else None,
                bias=False,
            )
            for level, (before, after) in enumerate(pairwise([width, *widths]))
        )
        self.middle = nn.Sequential(*(ResBlock(widths[-1], widths[-1], bias=False) for _ in range(num_blocks)))
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], code_dim, 1)

    def forward(self, images: Tensor) -> Features:
        hidden = self.conv_in(images * 2 - 1)
        for level in self.levels:
            hidden = level(hidden)
        latents = self.conv_out(F.silu(self.norm_out(self.middle(hidden))))
        return Features(to_tokens(latents), Grid(*latents.shape[2:]))
