"""Entropy of code assignments. N tokens, K codebook_size, C channels, g bits."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_VALUES = 2**22  # of an assignment held at once: 16 MiB


class Entropy(NamedTuple):
    """In nats: the mean `per_token` entropy of an assignment, and the entropy of the mean assignment, `overall`."""

    per_token: Tensor
    overall: Tensor

    @property
    def loss(self) -> Tensor:
        """Small where each token is sure of its code and all codes are used alike. arXiv:2310.05737, eq. 5."""
        return self.per_token - self.overall


def entropy_loss(logits: Tensor) -> Tensor:
    """Mean entropy of a token's assignment minus entropy of the mean assignment, in nats. arXiv:2310.05737, eq. 5.

    Shapes:
        logits (N, K) -> scalar in [-log K, 0]
    """
    log_shares = logits.float().log_softmax(-1)
    shares = log_shares.exp()
    per_token = -(shares * log_shares).sum(-1).mean()
    return per_token - _entropy_of(shares.mean(0))


def codebook_entropy(points: Tensor, rows: Tensor, bias: Tensor | None = None) -> Entropy:
    """Entropy of softmax(points rows' + bias) over the rows, which is never held whole: it is made twice, in pieces.

    Shapes:
        points (N, C), rows (K, C), bias (K,) or None, float32 -> two scalars, with gradients to all three
    """
    bias = rows.new_zeros(len(rows)) if bias is None else bias
    return Entropy(*_CodebookEntropy.apply(points, rows, bias))


class _CodebookEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, rows: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        mean = rows.new_zeros(len(rows))
        total = rows.new_zeros(())
        for part in points.split(_rows_at_once(len(rows))):
            logits = torch.addmm(bias, part, rows.t())
            shares = logits.softmax(-1)
            mean += shares.sum(0)
            total += logits.logsumexp(-1).sum() - (shares * logits).sum()
        count = max(1, len(points))
        mean /= count
        ctx.save_for_backward(points, rows, bias, mean)
        return total / count, _entropy_of(mean)

    @staticmethod
    def backward(ctx: Any, for_token: Tensor, for_overall: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        points, rows, bias, mean = ctx.saved_tensors
        count = max(1, len(points))
        rarity = -(mean.clamp_min(1e-20).log() + 1)  # d overall / d mean
        to_points, to_rows, to_bias = [], torch.zeros_like(rows), torch.zeros_like(bias)
        for part in points.split(_rows_at_once(len(rows))):
            log_shares = torch.addmm(bias, part, rows.t()).log_softmax(-1)
            slope = (for_overall * rarity - for_token * log_shares) / count  # d loss / d share, up to a constant
            shares = log_shares.exp_()
            slope -= (shares * slope).sum(-1, keepdim=True)
            slope *= shares  # d loss / d logit
            to_points.append(slope @ rows)
            to_rows.addmm_(slope.t(), part)
            to_bias += slope.sum(0)
        return torch.cat(to_points), to_rows, to_bias


def bit_entropy(logits: Tensor) -> Entropy:
    """Entropy over all 2^g words of g bits that a token draws independently, P(bit k) = sigmoid(logits_k).

    A softmax over sign codes is such a draw: its distribution is a product, so a token's entropy is a sum over bits,
    and the mean over tokens is one product of two tables of 2^(g/2) columns. Neither the words nor (N, 2^g) is made.

    Shapes:
        logits (N, g), float32 -> two scalars
    """
    chances = logits.sigmoid()
    per_token = (F.softplus(logits) - logits * chances).sum(-1).mean() if len(logits) else logits.sum()
    half = logits.shape[-1] // 2
    total = logits.new_zeros(2**half, 2 ** (logits.shape[-1] - half))
    for part in logits.split(_rows_at_once(max(total.shape))):
        total = total + checkpoint(_joint, part, half, use_reentrant=False)
    return Entropy(per_token, _entropy_of(total.flatten() / max(1, len(logits))))


def _joint(logits: Tensor, half: int) -> Tensor:
    """Sum over tokens of the chances of all words: (2^half, 2^(g - half))."""
    return _words(logits[:, :half]).t() @ _words(logits[:, half:])


def _words(logits: Tensor) -> Tensor:
    """Chances of all words of some bits: (N, g) -> (N, 2^g)."""
    words = logits.new_ones(len(logits), 1)
    for on, off in zip(logits.sigmoid().unbind(-1), (-logits).sigmoid().unbind(-1), strict=True):
        words = torch.cat([words * off.unsqueeze(-1), words * on.unsqueeze(-1)], dim=-1)
    return words


def _entropy_of(shares: Tensor) -> Tensor:
    return -(shares * shares.clamp_min(1e-20).log()).sum()


def _rows_at_once(columns: int) -> int:
    return max(1, CHUNK_VALUES // columns)
