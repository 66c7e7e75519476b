"""From per-image numbers and features to scores with their intervals. N images, D features."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tokzoo.evaluation.protocol import Bootstrap, Protocol
from tokzoo.metrics.diversity import inception_score
from tokzoo.metrics.frechet import frechet_at_infinity, frechet_of_features
from tokzoo.metrics.kernel import cubic_kernel, kernel_distance
from tokzoo.metrics.neighbours import manifold_hits
from tokzoo.metrics.statistics import GaussianStatistics, Moments
from tokzoo.quantizers.usage import code_usage

__all__ = ["FEW_IMAGES", "Score", "summarize"]

FEW_IMAGES = 10_000  # below which the bias of a Frechet distance is no longer small
DRAWN_POINTS = 3  # sizes of sample in each draw of the interval at infinity
MOST_FOR_KERNEL = 4096  # images whose kernel matrices are held for an interval

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Score:
    """A number and its interval; `low` and `high` are None where the number describes the set and is no estimate."""

    value: float
    low: float | None = None
    high: float | None = None


def summarize(
    arrays: Arrays,
    protocol: Protocol,
    *,
    levels: tuple[int, ...] | None,
    reference: Moments | None = None,
    reference_spatial: Moments | None = None,
    extrapolate: bool = False,
) -> dict[str, Score]:
    """Scores under their full names.

    Args:
        arrays: as `score_images` returns them; `reference` may have another number of rows where it is a set.
        levels: of the tokens, for codebook use.
        reference, reference_spatial: statistics, where the protocol names a file of them.
        extrapolate: also give the Frechet distance at infinity.
    """
    scores: dict[str, Score] = {}
    boot = protocol.bootstrap
    for name in ("psnr", "ssim", "ms_ssim", "l1", "lpips_vgg", "lpips_alex", "dreamsim", "perceptual"):
        if name in arrays:
            scores[protocol.label(name)] = mean_score(torch.from_numpy(arrays[name]), boot)
    if "features" in arrays:
        features = torch.from_numpy(arrays["features"])
        same = torch.from_numpy(arrays["reference"]) if "reference" in arrays else None
        paired = same if protocol.reference == "images" else None
        if protocol.reference == "set" and same is not None:
            reference = GaussianStatistics.of(same).moments()
        if "fd" in protocol.metrics:
            scores[protocol.label("fd")] = frechet_score(features, _given(paired, reference), boot)
            if extrapolate:
                scores[protocol.label("fd_infinity")] = infinity_score(features, _given(paired, reference), boot)
        if "kid" in protocol.metrics and same is not None:
            scores[protocol.label("kid")] = kernel_score(features, same, protocol)
        if "manifold" in protocol.metrics and same is not None:
            scores |= manifold_score(features, same, protocol)
    if "sfd" in protocol.metrics:
        held = torch.from_numpy(arrays["reference_spatial"]) if "reference_spatial" in arrays else None
        spatial = torch.from_numpy(arrays["spatial"])
        scores[protocol.label("sfd")] = frechet_score(spatial, _given(held, reference_spatial), boot)
    if "is" in protocol.metrics:
        scores[protocol.label("is")] = inception_interval(torch.from_numpy(arrays["logits"]), protocol)
    if "indices" in arrays and levels is not None:
        scores |= code_scores(torch.from_numpy(arrays["indices"]).long(), levels)
    if "tokens" in arrays:
        scores["tokens_per_image"] = Score(float(arrays["tokens"].mean()))
    if "bits" in arrays:
        pixels = protocol.image_size**2
        scores["bits_per_image"] = Score(float(arrays["bits"].mean()))
        scores["bits_per_pixel"] = Score(float(arrays["bits"].mean() / pixels))
    if "file_bits" in arrays:
        scores["file_bits_per_image"] = Score(float(arrays["file_bits"].mean()))
    return scores


def _given(features: Tensor | None, moments: Moments | None) -> Tensor | Moments:
    if features is not None:
        return features
    if moments is None:
        raise ValueError("this protocol compares with statistics: name their file with --reference")
    return moments


# --- one metric each -------------------------------------------------------------------------------------------------


def mean_score(values: Tensor, boot: Bootstrap) -> Score:
    """Mean over images, with the interval of resampled means; infinite where an image is reproduced exactly."""
    values = values.double()
    if not bool(values.isfinite().all()):
        return Score(float(values.mean()))
    draws = torch.stack([values[rows].mean() for rows in _resampled(len(values), boot, boot.draws)])
    return _score(float(values.mean()), draws, boot)


def frechet_score(features: Tensor, reference: Tensor | Moments, boot: Bootstrap) -> Score:
    """The distance; an image and its reconstruction are drawn together.

    Resampled sets have fewer distinct images and so a larger distance: the spread of the draws is put around the
    distance of the whole set.
    """

    def distance(rows: Tensor) -> float:
        return frechet_of_features(features[rows], reference if isinstance(reference, Moments) else reference[rows])

    count = len(features)
    whole = distance(torch.arange(count))
    draws = torch.tensor([distance(rows) for rows in _resampled(count, boot, boot.set_draws)], dtype=torch.float64)
    return _score(whole, draws, boot, recentre=True)


def infinity_score(features: Tensor, reference: Tensor | Moments, boot: Bootstrap) -> Score:
    """The Frechet distance at infinity, around which the spread of resampled sets is put, as in `frechet_score`.

    The interval covers which images there are, and which of them each point of the line is of. It does not cover that
    the line is bent where images are few. A draw's line goes through `DRAWN_POINTS` sizes: it scatters at least as much
    as one through fifteen, which would cost five times as long.
    """
    draws = [
        frechet_at_infinity(
            features[rows],
            reference if isinstance(reference, Moments) else reference[rows],
            points=DRAWN_POINTS,
            seed=boot.seed + number,
        )
        for number, rows in enumerate(_resampled(len(features), boot, boot.set_draws))
    ]
    value = frechet_at_infinity(features, reference, seed=boot.seed)
    return _score(value, torch.tensor(draws, dtype=torch.float64), boot, recentre=True)


def kernel_score(features: Tensor, reference: Tensor, protocol: Protocol) -> Score:
    """KID over the protocol's subsets. Its interval is that of the MMD of the first 4096 images, drawn by weights."""
    boot = protocol.bootstrap
    mean = kernel_distance(features, reference, subsets=protocol.kid_subsets, subset_size=protocol.kid_subset_size).mean
    count = min(len(features), len(reference), MOST_FOR_KERNEL)
    ours, theirs = features[:count].double(), reference[:count].double()
    within1, within2, across = cubic_kernel(ours, ours), cubic_kernel(theirs, theirs), cubic_kernel(ours, theirs)
    for kernel in (within1, within2):
        kernel.fill_diagonal_(0)
    values = []
    for rows in _resampled(count, boot, boot.set_draws):
        weights = torch.bincount(rows, minlength=count).double()  # an image beside its copy counts as one pair fewer
        pairs = weights.sum() ** 2 - weights.square().sum()
        inside = weights @ (within1 + within2) @ weights / pairs
        values.append(inside - 2 * (weights @ across @ weights) / weights.sum() ** 2)
    return _score(mean, torch.stack(values), boot, recentre=True)


