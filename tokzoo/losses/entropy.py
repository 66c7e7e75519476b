"""Entropy of code assignments. N tokens, K codebook_size."""

from torch import Tensor


def entropy_loss(logits: Tensor) -> Tensor:
    """Mean entropy of a token's assignment minus entropy of the mean assignment, in nats. arXiv:2310.05737, eq. 5.

    Small where each token is sure of its code and all codes are used alike.

    Shapes:
        logits (N, K) -> scalar in [-log K, 0]
    """
    log_shares = logits.float().log_softmax(-1)
    shares = log_shares.exp()
    per_token = -(shares * log_shares).sum(-1).mean()
    mean = shares.mean(0)
    overall = -(mean * mean.clamp_min(1e-20).log()).sum()
    return per_token - overall
