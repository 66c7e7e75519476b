"""What a generator is told: a class, or a text. B batch, T tokens of text, C channels."""

from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor


class Text(NamedTuple):
    """What a text-conditional generator reads: `features` (B, T, C), and `valid` (B, T), bool, which of them count."""

    features: Tensor
    valid: Tensor


Condition = Tensor | Text
Labels = int | Sequence[int] | Tensor | Text


def size(condition: Condition) -> int:
    """Samples."""
    return len(condition.features) if isinstance(condition, Text) else len(condition)


def repeat(condition: Condition, count: int) -> Condition:
    """Each sample `count` times, together."""
    if not isinstance(count, Integral) or count < 1:
        raise ValueError(f"num_samples must be a whole number from 1 on; got {count!r}")
    if isinstance(condition, Text):
        return Text(*(part.repeat_interleave(count, 0) for part in condition))
    return condition.repeat_interleave(count, 0)


def part_of(condition: Condition, rows: slice) -> Condition:
    """Some of the samples."""
    return Text(*(part[rows] for part in condition)) if isinstance(condition, Text) else condition[rows]


def join(first: Condition, second: Condition) -> Condition:
    """Both in one batch."""
    if isinstance(first, Text) and isinstance(second, Text):
        return Text(*(torch.cat([one, other]) for one, other in zip(first, second, strict=True)))
    if isinstance(first, Text) or isinstance(second, Text):
        raise unlike()
    return torch.cat([first, second])


def unlike() -> ValueError:
    """Of two conditions that are no pair."""
    return ValueError("one condition is of text, the other of class labels; both must be of the same kind")


def drop(condition: Condition, null: Condition, share: float, generator: torch.Generator | None) -> Condition:
    """`null` in place of a share of the samples, chosen at random."""
    features = condition.features if isinstance(condition, Text) else condition
    chosen = torch.rand(len(features), device=features.device, generator=generator) < share
    if isinstance(condition, Text) and isinstance(null, Text):
        return Text(torch.where(chosen[:, None, None], null.features, condition.features), condition.valid)
    if isinstance(condition, Text) or isinstance(null, Text):
        raise unlike()
    return torch.where(chosen, null, condition)
