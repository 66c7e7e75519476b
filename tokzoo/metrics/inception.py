"""The Inception-v3 of FID: TensorFlow's weights of 2015-12-05, arXiv:1512.00567 with the quirks of that release.

Beside torchvision's inception_v3: 1,008 classes, batch-norm eps 1e-3, averages that do not count the padding, and a
maximum instead of an average in the last block. B batch, C channels, H W pixels.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.metrics.resize import tf1_bilinear

__all__ = ["FidInception", "InceptionFeatures", "convert", "fold_norm", "signed"]

SIDE = 299
CLASSES = 1008
EPS = 1e-3
SPATIAL_CHANNELS = 7  # 17 * 17 * 7 = 2,023, which sFID takes instead of 2,048: arXiv:2103.03841, appendix


class Conv(NamedTuple):
    """A convolution, batch norm and ReLU under its published name; padded so that the size stays, unless it strides."""

    name: str
    width: int
    kernel: tuple[int, int]
    stride: int = 1


class Averaged(NamedTuple):
    """A 1x1 convolution of 3x3 averages, which leave the padding out; batch norm and ReLU behind it."""

    name: str
    width: int


class Maximum(NamedTuple):
    """3x3."""

    stride: int = 1


Split = tuple[Conv, Conv]  # two convolutions of one input, joined
Branch = Sequence[Conv | Averaged | Maximum | Split]


def _narrow(pool_width: int) -> tuple[Branch, ...]:
    """Blocks at 35 x 35."""
    return (
        [Conv("branch1x1", 64, (1, 1))],
        [Conv("branch5x5_1", 48, (1, 1)), Conv("branch5x5_2", 64, (5, 5))],
        [
            Conv("branch3x3dbl_1", 64, (1, 1)),
            Conv("branch3x3dbl_2", 96, (3, 3)),
            Conv("branch3x3dbl_3", 96, (3, 3)),
        ],
        [Averaged("branch_pool", pool_width)],
    )


def _factored(inner: int) -> tuple[Branch, ...]:
    """Blocks at 17 x 17, whose 7 x 7 convolutions are rows and columns."""
    return (
        [Conv("branch1x1", 192, (1, 1))],
        [Conv("branch7x7_1", inner, (1, 1)), Conv("branch7x7_2", inner, (1, 7)), Conv("branch7x7_3", 192, (7, 1))],
        [
            Conv("branch7x7dbl_1", inner, (1, 1)),
            Conv("branch7x7dbl_2", inner, (7, 1)),
            Conv("branch7x7dbl_3", inner, (1, 7)),
            Conv("branch7x7dbl_4", inner, (7, 1)),
            Conv("branch7x7dbl_5", 192, (1, 7)),
        ],
        [Averaged("branch_pool", 192)],
    )


def _wide(pooled: Branch) -> tuple[Branch, ...]:
    """Blocks at 8 x 8."""
    return (
        [Conv("branch1x1", 320, (1, 1))],
        [
            Conv("branch3x3_1", 384, (1, 1)),
            (Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1))),
        ],
        [
            Conv("branch3x3dbl_1", 448, (1, 1)),
            Conv("branch3x3dbl_2", 384, (3, 3)),
            (Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))),
        ],
        pooled,
    )


BLOCKS: dict[str, tuple[Branch, ...]] = {
    "Mixed_5b": _narrow(32),
    "Mixed_5c": _narrow(64),
    "Mixed_5d": _narrow(64),
    "Mixed_6a": (
        [Conv("branch3x3", 384, (3, 3), 2)],
        [
            Conv("branch3x3dbl_1", 64, (1, 1)),
            Conv("branch3x3dbl_2", 96, (3, 3)),
            Conv("branch3x3dbl_3", 96, (3, 3), 2),
        ],
        [Maximum(stride=2)],
    ),
    "Mixed_6b": _factored(128),
    "Mixed_6c": _factored(160),
    "Mixed_6d": _factored(160),
    "Mixed_6e": _factored(192),
    "Mixed_7a": (
        [Conv("branch3x3_1", 192, (1, 1)), Conv("branch3x3_2", 320, (3, 3), 2)],
        [
            Conv("branch7x7x3_1", 192, (1, 1)),
            Conv("branch7x7x3_2", 192, (1, 7)),
            Conv("branch7x7x3_3", 192, (7, 1)),
            Conv("branch7x7x3_4", 192, (3, 3), 2),
        ],
        [Maximum(stride=2)],
    ),
    "Mixed_7b": _wide([Averaged("branch_pool", 192)]),
    "Mixed_7c": _wide([Maximum(), Conv("branch_pool", 192, (1, 1))]),
}


class InceptionFeatures(NamedTuple):
    """What evaluators read, float32.

    `pool` (B, 2048): FID and KID. `logits` (B, 1008), without the bias: Inception score. `spatial` (B, 2023): sFID.
    `stem1` (B, 64), `stem2` (B, 192), `middle` (B, 768): means of earlier maps.
    """

    pool: Tensor
    logits: Tensor
    spatial: Tensor
    stem1: Tensor
    stem2: Tensor
    middle: Tensor


class FidInception(nn.Module):
    """Batch norms are folded into the convolutions when weights are read (`convert`), and maps are channels-last.

    Shapes:
        images (B, 3, H, W) float in [0, 1] -> `InceptionFeatures`
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem1 = nn.ModuleList([nn.Conv2d(3, 32, 3, 2), nn.Conv2d(32, 32, 3), nn.Conv2d(32, 64, 3, padding=1)])
        self.stem2 = nn.ModuleList([nn.Conv2d(64, 80, 1), nn.Conv2d(80, 192, 3)])
        self.blocks = nn.ModuleDict()
        width = 192
        for name, branches in BLOCKS.items():
            block = Block(width, branches)
            self.blocks[name], width = block, block.width
        self.fc = nn.Linear(width, CLASSES)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> InceptionFeatures:
        """Resizes as TensorFlow 1 did, inside the network, without rounding."""
        return self.extract(signed(tf1_bilinear(images.float(), (SIDE, SIDE))))

    def extract(self, images: Tensor) -> InceptionFeatures:
        """Of images (B, 3, 299, 299) in about [-1, 1], however they were resized."""
        hidden = images.contiguous(memory_format=torch.channels_last)
        for conv in self.stem1:
            hidden = conv(hidden).relu_()
        hidden = stem1 = F.max_pool2d(hidden, 3, 2)  # (B, 64, 73, 73)
        for conv in self.stem2:
            hidden = conv(hidden).relu_()
        hidden = stem2 = F.max_pool2d(hidden, 3, 2)  # (B, 192, 35, 35)
        maps: dict[str, Tensor] = {}
        for name, block in self.blocks.items():
            hidden = maps[name] = block(hidden)
        pool = hidden.mean((2, 3))  # (B, 2048)
        spatial = maps["Mixed_6d"][:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)  # of its first branch
        return InceptionFeatures(
            pool=pool,
            logits=F.linear(pool, self.fc.weight),
            spatial=spatial,
            stem1=stem1.mean((2, 3)),
            stem2=stem2.mean((2, 3)),
            middle=maps["Mixed_6e"].mean((2, 3)),
        )


