"""How sure a classifier is of each image, and how many kinds of images there are. N images, K classes, D features."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo.metrics.kernel import Spread
from tokzoo.metrics.statistics import check_features

__all__ = ["inception_score", "vendi_score"]


def inception_score(logits: Tensor, *, splits: int = 10, seed: int | None = 2020) -> Spread:
    """exp of the mean KL divergence of each image's classes from those of its split. arXiv:1606.03498, section 4.

    Args:
        logits: (N, K); of Inception those without the bias, for the published numbers are of them.
        splits: parts of nearly equal size.
        seed: of the order before splitting, as torch-fidelity draws it; None keeps the order, as ADM does.

    Raises:
        ValueError: NaN, or fewer images than splits.
    """
    check_features(logits)
    count = len(logits)
    if count < splits:
        raise ValueError(f"{splits} splits need as many images at least; got {count}")
    order = range(count) if seed is None else np.random.RandomState(seed).permutation(count)
    log_shares = F.log_softmax(logits.double()[torch.tensor(order)], dim=1)
    scores = []
    for part in range(splits):
        rows = log_shares[part * count // splits : (part + 1) * count // splits]
        marginal = rows.exp().mean(0, keepdim=True).log()
        scores.append((rows.exp() * (rows - marginal)).sum(1).mean().exp())
    stacked = torch.stack(scores)
    return Spread(float(stacked.mean()), float(stacked.std(correction=0)))


def vendi_score(features: Tensor) -> float:
    """Effective number of kinds among features (N, D): exp of the entropy of their similarities. arXiv:2210.02410.

    The similarity is the cosine; N x N and D x D matrices have the same nonzero eigenvalues, the smaller is taken.
    """
    check_features(features)
    rows = F.normalize(features.double(), dim=1)
    product = rows @ rows.t() if len(rows) <= rows.shape[1] else rows.t() @ rows
    shares = torch.linalg.eigvalsh(product / len(rows)).clamp_min(0)
    return float(torch.special.entr(shares).sum().exp())
