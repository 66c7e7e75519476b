"""Convolutions over space and time in which no frame sees a later one. B batch, C channels, T frames, H W pixels."""

from collections.abc import Sequence as PySequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.convs import group_norm

Stride = tuple[int, int, int]  # of time, height, width


class CausalConv3d(nn.Module):
    """A conv padded with zeros: evenly around a frame, in time by what came before alone. arXiv:2310.05737.

    Shapes:
        hidden (B, in_channels, T, H, W) -> (B, out_channels, T', H', W'), each side divided by its stride, rounded up
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: Stride = (1, 1, 1), bias: bool = True
    ):
        super().__init__()
        around = kernel_size // 2
        self.before = kernel_size - 1
        self.conv = nn.Conv3d(
            in_channels, out_channels, kernel_size, stride=stride, padding=(0, around, around), bias=bias
        )

    def forward(self, hidden: Tensor) -> Tensor:
        return self.conv(F.pad(hidden, (0, 0, 0, 0, self.before, 0)))


class CausalResBlock(nn.Module):
    """`tokzoo.layers.convs.ResBlock` of causal convs without biases. Open-MAGVIT2, arXiv:2409.04410.

    GroupNorm takes its mean over all frames, so that a block is causal but for two numbers per group.

    Shapes:
        hidden (B, in_channels, T, H, W) -> (B, out_channels, T, H, W)
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = CausalConv3d(in_channels, out_channels, 3, bias=False)
        self.norm2 = group_norm(out_channels)
        self.conv2 = CausalConv3d(out_channels, out_channels, 3, bias=False)
        self.shortcut = CausalConv3d(in_channels, out_channels, 1, bias=False) if in_channels != out_channels else None

    def forward(self, hidden: Tensor) -> Tensor:
        branch = self.conv1(F.silu(self.norm1(hidden)))
        branch = self.conv2(F.silu(self.norm2(branch)))
        return branch + (hidden if self.shortcut is None else self.shortcut(hidden))


class CausalDepthToSpace(nn.Module):
    """Larger by `stride`: a causal conv to as many times the channels, of which the new places are made.

    Channel ((frame * rows + row) * columns + column) * C + c goes to that frame, row and column, channel c. Where time
    doubles, the second frame is dropped: the first of a video stands alone. Open-MAGVIT2, arXiv:2409.04410.

    Shapes:
        hidden (B, C, T, H, W) -> (B, C, 2T - 1 or T, H * rows, W * columns)
    """

    def __init__(self, channels: int, stride: Stride):
        super().__init__()
        self.stride = stride
        frames, rows, columns = stride
        self.conv = CausalConv3d(channels, frames * rows * columns * channels, 3)

    def forward(self, hidden: Tensor) -> Tensor:
        places = self.conv(hidden).unflatten(1, (*self.stride, -1))  # (B, frame, row, column, C, T, H, W)
        larger = places.permute(0, 4, 5, 1, 6, 2, 7, 3).flatten(6, 7).flatten(4, 5).flatten(2, 3)
        return larger if self.stride[0] == 1 else torch.cat([larger[:, :, :1], larger[:, :, 2:]], dim=2)


class CausalLevel(nn.Module):
    """Residual blocks at one resolution; then `resample`, if there is one.

    Shapes:
        hidden (B, in_channels, T, H, W) -> (B, out_channels, T', H', W'), as `resample` makes them
    """

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int, *, resample: nn.Module | None):
        super().__init__()
        inputs = [in_channels] + [out_channels] * (num_blocks - 1)
        self.blocks = nn.Sequential(*(CausalResBlock(channels, out_channels) for channels in inputs))
        self.resample = resample

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.blocks(hidden)
        return hidden if self.resample is None else self.resample(hidden)


def check_strides(multipliers: PySequence[int], strides: PySequence[Stride]) -> None:
    """Raises ValueError unless there is a stride between each two levels, of 1 or 2 in time."""
    if len(strides) != len(multipliers) - 1 or any(stride[0] not in (1, 2) for stride in strides):
        raise ValueError(
            f"{len(multipliers)} levels need {len(multipliers) - 1} strides of 1 or 2 frames; got {tuple(strides)}"
        )