def signed(images: Tensor) -> Tensor:
    """Images in [0, 1], which are changed, -> (255 images - 128) / 128, as TensorFlow's network reads them."""
    return images.mul_(255 / 128).sub_(1)


class Block(nn.Module):
    """Branches of one input, joined along the channels."""

    def __init__(self, in_channels: int, branches: Sequence[Branch]):
        super().__init__()
        self.branches = branches
        self.convs = nn.ModuleDict()
        self.width = sum(self._make_branch(in_channels, branch) for branch in branches)

    def _make_branch(self, width: int, branch: Branch) -> int:
        for step in branch:
            if isinstance(step, Conv):
                width = self._make_conv(width, step)
            elif isinstance(step, Averaged):
                width = self._make_conv(width, Conv(step.name, step.width, (1, 1)))
            elif not isinstance(step, Maximum):
                width = sum(self._make_conv(width, half) for half in step)
        return width

    def _make_conv(self, width: int, conv: Conv) -> int:
        padding = (0, 0) if conv.stride > 1 else (conv.kernel[0] // 2, conv.kernel[1] // 2)
        self.convs[conv.name] = nn.Conv2d(width, conv.width, conv.kernel, conv.stride, padding)
        return conv.width

    def forward(self, hidden: Tensor) -> Tensor:
        joined = []
        for branch in self.branches:
            made = hidden
            for step in branch:
                made = self._step(step, made)
            joined.append(made)
        return torch.cat(joined, dim=1)

    def _step(self, step: Conv | Averaged | Maximum | Split, hidden: Tensor) -> Tensor:
        if isinstance(step, Conv):
            made: Tensor = self.convs[step.name](hidden)
            return made.relu_()
        if isinstance(step, Averaged):  # both steps are linear: of the narrow output an average costs less
            return F.avg_pool2d(self.convs[step.name](hidden), 3, 1, 1, count_include_pad=False).relu_()
        if isinstance(step, Maximum):
            return F.max_pool2d(hidden, 3, step.stride, 1 if step.stride == 1 else 0)
        return torch.cat([self._step(half, hidden) for half in step], dim=1)


# --- published weights -----------------------------------------------------------------------------------------------

STEM = {
    "Conv2d_1a_3x3": "stem1.0",
    "Conv2d_2a_3x3": "stem1.1",
    "Conv2d_2b_3x3": "stem1.2",
    "Conv2d_3b_1x1": "stem2.0",
    "Conv2d_4a_3x3": "stem2.1",
}


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict that torch-fidelity and pytorch-fid publish -> ours: each batch norm is folded into its conv.

    Raises:
        KeyError: a tensor of another layout.
    """
    ours = {}
    for key, tensor in state.items():
        place, _, rest = key.rpartition(".conv.weight")
        if key.startswith("fc."):
            ours[key] = tensor
        elif place and not rest:
            block, _, branch = place.partition(".")
            target = STEM.get(place, f"blocks.{block}.convs.{branch}")
            ours |= fold_norm(state, f"{place}.conv", f"{place}.bn", target, EPS)
        elif ".bn." not in key:
            raise KeyError(f"no rule reads the Inception key {key!r} of shape {tuple(tensor.shape)}")
    return ours


def fold_norm(state: Mapping[str, Tensor], conv: str, norm: str, target: str, eps: float) -> dict[str, Tensor]:
    """Weight and bias of one convolution that does the work of a convolution without bias and its batch norm."""
    weight, shift, mean, variance = (
        state[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    gain = weight / (variance + eps).sqrt()
    kernel = state[f"{conv}.weight"].double()
    scaled = kernel * gain.view(-1, *[1] * (kernel.ndim - 1))
    return {f"{target}.weight": scaled.float(), f"{target}.bias": (shift - mean * gain).float()}
