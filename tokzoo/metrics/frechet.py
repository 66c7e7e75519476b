"""The Frechet distance between two Gaussians, and what a few samples say of its value for many. N features, D width."""

import torch
from torch import Tensor

from tokzoo.metrics.statistics import GaussianStatistics, Moments, check_features

__all__ = ["frechet_at_infinity", "frechet_distance", "frechet_of_features"]


def frechet_distance(ours: Moments, reference: Moments) -> float:
    """|m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)). arXiv:1706.08500, equation 6.

    The product of two covariances has the eigenvalues of C^T S2 C with S1 = C C^T, which is symmetric: real
    eigenvalues, none below zero but for rounding, and no complex square root of a matrix. C is the Cholesky factor;
    where S1 is singular (fewer images than dimensions), it comes from the eigenvectors of S1.

    Raises:
        ValueError: features of other widths, or of another extractor or image size.
    """
    if ours.mean.numel() != reference.mean.numel():
        raise ValueError(
            f"the statistics are of {ours.mean.numel()} and {reference.mean.numel()} features: two extractors, or two "
            "layers of one"
        )
    if misfit := ours.origin.misfit(reference.origin):
        raise ValueError(f"the statistics cannot be compared: {misfit}")
    factor = _factor(ours.covariance)
    eigenvalues = torch.linalg.eigvalsh(_symmetric(factor.t() @ reference.covariance @ factor))
    shared = eigenvalues.clamp_min(0).sqrt().sum()
    return _distance(ours, reference, shared)


def frechet_of_features(features: Tensor, reference: Tensor) -> float:
    """`frechet_distance` of features (N, D) and (M, D), by the cheaper way where there are fewer of them than D.

    tr((S1 S2)^(1/2)) is the sum of the singular values of A B^T, A and B the centred features over sqrt(N - 1): of a
    matrix (N, M) instead of (D, D).
    """
    check_features(features)
    check_features(reference, features.shape[1])
    fewest, most = sorted((len(features), len(reference)))
    if most >= features.shape[1] or fewest < 2:
        return frechet_distance(*(GaussianStatistics.of(rows).moments() for rows in (features, reference)))
    means, roots = [], []
    for rows in (features.double(), reference.double()):
        means.append(rows.mean(0))
        roots.append((rows - means[-1]) / (len(rows) - 1) ** 0.5)
    product = roots[0] @ roots[1].t() if len(features) <= len(reference) else roots[1] @ roots[0].t()
    shared = torch.linalg.eigvalsh(_symmetric(product @ product.t())).clamp_min(0).sqrt().sum()
    spread = sum(root.square().sum() for root in roots)
    return max(0.0, float((means[0] - means[1]).square().sum() + spread - 2 * shared))


def frechet_at_infinity(
    features: Tensor, reference: Tensor | Moments, *, points: int = 15, least: int | None = None, seed: int = 0
) -> float:
    """The distance that a line through its values for growing samples meets at 1/N = 0. arXiv:1911.07023, section 3.

    Args:
        features: (N, D).
        reference: features (M, D), or statistics.
        points: sample sizes, evenly spread from `least` to N.
        least: the smallest sample; None: N / 10, and never below D + 1 where N allows.

    Raises:
        ValueError: too few features for a line.
    """
    count, width = features.shape
    least = least or min(max(count // 10, width + 1), count // 2)
    if count < 20 or points < 2:
        raise ValueError(f"an extrapolation needs at least 20 features and 2 sizes; got {count} and {points}")
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.linspace(least, count, points).round().long().tolist()
    values = []
    for size in sizes:
        chosen = torch.randperm(count, generator=generator)[:size]
        if isinstance(reference, Moments):
            values.append(frechet_distance(GaussianStatistics.of(features[chosen]).moments(), reference))
        else:
            values.append(frechet_of_features(features[chosen], reference))
    inverse = torch.tensor([[1 / size, 1.0] for size in sizes], dtype=torch.float64)
    line = torch.linalg.lstsq(inverse, torch.tensor(values, dtype=torch.float64).unsqueeze(1)).solution
    return float(line[1])


def _factor(covariance: Tensor) -> Tensor:
    """C with C C^T = covariance; symmetric, positive semi-definite."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed) == 0:
        return factor
    eigenvalues, vectors = torch.linalg.eigh(_symmetric(covariance))
    kept = eigenvalues > eigenvalues[-1] * covariance.shape[0] * torch.finfo(eigenvalues.dtype).eps
    return vectors[:, kept] * eigenvalues[kept].sqrt()


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.t()) / 2


def _distance(ours: Moments, reference: Moments, shared: Tensor) -> float:
    between = (ours.mean - reference.mean).square().sum()
    spread = ours.covariance.trace() + reference.covariance.trace()
    return max(0.0, float(between + spread - 2 * shared))  # rounding may leave -1e-10 for equal statistics
