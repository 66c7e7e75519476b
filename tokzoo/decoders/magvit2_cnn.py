"""The convolutional decoder of Open-MAGVIT2. B batch, C channels, H W pixels, h w latent places."""

from collections.abc import Sequence as PySequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.convs import CodeModulatedNorm, ConvLevel, DepthToSpace, ResBlock, group_norm
from tokzoo.layers.patches import to_map
from tokzoo.parts import Decoder
from tokzoo.tokens import Features, Grid


class Magvit2CnnDecoder(Decoder):
    """The mirror of `Magvit2CnnEncoder`; the codes modulate every level. Open-MAGVIT2, arXiv:2409.04410.

    Args: as the encoder's; levels are listed from full resolution (0) to the coarsest.
        generative: it reads noise beside the codes, so that one code has many pictures. WeTok, arXiv:2508.05599,
            section 3.3.

    Shapes:
        codes (B, h * w, C) on Grid(h, w), noise (B, h * w, C) -> images (B, 3, h * f, w * f), nominally in [0, 1],
        f = 2 ** (levels - 1)
    """

    def __init__(
        self, *, width: int, multipliers: PySequence[int], num_blocks: int, code_dim: int, generative: bool = False
    ):
        super().__init__()
        self.draws = generative
        widths = [width * multiplier for multiplier in multipliers]
        outwards = list(pairwise([*widths, widths[-1]]))  # (after, before) of each level
        self.conv_in = nn.Conv2d(2 * code_dim if generative else code_dim, widths[-1], 3, padding=1)
        self.middle = nn.Sequential(*(ResBlock(widths[-1], widths[-1], bias=False) for _ in range(num_blocks)))
        self.modulations = nn.ModuleList(CodeModulatedNorm(before, code_dim) for _, before in outwards)
        self.levels = nn.ModuleList(
            ConvLevel(before, after, num_blocks, resample=DepthToSpace(after) if level else None, bias=False)
            for level, (after, before) in enumerate(outwards)
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(
        self, codes: Features, *, noise: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        if not isinstance(codes.layout, Grid):
            raise ValueError(f"a convolutional decoder reads codes on a Grid; got {codes.layout}")
        vectors = codes.latents
        if self.draws:
            noise = torch.empty_like(vectors).normal_(generator=generator) if noise is None else noise.to(vectors)
            if noise.shape != vectors.shape:
                raise ValueError(f"noise must be {tuple(vectors.shape)}, as the codes; got {tuple(noise.shape)}")
            vectors = torch.cat([vectors, noise], dim=-1)
        grid = (codes.layout.height, codes.layout.width)
        style = to_map(codes.latents, *grid)
        hidden = self.middle(self.conv_in(to_map(vectors, *grid)))
        for modulate, level in zip(reversed(self.modulations), reversed(self.levels), strict=True):
            hidden = level(modulate(hidden, style))
        return (self.conv_out(F.silu(self.norm_out(hidden))) + 1) / 2
