"""Inflated Inception (I3D, arXiv:1705.07750) of Kinetics-400: the features of FVD. B batch, T frames, H W pixels."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.metrics.inception import fold_norm

__all__ = ["FvdI3d", "convert", "load_i3d", "prepare_clips"]

SIDE = 224
CLASSES = 400
LEAST_FRAMES = 10
EPS = 1e-5  # of the published PyTorch weights; TensorFlow's had 1e-3


class Mixed(NamedTuple):
    """Widths of a block: 1x1x1; 1x1x1 -> 3x3x3; 1x1x1 -> 3x3x3; pool -> 1x1x1."""

    single: int
    middle: tuple[int, int]
    outer: tuple[int, int]
    pool: int


class Pool(NamedTuple):
    kernel: tuple[int, int, int]
    stride: tuple[int, int, int]


STAGES: tuple[tuple[str, Mixed] | Pool, ...] = (
    Pool((1, 3, 3), (1, 2, 2)),
    ("Mixed_3b", Mixed(64, (96, 128), (16, 32), 32)),
    ("Mixed_3c", Mixed(128, (128, 192), (32, 96), 64)),
    Pool((3, 3, 3), (2, 2, 2)),
    ("Mixed_4b", Mixed(192, (96, 208), (16, 48), 64)),
    ("Mixed_4c", Mixed(160, (112, 224), (24, 64), 64)),
    ("Mixed_4d", Mixed(128, (128, 256), (24, 64), 64)),
    ("Mixed_4e", Mixed(112, (144, 288), (32, 64), 64)),
    ("Mixed_4f", Mixed(256, (160, 320), (32, 128), 128)),
    Pool((2, 2, 2), (2, 2, 2)),
    ("Mixed_5b", Mixed(256, (160, 320), (32, 128), 128)),
    ("Mixed_5c", Mixed(384, (192, 384), (48, 128), 128)),
)


def prepare_clips(videos: Tensor) -> Tensor:
    """Clips (B, 3, T, H, W) in [0, 1] -> (B, 3, T, 224, 224) in [-1, 1], as StyleGAN-V's evaluation makes them.

    The shorter side is scaled to 224 (bilinear, no antialias; the longer one rounded up), then the centre is cropped.
    """
    height, width = videos.shape[3:]
    scale = SIDE / min(height, width)
    size = (
        SIDE if height <= width else math.ceil(height * scale),
        SIDE if width <= height else math.ceil(width * scale),
    )
    frames = videos.transpose(1, 2).flatten(0, 1)  # (B T, 3, H, W)
    frames = F.interpolate(frames, size, mode="bilinear", align_corners=False)
    top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    frames = frames[:, :, top : top + SIDE, left : left + SIDE]
    return frames.unflatten(0, (len(videos), -1)).transpose(1, 2) * 2 - 1


class FvdI3d(nn.Module):
    """Batch norms are folded into the convolutions when weights are read (`convert`).

    Shapes:
        videos (B, 3, T, H, W) in [0, 1], T >= 10 -> logits (B, 400), mean over time: what FVD compares
    """

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleDict(
            {
                "Conv3d_1a_7x7": nn.Conv3d(3, 64, 7, 2),
                "Conv3d_2b_1x1": nn.Conv3d(64, 64, 1),
                "Conv3d_2c_3x3": nn.Conv3d(64, 192, 3),
            }
        )
        self.blocks = nn.ModuleDict()
        width = 192
        for stage in STAGES:
            if not isinstance(stage, Pool):
                name, widths = stage
                self.blocks[name] = MixedBlock(width, widths)
                width = widths.single + widths.middle[1] + widths.outer[1] + widths.pool
        self.logits = nn.Conv3d(width, CLASSES, 1)
        self.requires_grad_(False)
        self.eval()

    def forward(self, videos: Tensor) -> Tensor:
        if videos.ndim != 5 or videos.shape[2] < LEAST_FRAMES:
            raise ValueError(
                f"FVD takes videos (B, 3, T, H, W) of {LEAST_FRAMES} frames or more; got {tuple(videos.shape)}"
            )
        return self.extract(prepare_clips(videos.float()))

    def extract(self, clips: Tensor) -> Tensor:
        """Of clips (B, 3, T, 224, 224) in [-1, 1]."""
        hidden = _conv(self.convs["Conv3d_1a_7x7"], clips)
        hidden = _pool(hidden, Pool((1, 3, 3), (1, 2, 2)))
        hidden = _conv(self.convs["Conv3d_2c_3x3"], _conv(self.convs["Conv3d_2b_1x1"], hidden))
        for stage in STAGES:
            hidden = _pool(hidden, stage) if isinstance(stage, Pool) else self.blocks[stage[0]](hidden)
        hidden = F.avg_pool3d(hidden, (2, 7, 7), 1)
        logits: Tensor = self.logits(hidden).flatten(2)
        return logits.mean(2)


class MixedBlock(nn.Module):
    """Four branches, joined along the channels; published as b0, b1a, b1b, b2a, b2b and b3b."""

    def __init__(self, in_channels: int, widths: Mixed):
        super().__init__()
        self.b0 = nn.Conv3d(in_channels, widths.single, 1)
        self.b1a = nn.Conv3d(in_channels, widths.middle[0], 1)
        self.b1b = nn.Conv3d(*widths.middle, 3)
        self.b2a = nn.Conv3d(in_channels, widths.outer[0], 1)
        self.b2b = nn.Conv3d(*widths.outer, 3)
        self.b3b = nn.Conv3d(in_channels, widths.pool, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        middle = _conv(self.b1b, _conv(self.b1a, hidden))
        outer = _conv(self.b2b, _conv(self.b2a, hidden))
        pooled = _conv(self.b3b, _pool(hidden, Pool((3, 3, 3), (1, 1, 1))))
        return torch.cat([_conv(self.b0, hidden), middle, outer, pooled], dim=1)


def _conv(conv: Any, hidden: Tensor) -> Tensor:
    made: Tensor = conv(_same(hidden, conv.kernel_size, conv.stride))
    return made.relu_()


def _pool(hidden: Tensor, pool: Pool) -> Tensor:
    return F.max_pool3d(_same(hidden, pool.kernel, pool.stride), pool.kernel, pool.stride)  # zeros: all is above them


def _same(hidden: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """TensorFlow's "same" padding: the odd pixel goes to the far end."""
    pads: list[int] = []
    for length, taps, step in zip(hidden.shape[2:], kernel, stride, strict=True):
        total = max(0, taps - (length % step or step))
        pads = [total // 2, total - total // 2, *pads]
    return F.pad(hidden, pads) if any(pads) else hidden


# --- published weights -----------------------------------------------------------------------------------------------


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict published as i3d_pretrained_400.pt -> ours.

    Raises:
        KeyError: a tensor of another layout.
    """
    ours = {}
    for key, tensor in state.items():
        place = key.removesuffix(".conv3d.weight")
        if key.startswith("logits."):
            ours[key.replace(".conv3d", "")] = tensor
        elif place != key:
            target = f"blocks.{place}" if "." in place else f"convs.{place}"
            ours |= fold_norm(state, f"{place}.conv3d", f"{place}.bn", target, EPS)
        elif ".bn." not in key:
            raise KeyError(f"no rule reads the I3D key {key!r} of shape {tuple(tensor.shape)}")
    return ours


def load_i3d(file: str | Path) -> nn.Module:
    """The network of FVD by the path of its weights: a TorchScript file (`i3d_torchscript.pt`), or a state dict.

    Returns:
        A module, videos (B, 3, T, H, W) in [0, 1] -> features (B, 400).

    Raises:
        ValueError: the file is neither.
    """
    try:
        return ScriptedI3d(torch.jit.load(str(file), map_location="cpu"))
    except RuntimeError:
        network = FvdI3d()
        network.load_state_dict(convert(torch.load(file, map_location="cpu", weights_only=True)), strict=True)
        return network


class ScriptedI3d(nn.Module):
    """The TorchScript I3D that most FVD code calls, behind the same door."""

    def __init__(self, script: torch.jit.ScriptModule):
        super().__init__()
        self.script = script.eval()

    def forward(self, videos: Tensor) -> Tensor:
        features: Tensor = self.script(prepare_clips(videos.float()), rescale=False, resize=False, return_features=True)
        return features
