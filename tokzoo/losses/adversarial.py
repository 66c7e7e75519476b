"""A discriminator of patches and the losses of its game. B batch, H W pixels, h w patches."""

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LeCam", "PatchDiscriminator", "hinge_discriminator_loss", "hinge_generator_loss"]


class PatchDiscriminator(nn.Module):
    """PatchGAN: one real-or-fake logit for each overlapping patch. arXiv:1611.07004, section 3.2.2.

    GroupNorm stands where the paper has BatchNorm, so that a logit depends on its own image only.

    Args:
        width: channels of the first layer, a multiple of 4; they double with each further one, up to 8 times.
        depth: layers of stride 2. With 3, a logit sees 70 x 70 pixels.
        in_channels: channels of an image.

    Shapes:
        images (B, in_channels, H, W) in [0, 1] -> logits (B, 1, h, w), h = H / 2**depth - 2.
    """

    def __init__(self, width: int = 64, depth: int = 3, in_channels: int = 3):
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(depth + 1)]
        strides = [2] * (depth - 1) + [1]
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for (narrow, wide), stride in zip(pairwise(widths), strides, strict=True):
            layers += [
                nn.Conv2d(narrow, wide, 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(min(32, wide // 4), wide),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.layers(images * 2 - 1))


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Mean of max(0, 1 - real) plus mean of max(0, 1 + fake), over logits of any shape. arXiv:1802.05957, eq. 16."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator_loss(fake: Tensor) -> Tensor:
    """Minus the mean logit of generated images. arXiv:1802.05957, eq. 17."""
    return -fake.mean()


class LeCam(nn.Module):
    """Keeps a discriminator's logits from drifting apart, for small data sets. arXiv:2104.03310, section 3.2.

    Real logits are pulled towards the moving average of fake ones and the reverse. As in the published code, and not in
    the paper, only the part by which they lie beyond that average counts.

    Args:
        decay: of the moving averages, which start at 0; a call moves them first.

    Shapes:
        real, fake: logits of any shape -> float32 scalar, to be added to the discriminator's loss.
    """

    real_average: Tensor
    fake_average: Tensor

    def __init__(self, decay: float = 0.999):
        super().__init__()
        self.decay = decay
        self.register_buffer("real_average", torch.zeros(()))
        self.register_buffer("fake_average", torch.zeros(()))

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        real, fake = real.float(), fake.float()
        self.real_average.lerp_(real.detach().mean(), 1 - self.decay)
        self.fake_average.lerp_(fake.detach().mean(), 1 - self.decay)
        return F.relu(real - self.fake_average).square().mean() + F.relu(self.real_average - fake).square().mean()
