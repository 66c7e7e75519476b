"""Kernel inception distance: the unbiased MMD of features under a cubic kernel. arXiv:1801.01401, section 4."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tokzoo.metrics.statistics import check_features

__all__ = ["Spread", "cubic_kernel", "kernel_distance", "squared_mmd"]


class Spread(NamedTuple):
    """Mean and population standard deviation over subsets or splits."""

    mean: float
    std: float


def squared_mmd(features: Tensor, reference: Tensor) -> Tensor:
    """Unbiased squared MMD of features (N, D) and (N, D) with the kernel (x.y / D + 1)^3; float64 scalar.

    It has mean 0 for equal distributions, so that a single value may be negative.

    Raises:
        ValueError: unequal counts, which this estimator does not take, or fewer than two rows.
    """
    count = len(features)
    if reference.shape != features.shape or count < 2:
        raise ValueError(f"the MMD needs two or more rows in equal number; got {count} and {len(reference)}")
    ours, theirs = features.double(), reference.double()
    within = sum(
        kernel.sum() - kernel.diagonal().sum() for kernel in (cubic_kernel(ours, ours), cubic_kernel(theirs, theirs))
    )
    return within / (count * (count - 1)) - 2 * cubic_kernel(ours, theirs).mean()


def cubic_kernel(rows: Tensor, columns: Tensor) -> Tensor:
    """(x.y / D + 1)^3 of every row (N, D) with every column (M, D): (N, M)."""
    return (rows @ columns.t() / rows.shape[1] + 1) ** 3


def kernel_distance(
    features: Tensor, reference: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> Spread:
    """KID over random subsets, drawn as torch-fidelity draws them: of `features` first, without replacement.

    Args:
        features: (N, D), of the generated images.
        reference: (M, D).
        subset_size: rows in a subset; of fewer features, all are taken.
        seed: of NumPy's RandomState.

    Raises:
        ValueError: NaN, features of two widths, or fewer than two rows.
    """
    check_features(features)
    check_features(reference, features.shape[1])
    size = min(subset_size, len(features), len(reference))
    random = np.random.RandomState(seed)  # the legacy generator, whose stream never changes
    values = []
    for _ in range(subsets):
        ours, theirs = (random.choice(len(rows), size, replace=False) for rows in (features, reference))
        values.append(squared_mmd(features[ours], reference[theirs]))
    stacked = torch.stack(values)
    return Spread(float(stacked.mean()), float(stacked.std(correction=0)))
