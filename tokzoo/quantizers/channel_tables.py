"""A table of values per channel, and how such tables are made. B batch, L tokens, C channels, K levels, N samples."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from tokzoo.quantizers.channel_wise import ChannelWiseQuantizer, count_below
from tokzoo.quantizers.dimension_wise import normal_levels

MOST_BITS = 8  # of a channel, where bits are allocated
CELLS = 2048  # of the histogram that it begins with
ROUNDS = 50  # of Lloyd's iteration, which has settled by then
TINIEST = 1e-300  # below it, a divisor is taken as this


class ChannelTableQuantizer(ChannelWiseQuantizer):
    """Each channel to the nearest value of its own table, after training. TokenBridge, arXiv:2503.16430, 3.2.

    Args:
        levels: values per channel, 1 or more; a channel of one level carries no bits.

    A latent midway between two values has the lower one. The tables are saved with the model: `values` (C, K of the
    longest), ascending, infinite beyond a channel's own. Else as `ChannelWiseQuantizer`.

    Raises:
        ValueError: no levels, or latents with NaN or infinity.
    """

    values: Tensor
    float32 = ("values",)

    def __init__(self, levels: Sequence[int]):
        super().__init__()
        if not levels or min(levels) < 1:
            raise ValueError(f"every channel needs a level at least; got {tuple(levels)}")
        self.code_dim = len(levels)
        self._levels = tuple(levels)
        self.register_buffer("values", torch.empty(len(levels), max(levels)))
        self.load_tables([normal_levels(count, 3.0) if count > 1 else torch.zeros(1) for count in levels])

    def load_tables(self, tables: Sequence[Tensor]) -> None:
        """Takes the values of each channel, ascending.

        Raises:
            ValueError: tables of other sizes, or not ascending.
        """
        sizes = tuple(len(table) for table in tables)
        if sizes != self._levels:
            raise ValueError(f"tables must hold {self._levels} values; got {sizes}")
        for table in tables:
            if not table.is_meta and not bool(table.isfinite().all() & (table[1:] >= table[:-1]).all()):
                raise ValueError("a table's values must be finite and ascend")
        self.values.fill_(torch.inf)
        for row, table in zip(self.values, tables, strict=True):
            row[: len(table)] = table

    @property
    def levels(self) -> tuple[int, ...]:
        """K of each channel."""
        return self._levels

    def nearest(self, points: Tensor) -> Tensor:
        eager = not torch.compiler.is_compiling() and points.device.type != "meta"
        if eager and not bool((points * 0).sum() == 0):  # infinity times 0 is NaN; ten times as fast as isfinite
            raise ValueError("the latents hold NaN or infinity: look where they come from before quantizing them")
        return count_below(points, (self.values[:, 1:] + self.values[:, :-1]) / 2)

    def values_at(self, slots: Tensor) -> Tensor:
        return self.values[torch.arange(self.code_dim, device=slots.device), slots]


# --- tables ----------------------------------------------------------------------------------------------------------


def published_table(num_levels: int, *, low: float, high: float, reach: float) -> Tensor:
    """TokenBridge's values (K,): means of the normal's equally likely bins, `low`..`high` being -reach..reach.

    Raises:
        ValueError: levels that are no power of two, for which nothing is published.
    """
    if num_levels < 2 or num_levels & (num_levels - 1):
        raise ValueError(f"published bins come in powers of two, 2 at least; got {num_levels}: take bins='uniform'")
    return (normal_levels(num_levels, reach) + reach) / (2 * reach) * (high - low) + low


def uniform_table(num_levels: int, *, low: float, high: float) -> Tensor:
    """Middles (K,) of equal bins between `low` and `high`."""
    return low + (torch.arange(num_levels) + 0.5) * ((high - low) / num_levels)


def lloyd_max_table(samples: Tensor, num_levels: int, costs: Tensor | None = None) -> Tensor:
    """The values (K,) of least mean square error on `samples` (N,). Lloyd, 1982; Max, 1960.

    Begins where many levels end, as dense as the cube root of the samples' density (Panter and Dite, 1951); each value
    becomes the mean of the samples that are nearest to it, one that has none stays.

    Args:
        costs: (N,), what an error in each sample costs, 0 or more; None: the same.
    """
    ordered, places = samples.double().sort()
    weights = torch.ones_like(ordered) if costs is None or not bool(costs.any()) else costs.double()[places]
    weight_below, sum_below = (_sums_below(each) for each in (weights, weights * ordered))
    low, width = float(ordered[0]), float(ordered[-1] - ordered[0]) / CELLS
    cells = ((ordered - low) / max(width, TINIEST)).long().clamp(max=CELLS - 1)
    dense = weights.new_zeros(CELLS).index_add_(0, cells, weights).pow(1 / 3).cumsum(0)
    chances = (torch.arange(num_levels, dtype=torch.float64) + 0.5) / num_levels * dense[-1]
    values = low + (torch.searchsorted(dense, chances) + 0.5) * width
    for _ in range(ROUNDS):
        inner = torch.searchsorted(ordered, (values[1:] + values[:-1]) / 2)
        ends = torch.cat([inner.new_zeros(1), inner, inner.new_tensor([len(ordered)])])
        held = weight_below[ends].diff()
        means = sum_below[ends].diff() / held.clamp_min(TINIEST)
        values = torch.where(held > 0, means, values).sort().values  # rounding swaps values that are almost the same
    return values.float()


def table_error(samples: Tensor, table: Tensor, costs: Tensor | None = None) -> float:
    """Mean square distance of `samples` (N,) to their nearest values, each as often as its cost in `costs` (N,)."""
    nearest = table[torch.searchsorted((table[1:] + table[:-1]) / 2, samples.contiguous())]
    distances = (samples - nearest).square()
    return float((distances if costs is None else distances * costs).mean())


def allocate_bits(samples: Tensor, bits: int, costs: Tensor | None = None) -> tuple[int, ...]:
    """Bits per channel, `bits` in all: each goes where it lowers the error most (reverse water-filling).

    Args:
        samples: (N, C).
        costs: (N, C), what an error in each sample costs; None: the same.

    Raises:
        ValueError: more bits than 8 for every channel.
    """
    channels = samples.shape[1]
    if not 0 <= bits <= MOST_BITS * channels:
        raise ValueError(f"{channels} channels hold 0 to {MOST_BITS * channels} bits; got {bits}")
    told = torch.ones_like(samples) if costs is None else costs
    errors = [
        [table_error(column, lloyd_max_table(column, 2**count, cost), cost) for count in range(MOST_BITS + 1)]
        for column, cost in zip(samples.t(), told.t(), strict=True)
    ]
    gains = [[before - after for before, after in pairwise(row)] for row in errors]
    given = [0] * channels
    for _ in range(bits):
        best = max((c for c in range(channels) if given[c] < MOST_BITS), key=lambda c: gains[c][given[c]])
        given[best] += 1
    return tuple(given)


def _sums_below(values: Tensor) -> Tensor:
    """Sums of the first 0, 1 .. N of them, (N + 1,)."""
    return torch.cat([values.new_zeros(1), values.cumsum(0)])
