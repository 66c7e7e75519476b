"""Structural similarity in the forms that tokenizer papers use. B batch, C channels, H W pixels."""

from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo._torchvision import import_with_torchvision

__all__ = ["SSIM_CLASSIC", "SSIM_TORCHMETRICS", "SSIM_UNIFORM", "SsimRule", "ms_ssim", "ssim"]

LUMA = (0.299, 0.587, 0.114)
MS_SSIM_LEAST_SIDE = 161  # five scales of an 11-pixel window


@dataclass(frozen=True, kw_only=True)
class SsimRule:
    """What differs between implementations; on noise their values differ by 0.03.

    Args:
        window: Gaussian of standard deviation 1.5, or uniform.
        taps: pixels of the window's side.
        border: keep only positions whose window lies in the image, or reflect the image and keep all.
        sample_covariance: divide by n - 1.
    """

    window: Literal["gaussian", "uniform"] = "gaussian"
    taps: int = 11
    border: Literal["valid", "reflect"] = "valid"
    sample_covariance: bool = False


SSIM_CLASSIC = SsimRule()  # Wang et al. 2004; scikit-image with gaussian_weights; the video metrics' repositories
SSIM_TORCHMETRICS = SsimRule(border="reflect")
SSIM_UNIFORM = SsimRule(window="uniform", taps=7, sample_covariance=True)  # scikit-image's default


def ssim(images: Tensor, reference: Tensor, *, rule: SsimRule = SSIM_CLASSIC, grey: bool = False) -> Tensor:
    """SSIM of each image, mean over positions and channels, for a range of 1. Wang et al. 2004, equation 13.

    Args:
        grey: of the luma instead of the channels.

    Shapes:
        images, reference (B, 3, H, W) in [0, 1] -> float32 (B,)

    Raises:
        ValueError: images of two shapes, or smaller than the window.
    """
    if images.shape != reference.shape or images.ndim != 4:
        raise ValueError(
            f"SSIM compares images (B, C, H, W) of one shape; got {tuple(images.shape)} and {tuple(reference.shape)}"
        )
    if min(images.shape[2:]) < rule.taps:
        raise ValueError(f"an SSIM window of {rule.taps} pixels does not fit images of {tuple(images.shape[2:])}")
    pair = torch.cat([images, reference]).float()
    if grey:
        pair = (pair * pair.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    ours, theirs = pair.chunk(2)
    maps = torch.cat([ours, theirs, ours * ours, theirs * theirs, ours * theirs])
    mean1, mean2, square1, square2, product = _windowed(maps, rule).chunk(5)
    norm = rule.taps**2 / (rule.taps**2 - 1) if rule.sample_covariance else 1.0
    spread1 = norm * (square1 - mean1 * mean1).clamp_min(0)
    spread2 = norm * (square2 - mean2 * mean2).clamp_min(0)
    together = norm * (product - mean1 * mean2)
    c1, c2 = 0.01**2, 0.03**2
    light = (2 * mean1 * mean2 + c1) / (mean1 * mean1 + mean2 * mean2 + c1)
    structure = (2 * together + c2) / (spread1 + spread2 + c2)
    return (light * structure).flatten(1).mean(1)


def _windowed(maps: Tensor, rule: SsimRule) -> Tensor:
    """Weighted mean around each position, one axis after the other: products with banded matrices.

    On a CPU they take a tenth of the time that convolutions of a single channel take.
    """
    line = torch.ones(rule.taps)
    if rule.window == "gaussian":
        places = torch.arange(rule.taps) - (rule.taps - 1) / 2
        line = torch.exp(-places.square() / (2 * 1.5**2))
    line = line / line.sum()
    if rule.border == "reflect":
        maps = F.pad(maps, (rule.taps // 2,) * 4, mode="reflect")
    down, across = (_band(line, side).to(maps) for side in maps.shape[2:])
    return down @ maps @ across.t()


def _band(line: Tensor, side: int) -> Tensor:
    """(side - taps + 1, side): in each row the weights `line` (taps,), one place further on."""
    rows = side - len(line) + 1
    band = torch.zeros(rows, side)
    places = torch.arange(rows).unsqueeze(1) + torch.arange(len(line))
    return band.scatter_(1, places, line.expand(rows, -1))


def ms_ssim(images: Tensor, reference: Tensor) -> Tensor:
    """Multi-scale SSIM of each image as torchmetrics computes it, for a range of 1. Wang et al. 2003.

    Shapes:
        images, reference (B, 3, H, W) in [0, 1], sides of 161 pixels at least -> float32 (B,)

    Raises:
        ImportError: torchmetrics is missing.
        ValueError: images too small for five scales.
    """
    if min(images.shape[2:]) < MS_SSIM_LEAST_SIDE:
        raise ValueError(
            f"MS-SSIM's five scales need sides of {MS_SSIM_LEAST_SIDE} pixels; got {tuple(images.shape[2:])}. "
            "Enlarging would measure the enlargement: leave it out at this size."
        )
    try:
        functional = import_with_torchvision("torchmetrics.functional.image")
    except ModuleNotFoundError as error:
        raise ImportError("MS-SSIM needs torchmetrics: pip install 'tokzoo[eval]'") from error
    values = functional.multiscale_structural_similarity_index_measure(
        images.float(), reference.float(), data_range=1.0, reduction="none"
    )
    return cast(Tensor, values)
