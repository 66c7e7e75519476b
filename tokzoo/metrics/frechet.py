"""The Frechet distance between two Gaussians, and what a few samples say of its value for many. N features, D width."""

import torch
from torch import Tensor

from tokzoo.metrics.statistics import GaussianStatistics, Moments, check_features

__all__ = ["frechet_at_infinity", "frechet_distance", "frechet_of_features"]


def frechet_distance(ours: Moments, reference: Moments) -> float:
    """|m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)). arXiv:1706.08500, equation 6.

    The product of two covariances has the eigenvalues of C^T S2 C with S1 = C C^T, which is symmetric: real
    eigenvalues, none below zero but for rounding, and no complex square root of a matrix. C is the Cholesky factor,
    with pivots where S1 is singular (fewer images than dimensions).

    Raises:
        ValueError: features of other widths, or of another extractor or image size.
    """
    _check_width(ours.mean.numel(), reference)
    if misfit := ours.origin.misfit(reference.origin):
        raise ValueError(f"the statistics cannot be compared: {misfit}")
    factor = _factor(ours.covariance)
    spread = ours.covariance.trace() + reference.covariance.trace()
    return _distance(ours.mean - reference.mean, spread, factor.t() @ reference.covariance @ factor)


def frechet_of_features(features: Tensor, reference: Tensor | Moments) -> float:
    """`frechet_distance` of features (N, D) and of features (M, D) or statistics, cheaper where N or M is below D.

    With A the centred features over sqrt(N - 1), S1 = A^T A: the eigenvalues wanted are those of A S2 A^T (N, N), and
    with S2 = B^T B the squared singular values of A B^T.
    """
    width = features.shape[1]
    check_features(features)
    if isinstance(reference, Moments):
        _check_width(width, reference)
        if len(features) > width:
            return frechet_distance(GaussianStatistics.of(features).moments(reference.origin), reference)
        mean, root = _centred(features)
        product = root @ reference.covariance @ root.t()
        spread = root.square().sum() + reference.covariance.trace()
        return _distance(mean - reference.mean, spread, product)
    check_features(reference, width)
    if min(len(features), len(reference)) > width:
        return frechet_distance(*(GaussianStatistics.of(rows).moments() for rows in (features, reference)))
    (mean1, root1), (mean2, root2) = _centred(features), _centred(reference)
    across = root1 @ root2.t() if len(root1) <= len(root2) else root2 @ root1.t()
    return _distance(mean1 - mean2, root1.square().sum() + root2.square().sum(), across @ across.t())


def frechet_at_infinity(
    features: Tensor, reference: Tensor | Moments, *, points: int = 15, least: int | None = None, seed: int = 0
) -> float:
    """The distance that a line through its values for growing samples meets at 1/N = 0. arXiv:1911.07023, section 3.

    The line is straight for samples of some times D features; of fewer the value found may err to either side.

    Args:
        features: (N, D).
        reference: statistics, as they are; or features (N, D), each of the original of its row: rows are drawn
            together, so that the distance found is that of infinitely many pairs.
        points: sample sizes, evenly spread from `least` to N.
        least: the smallest sample; None: N / 10, and never below D + 1 where N allows.

    Raises:
        ValueError: too few features for a line, or another number of originals.
    """
    count, width = features.shape
    least = least or min(max(count // 10, width + 1), count // 2)
    if count < 20 or points < 2:
        raise ValueError(f"an extrapolation needs at least 20 features and 2 sizes; got {count} and {points}")
    if not isinstance(reference, Moments) and len(reference) != count:
        raise ValueError(f"features of originals are drawn by pairs; got {count} and {len(reference)}: give statistics")
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.linspace(least, count, points).round().long().tolist()
    values = []
    for size in sizes:
        rows = torch.randperm(count, generator=generator)[:size]
        against = reference if isinstance(reference, Moments) else reference[rows]
        values.append(frechet_of_features(features[rows], against))
    inverse = torch.tensor([[1 / size, 1.0] for size in sizes], dtype=torch.float64)
    line = torch.linalg.lstsq(inverse, torch.tensor(values, dtype=torch.float64).unsqueeze(1)).solution
    return float(line[1])


def _check_width(width: int, reference: Moments) -> None:
    if width != reference.mean.numel():
        raise ValueError(
            f"the statistics are of {width} and {reference.mean.numel()} features: two extractors, or two layers of one"
        )


def _factor(covariance: Tensor) -> Tensor:
    """C with C C^T = covariance, which is symmetric and positive semi-definite: (D, D), or (D, rank)."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    return factor if int(failed) == 0 else _pivoted_cholesky(covariance)


def _pivoted_cholesky(covariance: Tensor) -> Tensor:
    """Columns in the order of the greatest variance left, until what is left is rounding. Higham 2002, section 10.3.

    An eigenvector solver may not converge on a matrix of which most eigenvalues are zero.
    """
    left = covariance.diagonal().clone()
    floor = float(left.max()) * len(left) * torch.finfo(left.dtype).eps
    columns = torch.zeros_like(covariance)
    for rank in range(len(left)):
        pivot = int(left.argmax())
        if float(left[pivot]) <= floor:
            return columns[:, :rank]
        column = covariance[:, pivot] - columns[:, :rank] @ columns[pivot, :rank]
        columns[:, rank] = column / left[pivot].sqrt()
        left = (left - columns[:, rank].square()).clamp_min(0)
    return columns


def _centred(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) of features (N, D), and A (N, D) with A^T A their covariance; float64."""
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 features; got {len(features)}")
    rows = features.double()
    mean = rows.mean(0)
    return mean, (rows - mean) / (len(rows) - 1) ** 0.5


def _distance(between: Tensor, spread: Tensor, product: Tensor) -> float:
    """Of the difference of means, the sum of both traces, and a matrix that has the eigenvalues of S1 S2."""
    shared = torch.linalg.eigvalsh((product + product.t()) / 2).clamp_min(0).sqrt().sum()
    value = float(between.square().sum() + spread - 2 * shared)
    return max(0.0, value)  # rounding may leave -1e-10 for equal statistics
