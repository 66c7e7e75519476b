"""How far two surfaces are apart, by points on them. N, M points."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["ShapeScores", "shape_scores"]

MOST_VALUES = 2**24  # distances held at once


class ShapeScores(NamedTuple):
    """Of points on a reconstruction against points on the original.

    chamfer: mean distance of a point to the other set, both ways, added. chamfer_squared: of squared distances.
    f_score: harmonic mean of precision (points of the reconstruction near the original) and recall.
    """

    chamfer: float
    chamfer_squared: float
    f_score: float


def shape_scores(points: Tensor, reference: Tensor, *, threshold: float) -> ShapeScores:
    """Chamfer distances and F-score. arXiv:1612.00603, section 3; arXiv:1905.03678, section 5.

    Args:
        points: (N, 3), sampled on the reconstruction.
        reference: (M, 3), sampled on the original.
        threshold: distance that counts as near, in the points' unit: published ones are shares of the bounding box.

    Raises:
        ValueError: no points, NaN, or points of another shape.
    """
    for each in (points, reference):
        if each.ndim != 2 or each.shape[1] != 3 or not len(each) or not bool(each.isfinite().all()):
            raise ValueError(f"a shape is one finite point or more, (N, 3); got {tuple(each.shape)}, or NaN in it")
    ours, theirs = nearest_distances(points, reference), nearest_distances(reference, points)
    precision, recall = (float((each <= threshold).double().mean()) for each in (ours, theirs))
    return ShapeScores(
        chamfer=float(ours.mean() + theirs.mean()),
        chamfer_squared=float(ours.square().mean() + theirs.square().mean()),
        f_score=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
    )


def nearest_distances(points: Tensor, others: Tensor) -> Tensor:
    """Distance of each point (N, 3) to the nearest of others (M, 3), float64 (N,)."""
    targets = others.double()
    parts = points.double().split(max(1, MOST_VALUES // len(others)))
    exact = "donot_use_mm_for_euclid_dist"  # the product form loses the digits of small distances
    return torch.cat([torch.cdist(part, targets, compute_mode=exact).amin(1) for part in parts])
