"""Channels of a trained continuous latent, each rounded by itself. B batch, L tokens, C channels, K levels."""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from tokzoo.quantizers.channel_wise import ChannelWiseQuantizer

HALVINGS = 64  # of a range, until its ends are neighbours among float32 numbers


class DimensionWiseQuantizer(ChannelWiseQuantizer):
    """Normal latents to levels of equal chance, after training: nothing is learned. TokenBridge, arXiv:2503.16430, 3.2.

    A channel is stretched so that `low`..`high` becomes -reach..reach, clipped, and given the nearest level; level i is
    the mean of the standard normal between its quantiles i/K and (i+1)/K, clipped to reach.

    Args:
        code_dim: C, slots of a token.
        num_levels: K.
        low, high: of the latents.
        reach: in standard deviations.

    A latent midway between two levels has the lower one; one that is no number has the lowest, as published.
    Else as `ChannelWiseQuantizer`.

    Raises:
        ValueError: fewer than 2 levels, low >= high, or levels that are the same within `reach`.
    """

    values: Tensor
    borders: Tensor
    below: Tensor
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
        cells = 2 * math.ceil(reach) * num_levels  # `low` to `high` in equal cells, so narrow that levels share none
        self.register_buffer("borders", torch.empty(cells), persistent=False)  # in a cell, infinite if there is none
        self.register_buffer("below", torch.empty(cells, dtype=torch.int32), persistent=False)  # borders before a cell
        self.load_values(normal_levels(num_levels, reach))

    def load_values(self, values: Tensor) -> None:
        """Takes a published table of levels (K,), in standard deviations, ascending.

        The authors' is a buffer of their file: float32 error functions differ between machines, by 1e-5 in a level.

        Raises:
            ValueError: levels that are almost or wholly the same, as those beyond a small reach are.
        """
        values = values.to(self.values)
        borders = self._last_below((values[1:] + values[:-1]) / 2)
        cells = self._cell(borders)
        if not values.is_meta and bool((cells.diff() < 1).any()):
            raise ValueError(
                f"some of the {self.num_levels} levels within {self.reach} standard deviations are the same: take fewer"
            )
        self.values.copy_(values)
        self.borders.fill_(torch.inf)[cells.long()] = borders
        self.below.copy_(
            torch.searchsorted(cells, torch.arange(len(self.below), dtype=torch.int32, device=cells.device))
        )

    @property
    def levels(self) -> tuple[int, ...]:
        """K for each channel."""
        return (self.num_levels,) * self.code_dim

    def nearest(self, points: Tensor) -> Tensor:
        cells = self._cell(points).flatten()
        above = torch.gt(points.flatten(), self.borders.index_select(0, cells), out=torch.empty_like(cells))
        return self.below.index_select(0, cells).add_(above).view(points.shape).long()

    def _cell(self, points: Tensor) -> Tensor:
        """Which cell latents fall into, int32; one that is no number into the first."""
        counted = (points - self.low).mul_(len(self.below) / (self.high - self.low))
        return counted.clamp_(0, len(self.below) - 1).int().clamp_(min=0)

    def _scaled(self, points: Tensor) -> Tensor:
        """Latents in standard deviations."""
        return (points - self.low) / (self.high - self.low) * (2 * self.reach) - self.reach

    def _last_below(self, middles: Tensor) -> Tensor:
        """The largest float32 latents that are not above `middles` once they are scaled: scaling rounds, but ascends.

        So latents are compared as they come, and ties fall as if all had been scaled.
        """
        below, above = torch.full_like(middles, self.low), torch.full_like(middles, self.high)
        for _ in range(HALVINGS):
            middle = below + (above - below) / 2
            higher = self._scaled(middle) > middles
            below, above = torch.where(higher, below, middle), torch.where(higher, middle, above)
        return below

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
