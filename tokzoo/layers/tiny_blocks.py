"""Blocks of the tiny autoencoders. B batch, C channels, H W places."""

import torch.nn.functional as F
from torch import Tensor, nn

POOL_GROUPS, POOL_FACTOR = 4, 4


class TinyBlock(nn.Module):
    """Three 3x3 convs with ReLU around a shortcut. TAESD, github.com/madebyollin/taesd.

    Args:
        channels: C, in and out.
        pooled: adds a normalised 1x1 branch first, the only thing in the network that sees the whole picture.

    Shapes:
        hidden (B, C, H, W) -> same
    """

    def __init__(self, channels: int, *, pooled: bool = False):
        super().__init__()
        convs = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])
        self.pool: nn.Module | None = None
        if pooled:
            wide = POOL_FACTOR * channels
            self.pool = nn.Sequential(
                nn.Conv2d(channels, wide, 1, bias=False),
                nn.GroupNorm(POOL_GROUPS, wide),
                nn.ReLU(),
                nn.Conv2d(wide, channels, 1, bias=False),
            )

    def forward(self, hidden: Tensor) -> Tensor:
        if self.pool is not None:
            hidden = hidden + self.pool(hidden)
        return F.relu(self.conv(hidden) + hidden)


class SoftClamp(nn.Module):
    """Bends values smoothly into (-limit, limit)."""

    def __init__(self, limit: float = 3.0):
        super().__init__()
        self.limit = limit

    def forward(self, values: Tensor) -> Tensor:
        return (values / self.limit).tanh() * self.limit
