"""The causal convolutional encoder of Open-MAGVIT2's video tokenizer. B batch, C channels, T frames, H W pixels."""

from collections.abc import Sequence as PySequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.causal_convs import CausalConv3d, CausalLevel, CausalResBlock, Stride, check_strides
from tokzoo.layers.convs import group_norm
from tokzoo.layers.patches import to_tokens
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Grid3D


class Magvit2VideoCnnEncoder(Encoder):
    """`Magvit2CnnEncoder` with a third, causal axis. Open-MAGVIT2, arXiv:2409.04410; MAGVIT-v2, arXiv:2310.05737.

    Args:
        width: channels at full resolution; level i has `width * multipliers[i]`.
        multipliers: one per level.
        strides: (time, height, width) by which a video shrinks after each level but the last.
        num_blocks: residual blocks per level, and after the last one.
        code_dim: C, channels out.

    Shapes:
        videos (B, 3, T, H, W) in [0, 1] -> latents (B, t * h * w, C) on a 3D grid; the first frame has a plane of its
        own, and each plane after it tells as many frames as the strides of time multiply to
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
        self.conv_in = CausalConv3d(3, width, 3, bias=False)
        self.levels = nn.ModuleList(
            CausalLevel(
                before,
                after,
                num_blocks,
                resample=None if stride is None else CausalConv3d(after, after, 3, stride=stride),
            )
            for (before, after), stride in zip(pairwise([width, *widths]), (*strides, None), strict=True)
        )
        self.middle = nn.Sequential(*(CausalResBlock(widths[-1], widths[-1]) for _ in range(num_blocks)))
        self.norm_out = group_norm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], code_dim, 1)

    def forward(self, images: Tensor) -> Features:
        hidden = self.conv_in(images * 2 - 1)
        for level in self.levels:
            hidden = level(hidden)
        latents = self.conv_out(F.silu(self.norm_out(self.middle(hidden))))  # (B, C, t, h, w)
        return Features(to_tokens(latents), Grid3D(*latents.shape[2:]))
