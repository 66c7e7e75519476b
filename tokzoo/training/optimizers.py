"""Which parameters learn, by which optimizer, and how fast."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tokzoo.training.config import OptimizerConfig

UNDECAYED = ("norm", "bias", "position", "quer", "token", "codebook", "embed")


def freeze(tok: nn.Module, *, keep: tuple[str, ...], drop: tuple[str, ...]) -> None:
    """Lets only parameters learn whose names begin with one of `keep` and none of `drop`.

    Raises:
        ValueError: a prefix in `drop` that names no parameter, or nothing left to learn.
    """
    names = [name for name, _ in tok.named_parameters()]
    for prefix in drop:
        if not any(name.startswith(prefix) for name in names):
            raise ValueError(
                f"freeze={prefix!r} names no parameter; names begin with {sorted({n.split('.')[0] for n in names})}"
            )
    for name, parameter in tok.named_parameters():
        parameter.requires_grad_(name.startswith(keep) and not (drop and name.startswith(drop)))
    if not any(parameter.requires_grad for parameter in tok.parameters()):
        raise ValueError("every parameter is frozen: nothing is left to learn")


def build_optimizers(
    tok: nn.Module, config: OptimizerConfig, beside: Sequence[nn.Parameter] = ()
) -> list[torch.optim.Optimizer]:
    """AdamW over what learns, and Muon over the matrices of transformer blocks where the config gives it a rate.

    AdamW has two groups: matrices decay; vectors, tables and tokens do not. A group's `share` is its rate over `lr`.

    Args:
        tok: the model.
        config: rates and decay.
        beside: parameters that learn with the model and are not its own: an objective's. They are a third group.
    """
    learning = {name: value for name, value in tok.named_parameters() if value.requires_grad}
    plain_ = {name for name, value in learning.items() if value.ndim < 2 or any(word in name for word in UNDECAYED)}
    in_blocks = {name for name, value in learning.items() if value.ndim == 2 and "blocks." in name} - plain_
    by_muon = in_blocks if config.muon_lr is not None else set()
    decayed = [value for name, value in learning.items() if name not in plain_ | by_muon]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": [value for name, value in learning.items() if name in plain_], "weight_decay": 0.0},
    ]
    if beside:
        groups.append({"params": list(beside), "weight_decay": config.weight_decay})
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)]
    if config.muon_lr is not None and by_muon:
        matrices = [value for name, value in learning.items() if name in by_muon]
        # its updates are scaled to the size of AdamW's, so that rates and decay compare
        scale = {"adjust_lr_fn": "match_rms_adamw", "weight_decay": config.weight_decay}
        optimizers.append(torch.optim.Muon(matrices, lr=config.muon_lr, **scale))  # type: ignore[arg-type]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["share"] = group["lr"] / config.lr
    return optimizers


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Linear warm-up, then half a cosine down to `min_lr`."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    share = (step - config.warmup) / max(1, steps - config.warmup)
    return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * min(1.0, share))) / 2
