"""Channels of a trained continuous latent, each rounded by itself. B batch, L tokens, C channels, K levels."""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from tokzoo.quantizers.channel_wise import ChannelWiseQuantizer, count_below


class DimensionWiseQuantizer(ChannelWiseQuantizer):
    """Normal latents to levels of equal chance, after training: nothing is learned. TokenBridge, arXiv:2503.16430, 3.2.

    A channel is stretched so that `low`..`high` becomes -reach..reach, clipped, and given the nearest level; level i is
    the mean of the standard normal between its quantiles i/K and (i+1)/K, clipped to reach.

    Args:
        code_dim: C, slots of a token.
        num_levels: K.
        low, high: of the latents.
        reach: in standard deviations.

    A latent midway between two levels has the lower one; one that is no number counts as the middle of `low`..`high`.
    Else as `ChannelWiseQuantizer`.

    Raises:
        ValueError: fewer than 2 levels, or low >= high.
    """

    values: Tensor
    borders: Tensor
    float32 = ("values", "borders")

    def __init__(
        self, code_dim: int, num_levels: int = 64, *, low: float = -5.0, high: float = 5.0, reach: float = 3.0
    ):
        super().__init__()
        if num_levels < 2 or low >= high or reach <= 0:
            raise ValueError(
                f"needs 2 levels at least, low < high, reach > 0; got {num_levels}, {low}, {high}, {reach}"
            )
        self.code_dim = code_dim
        self.num_levels = num_levels
        self.low, self.high, self.reach = low, high, reach
        self.register_buffer("values", torch.empty(num_levels), persistent=False)  # in standard deviations
        self.register_buffer("borders", torch.empty(num_levels - 1), persistent=False)
        self.load_values(normal_levels(num_levels, reach))

    def load_values(self, values: Tensor) -> None:
        """Takes a published table of levels (K,), in standard deviations, ascending.

        The authors' is a buffer of their file: float32 error functions differ between machines, by 1e-5 in a level.
        """
        self.values.copy_(values)
        self.borders.copy_((values[1:] + values[:-1]) / 2)

    @property
    def levels(self) -> tuple[int, ...]:
        """K for each channel."""
        return (self.num_levels,) * self.code_dim

    def nearest(self, points: Tensor) -> Tensor:
        scaled = (points - self.low).div_(self.high - self.low).mul_(2 * self.reach).sub_(self.reach)
        return count_below(scaled.nan_to_num_(nan=0.0), self.borders)

    def values_at(self, slots: Tensor) -> Tensor:
        return (self.values[slots] + self.reach) / (2 * self.reach) * (self.high - self.low) + self.low


def normal_borders(num_levels: int, reach: float) -> Tensor:
    """Quantiles i / K of the standard normal, i = 0 .. K, clipped to +-reach; float32 (K + 1,)."""
    normal = NormalDist()
    inner = [normal.inv_cdf(number / num_levels) for number in range(1, num_levels)]
    return torch.tensor([-reach, *(min(max(border, -reach), reach) for border in inner), reach])


def normal_levels(num_levels: int, reach: float) -> Tensor:
    """Means of the standard normal between neighbouring borders, float32 (K,)."""
    borders = normal_borders(num_levels, reach)
    density = (-borders.square() / 2).exp() / math.sqrt(2 * math.pi)
    below = (1 + (borders / math.sqrt(2)).erf()) / 2
    share = below[1:] - below[:-1]
    middle = (borders[1:] + borders[:-1]) / 2
    return torch.where(share > 0, (density[:-1] - density[1:]) / share.clamp_min(1e-30), middle)
