"""The causal convolutional decoder of Open-MAGVIT2's video tokenizer. B batch, C channels, t h w latent places."""

from collections.abc import Sequence as PySequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.causal_convs import (
    CausalConv3d,
    CausalDepthToSpace,
    CausalLevel,
    CausalResBlock,
    Stride,
    check_strides,
)
from tokzoo.layers.convs import CodeModulatedNorm, group_norm
from tokzoo.layers.patches import to_volume
from tokzoo.parts import Decoder
from tokzoo.tokens import Features, Grid3D


class Magvit2VideoCnnDecoder(Decoder):
    """The mirror of `Magvit2VideoCnnEncoder`; the codes modulate every level. Open-MAGVIT2, arXiv:2409.04410.

    Args: as the encoder's; levels are listed from full resolution (0) to the coarsest.

    Shapes:
        codes (B, t * h * w, C) on Grid3D(t, h, w) -> videos (B, 3, T, H, W), nominally in [0, 1]; T = 1 + (t - 1) f,
        f the product of the strides of time
    """

    def __init__(
        self,
        *,
        width: int,
        multipliers: PySequence[int],
        strides: PySequence[Stride],
        num_blocks: int,
        code_dim: int,
    ):
        super().__init__()
        check_strides(multipliers, strides)
        widths = [width * multiplier for multiplier in multipliers]
        outwards = list(pairwise([*widths, widths[-1]]))  # (after, before) of each level
        self.conv_in = CausalConv3d(code_dim, widths[-1], 3)
        self.middle = nn.Sequential(*(CausalResBlock(widths[-1], widths[-1]) for _ in range(num_blocks)))
        self.modulations = nn.ModuleList(CodeModulatedNorm(before, code_dim) for _, before in outwards)
        self.levels = nn.ModuleList(
            CausalLevel(
                before, after, num_blocks, resample=None if stride is None else CausalDepthToSpace(after, stride)
            )
            for (after, before), stride in zip(outwards, (None, *strides), strict=True)
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = CausalConv3d(widths[0], 3, 3)

    def forward(self, codes: Features) -> Tensor:
        grid = codes.layout
        if not isinstance(grid, Grid3D):
            raise ValueError(f"a decoder of videos reads codes on a Grid3D; got {grid}")
        style = to_volume(codes.latents, grid.frames, grid.height, grid.width)
        hidden = self.middle(self.conv_in(style))
        for modulate, level in zip(reversed(self.modulations), reversed(self.levels), strict=True):
            hidden = level(modulate(hidden, style))
        return (self.conv_out(F.silu(self.norm_out(hidden))) + 1) / 2
