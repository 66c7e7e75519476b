"""What MaskGen is told: a text, and how beautiful its picture is to be. B batch, T tokens of text, C channels."""

from typing import NamedTuple

import torch
from torch import Tensor

from tokzoo.generators.conditions import Text

SCORE = 6.5  # what the authors ask for


class Caption(NamedTuple):
    """CLIP's text tower of a caption. arXiv:2501.07730.

    `features` (B, T, C) are of the last block but one, without the final norm; `pooled` (B, C) is of the last, normed,
    at the end of the text, projected; `score` is an aesthetic score of about 4 to 7, one for all or (B,). `last`
    (B, T, C) is all of the last block, normed: TA-TiTok's decoder reads it, the generator does not.
    """

    features: Tensor
    pooled: Tensor
    score: float | Tensor = SCORE
    last: Tensor | None = None


def packed(caption: Caption, like: Tensor) -> Text:
    """As generators pass conditions on: `features` (B, T + 1, C), the pooled row last; in place of `valid` the scores.

    CLIP's texts are read whole, so that they need no `valid`.
    """
    features = torch.cat([caption.features, caption.pooled.unsqueeze(1)], dim=1).to(like)
    score = torch.as_tensor(caption.score, device=like.device, dtype=torch.float32)
    return Text(features, score.expand(len(features)))


def stacked_waves(score: Tensor, dim: int) -> Tensor:
    """(B,) -> (B, dim): sines, then cosines, of 100 * score at 1000 ** -(i / (dim / 2)). The discrete kind's."""
    angles = 100 * score[:, None] * 1000 ** -(torch.arange(dim // 2, device=score.device) / (dim // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def paired_waves(score: Tensor, dim: int) -> Tensor:
    """(B,) -> (B, dim): sine and cosine in turn, of 100 * score at 10000 ** -(2 i / dim). The continuous kind's."""
    angles = 100 * score[:, None] * 10_000 ** -(torch.arange(0, dim, 2, device=score.device) / dim)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