def manifold_score(features: Tensor, reference: Tensor, protocol: Protocol) -> dict[str, Score]:
    """Precision, recall, density, coverage; the intervals take the balls as they are."""
    hits = manifold_hits(features, reference, k=protocol.neighbours, strict=protocol.strict)
    values = {
        "precision": hits.precise,
        "recall": hits.recalled,
        "density": hits.balls / protocol.neighbours,
        "coverage": hits.covered,
    }
    return {protocol.label(name): mean_score(each, protocol.bootstrap) for name, each in values.items()}


def inception_interval(logits: Tensor, protocol: Protocol) -> Score:
    """Inception score over the protocol's splits; the interval is of the same score of resampled images."""
    boot, seed = protocol.bootstrap, 2020 if protocol.shuffled else None

    def score(rows: Tensor) -> float:
        return inception_score(logits[rows], splits=protocol.splits, seed=seed).mean

    draws = [score(rows) for rows in _resampled(len(logits), boot, boot.set_draws)]
    return _score(score(torch.arange(len(logits))), torch.tensor(draws, dtype=torch.float64), boot, recentre=True)


def code_scores(indices: Tensor, levels: tuple[int, ...]) -> dict[str, Score]:
    """Share of the codes that came at all, perplexity, and entropy in bits of a token, means over slots.

    Args:
        indices: (N, L) or (N, L, D), -1 where a token does not count.
    """
    slots = indices.reshape(-1, len(levels))
    slots = slots[(slots >= 0).all(1)]
    usages = code_usage(slots.unsqueeze(0) if len(levels) > 1 else slots.view(1, -1), levels)
    return {
        "code_usage": Score(float(np.mean([usage.share for usage in usages]))),
        "code_perplexity": Score(float(np.mean([usage.perplexity for usage in usages]))),
        "code_entropy_bits": Score(sum(math.log2(usage.perplexity) for usage in usages)),
    }


# --- the bootstrap ---------------------------------------------------------------------------------------------------


def _resampled(count: int, boot: Bootstrap, draws: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(boot.seed)
    for _ in range(draws):
        yield torch.randint(count, (count,), generator=generator)


def _score(value: float, draws: Tensor, boot: Bootstrap, *, recentre: bool = False) -> Score:
    """The value with the quantiles of the draws; `recentre` moves these so that the draws' mean is the value."""
    if len(draws) < 2:
        return Score(value)
    tail = (1 - boot.level) / 2
    low, high = torch.quantile(draws, draws.new_tensor([tail, 1 - tail])).tolist()
    shift = value - float(draws.mean()) if recentre else 0.0
    return Score(value, low + shift, high + shift)
