"""Precision, recall, density and coverage: which samples lie among which reference images. N, M rows, D features."""

from typing import NamedTuple

import torch
from torch import Tensor

from tokzoo.metrics.statistics import check_features

__all__ = ["ManifoldHits", "ManifoldScores", "manifold_hits", "manifold_scores", "neighbour_radii"]

MOST_VALUES = 2**24  # distances held at once: 128 MiB


class ManifoldScores(NamedTuple):
    """Of samples against a reference; all but density lie in [0, 1].

    precision: samples in the ball of some reference image. recall: reference images in the ball of some sample.
    density: balls of reference images that a sample lies in, over k. coverage: reference images with a sample in
    their ball.
    """

    precision: float
    recall: float
    density: float
    coverage: float


class ManifoldHits(NamedTuple):
    """Image by image. Of samples (N,): `precise`, and in how many `balls`; of reference images (M,): the rest."""

    precise: Tensor
    balls: Tensor
    recalled: Tensor
    covered: Tensor


def neighbour_radii(points: Tensor, k: int) -> Tensor:
    """Distance of each point (N, D) from its k-th nearest other, float64 (N,)."""
    rows = points.double()
    return torch.cat([torch.cdist(part, rows).kthvalue(k + 1).values for part in _parts(rows, rows)])  # itself is first


def manifold_hits(samples: Tensor, reference: Tensor, *, k: int = 3, strict: bool = False) -> ManifoldHits:
    """Which images lie in whose k-nearest-neighbour balls; arguments and errors as in `manifold_scores`."""
    check_features(samples)
    check_features(reference, samples.shape[1])
    if min(len(samples), len(reference)) <= k:
        raise ValueError(f"balls of k = {k} neighbours need {k + 1} images; got {len(samples)} and {len(reference)}")
    around_reference, around_samples = neighbour_radii(reference, k), neighbour_radii(samples, k)
    recalled = torch.zeros(len(reference), dtype=torch.bool)
    covered = torch.zeros(len(reference), dtype=torch.bool)
    balls: list[Tensor] = []
    targets, start = reference.double(), 0
    for part in _parts(samples.double(), targets):
        distances = torch.cdist(part, targets)  # (n, M)
        radii = around_samples[start : start + len(part), None]
        inside = distances < around_reference if strict else distances <= around_reference
        reached = distances < radii if strict else distances <= radii
        balls.append(inside.sum(1))
        covered |= inside.any(0)
        recalled |= reached.any(0)
        start += len(part)
    counted = torch.cat(balls)
    return ManifoldHits(counted > 0, counted, recalled, covered)


def manifold_scores(samples: Tensor, reference: Tensor, *, k: int = 3, strict: bool = False) -> ManifoldScores:
    """k-nearest-neighbour balls. Precision and recall: arXiv:1904.06991; density and coverage: arXiv:2002.09797.

    Args:
        samples: (N, D).
        reference: (M, D).
        k: 3 in torch-fidelity and ADM, 5 in prdc and dgm-eval.
        strict: a point on the surface of a ball is outside, as in prdc and dgm-eval.

    Raises:
        ValueError: NaN, two widths, or fewer than k + 1 rows.
    """
    hits = manifold_hits(samples, reference, k=k, strict=strict)
    precision, balls, recall, coverage = (float(each.double().mean()) for each in hits)
    return ManifoldScores(precision, recall, balls / k, coverage)


def _parts(rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
    return rows.split(max(1, MOST_VALUES // len(columns)))
