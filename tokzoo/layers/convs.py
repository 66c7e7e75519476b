"""Convolutional bricks for pixel encoders and decoders. B batch, C channels, H W pixels."""

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS, EPS = 32, 1e-6  # of every GroupNorm in the VQGAN line


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm as the VQGAN line uses it: 32 groups, eps 1e-6."""
    return nn.GroupNorm(GROUPS, channels, eps=EPS)


class BranchResBlock(nn.Module):
    """Residual block of MaskGIT's VQGAN: GroupNorm, SiLU, 3x3 conv, twice; no biases in the convs.

    Where the width changes, the shortcut is a 1x1 conv of the BRANCH, and the input itself is dropped. The published
    weights (google-research/maskgit, kept by bytedance/1d-tokenizer) were trained this way.

    Shapes:
        hidden (B, in_channels, H, W) -> (B, out_channels, H, W)
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(out_channels, out_channels, 1, bias=False) if in_channels != out_channels else None

    def forward(self, hidden: Tensor) -> Tensor:
        branch = self.conv1(F.silu(self.norm1(hidden)))
        branch = self.conv2(F.silu(self.norm2(branch)))
        return branch + (hidden if self.shortcut is None else self.shortcut(branch))
