"""Convolutional bricks for pixel encoders and decoders. B batch, C channels, H W pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.patches import to_map, to_tokens

GROUPS, EPS = 32, 1e-6  # of every GroupNorm in the VQGAN line


def group_norm(channels: int, groups: int = GROUPS) -> nn.GroupNorm:
    """GroupNorm as the VQGAN line uses it: 32 groups, eps 1e-6."""
    return nn.GroupNorm(groups, channels, eps=EPS)


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


class ResBlock(nn.Module):
    """Residual block of VQGAN and latent diffusion: GroupNorm, SiLU, 3x3 conv, twice.

    Where the width changes, the shortcut is a 1x1 conv of the input. arXiv:2012.09841, appendix A. Open-MAGVIT2's
    convs have no `bias`.

    Shapes:
        hidden (B, in_channels, H, W) -> (B, out_channels, H, W)
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True, groups: int = GROUPS):
        super().__init__()
        self.norm1 = group_norm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
        self.norm2 = group_norm(out_channels, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=bias) if in_channels != out_channels else None

    def forward(self, hidden: Tensor) -> Tensor:
        branch = self.conv1(F.silu(self.norm1(hidden)))
        branch = self.conv2(F.silu(self.norm2(branch)))
        return branch + (hidden if self.shortcut is None else self.shortcut(hidden))


class MapAttention(nn.Module):
    """Every place of a feature map attends to all, by one head as wide as the map. arXiv:2012.09841, appendix A.

    Shapes:
        hidden (B, C, H, W) -> the same
    """

    def __init__(self, channels: int, *, groups: int = GROUPS):
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        normed = self.norm(hidden)
        query, key, value = (to_tokens(part(normed)).unsqueeze(1) for part in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(query, key, value).squeeze(1)  # (B, H * W, C)
        return hidden + self.proj(to_map(mixed, *hidden.shape[2:]))


class Downsample(nn.Module):
    """Half the size by a 3x3 conv of stride 2, padded by a row below and a column to the right only."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.conv(F.pad(hidden, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the size by repeating each place, then a 3x3 conv."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.conv(F.interpolate(hidden, scale_factor=2.0, mode="nearest"))


class DepthToSpace(nn.Module):
    """Twice the size: a 3x3 conv to 4C channels, of which 2x2 places are made. Open-MAGVIT2, arXiv:2409.04410.

    Channel (2 * row + column) * C + c goes to that row and column, channel c: not the order of `F.pixel_shuffle`.

    Shapes:
        hidden (B, C, H, W) -> (B, C, 2H, 2W)
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        places = self.conv(hidden).unflatten(1, (2, 2, -1))  # (B, row, column, C, H, W)
        return places.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


class CodeModulatedNorm(nn.Module):
    """GroupNorm whose scale and shift come from the spread and the mean of the codes over the picture.

    Open-MAGVIT2, arXiv:2409.04410. The variance is the unbiased one; of a single code it counts as 0.

    Shapes:
        hidden (B, channels, H, W), codes (B, code_dim, h, w) -> (B, channels, H, W); of videos as well
    """

    def __init__(self, channels: int, code_dim: int):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, eps=EPS, affine=False)
        self.scale = nn.Linear(code_dim, channels)
        self.shift = nn.Linear(code_dim, channels)

    def forward(self, hidden: Tensor, codes: Tensor) -> Tensor:
        places = codes.flatten(2)
        variance = places.var(2) if places.shape[2] > 1 else torch.zeros_like(places[:, :, 0])
        scale, shift = self.scale((variance + EPS).sqrt()), self.shift(places.mean(2))
        everywhere = (..., *(None,) * (hidden.ndim - 2))
        return self.norm(hidden) * scale[everywhere] + shift[everywhere]


class ConvLevel(nn.Module):
    """Residual blocks at one resolution, each followed by attention where asked; then `resample`, if there is one.

    Shapes:
        hidden (B, in_channels, H, W) -> (B, out_channels, H', W'), H' and W' as `resample` makes them
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int,
        *,
        attention: bool = False,
        resample: nn.Module | None,
        bias: bool = True,
        groups: int = GROUPS,
    ):
        super().__init__()
        inputs = [in_channels] + [out_channels] * (num_blocks - 1)
        self.blocks = nn.ModuleList(ResBlock(channels, out_channels, bias=bias, groups=groups) for channels in inputs)
        self.attentions = None
        if attention:
            self.attentions = nn.ModuleList(MapAttention(out_channels, groups=groups) for _ in inputs)
        self.resample = resample

    def forward(self, hidden: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            hidden = block(hidden)
            if self.attentions is not None:
                hidden = self.attentions[number](hidden)
        return hidden if self.resample is None else self.resample(hidden)


def conv_middle(channels: int, *, attention: bool = True, groups: int = GROUPS) -> nn.Sequential:
    """What lies at the coarsest resolution: residual block, attention, residual block."""
    between = [MapAttention(channels, groups=groups)] if attention else []
    first, last = (ResBlock(channels, channels, groups=groups) for _ in range(2))
    return nn.Sequential(first, *between, last)


def same_size_conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """A conv of an odd kernel that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
