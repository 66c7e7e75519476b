"""Intervals of what is measured on photos or scenes: means and kernel distances over many draws of them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tokzoo.metrics.kernel import cubic_kernel

BOOTSTRAPS = 1000


@dataclass(frozen=True)
class Estimate:
    """A number and the interval that holds 95% of its bootstraps."""

    value: float
    low: float
    high: float


class Bootstrap:
    """How often each of N photos is drawn (R + 1, N); the first row draws each once."""

    def __init__(self, count: int):
        random = np.random.default_rng(0)
        drawn = [np.bincount(random.integers(count, size=count), minlength=count) for _ in range(BOOTSTRAPS)]
        self.weights = torch.from_numpy(np.stack([np.ones(count, dtype=np.int64), *drawn])).double()

    def mean(self, values: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Values (N,) of photos -> their mean in each draw (R + 1,), of the photos `chosen` alone, by number."""
        rows = torch.arange(len(values)) if chosen is None else chosen
        weights = self.weights[:, rows]
        return weights @ values[rows].double() / weights.sum(1)

    def kernel_distance(self, features: Tensor, reference: Tensor) -> Tensor:
        """Squared MMD in each draw (R + 1,) over pairs of different photos, rows (N, D) that belong together."""
        ours, theirs = features.double(), reference.double()
        cross = cubic_kernel(ours, theirs)
        pairs = cubic_kernel(ours, ours) + cubic_kernel(theirs, theirs) - cross - cross.t()
        pairs.fill_diagonal_(0)
        count = self.weights.sum(1).square() - self.weights.square().sum(1)
        return (self.weights @ pairs * self.weights).sum(1) / count


def estimate(drawn: Tensor) -> Estimate:
    """The first number, and the interval of the others."""
    low, high = np.quantile(drawn[1:].numpy(), (0.025, 0.975))
    return Estimate(float(drawn[0]), float(low), float(high))
