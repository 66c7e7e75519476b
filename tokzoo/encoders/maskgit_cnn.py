"""The convolutional encoder of MaskGIT's VQGAN. B batch, C channels, H W pixels."""

from collections.abc import Sequence as PySequence

import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.convs import BranchResBlock, group_norm
from tokzoo.layers.patches import to_tokens
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Grid


class MaskgitCnnEncoder(Encoder):
    """Residual levels with 2x2 average pooling between them, no attention. MaskGIT, arXiv:2202.04200.

    Args:
        width: channels at full resolution; level i has `width * multipliers[i]`.
        multipliers: one per level; the image shrinks by 2 after each but the last.
        num_blocks: residual blocks per level.
        code_dim: channels out.
        num_middle_blocks: residual blocks after the last level; None: as many as in a level.

    Shapes:
        images (B, 3, H, W) in [0, 1], sides multiples of 2 ** (levels - 1) -> latents (B, h * w, code_dim) on a grid
    """

    def __init__(
        self,
        *,
        width: int,
        multipliers: PySequence[int],
        num_blocks: int,
        code_dim: int,
        num_middle_blocks: int | None = None,
    ):
        super().__init__()
        widths = [width * multiplier for multiplier in multipliers]
        self.conv_in = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.levels = nn.ModuleList(
            nn.ModuleList(BranchResBlock(before if i == 0 else after, after) for i in range(num_blocks))
            for before, after in zip([width, *widths], widths, strict=False)
        )
        self.middle = nn.ModuleList(
            BranchResBlock(widths[-1], widths[-1]) for _ in range(num_middle_blocks or num_blocks)
        )
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], code_dim, 1)

    def forward(self, images: Tensor) -> Features:
        hidden = self.conv_in(images)
        for number, blocks in enumerate(self.levels):
            if number:
                hidden = F.avg_pool2d(hidden, 2)
            for block in blocks:  # type: ignore[attr-defined]
                hidden = block(hidden)
        for block in self.middle:
            hidden = block(hidden)
        latents = self.conv_out(F.silu(self.norm_out(hidden)))
        return Features(to_tokens(latents), Grid(*latents.shape[2:]))
