"""How far a depth map is from another. B batch, H W pixels; depth in metres, above 0 where `valid`."""

import torch
from torch import Tensor

LEAST = 1e-3  # metres: what is nearer, or was painted by nothing, counts as this


def scale_invariant_log(depth: Tensor, wanted: Tensor, valid: Tensor, *, share: float = 0.85) -> Tensor:
    """Mean square of log ratios less `share` of their squared mean, over valid pixels. arXiv:1406.2283, eq. 4.

    Shapes:
        depth, wanted, valid (B, H, W), the last bool -> a scalar, the mean over the batch
    """
    ratio = torch.where(valid, depth.clamp_min(LEAST).log() - torch.where(valid, wanted, 1.0).log(), 0.0)
    count = valid.sum((1, 2)).clamp_min(1)
    mean = ratio.sum((1, 2)) / count
    return (ratio.square().sum((1, 2)) / count - share * mean.square()).mean()


def spread_likelihood(depth: Tensor, spread: Tensor, wanted: Tensor, valid: Tensor, *, floor: float = 0.01) -> Tensor:
    """Minus the log density of the wanted depth where it is Laplace around `depth`, up to a constant.

    Both errors and deviations are shares of the wanted depth. It makes Gaussians as thin as they lie near the surface,
    but no thinner than `floor`.

    Shapes:
        depth (B, H, W), spread (B, H, W) variance in square metres, wanted, valid -> a scalar
    """
    wanted = torch.where(valid, wanted, 1.0)
    deviation = (spread / wanted.square() + floor**2).sqrt()
    cost = (depth - wanted).abs() / wanted / deviation + (deviation / floor).log()
    return torch.where(valid, cost, 0.0).sum() / valid.sum().clamp_min(1)
