"""The contract of conditions. B batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import torch
from torch import Tensor, nn

Part = Literal["encode", "decode"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Something that a tokenizer's `encode` or `decode` needs besides pixels.

    Args:
        shape: its sizes after the batch dimension; None where any size does.
        what: what it is, as an error says it.
        parts: who reads it.
        prepared: `tok.prepare(images)` makes it of the pixels alone; `encode` does so where it is not given.
        helper: `module:Class` of the frozen network that computes it, or None.
        exact: it keeps its dtype whatever the model computes in, as what is measured in metres or pixels.
    """

    shape: tuple[int | None, ...]
    what: str
    parts: tuple[Part, ...] = ("decode",)
    prepared: bool = False
    helper: str | None = None
    exact: bool = False


class ConditionHelper(nn.Module):
    """A frozen network that computes a condition. It is never part of a tokenizer, nor of its state dict.

    Built without arguments; its weights come from where its authors publish them.
    """

    __call__: Callable[..., Tensor]

    def condition(self, images: Tensor, captions: Sequence[str] | None = None) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], and a caption for each if there are any -> the condition (B, ...)."""
        raise TypeError(f"{type(self).__name__} must define condition")


def helpers_of(conditions: Mapping[str, Condition]) -> dict[str, ConditionHelper]:
    """The helpers of those conditions that have one, frozen, by name. Give them `.to(device)` and images.

    Raises:
        ImportError: a helper's package is missing; the message names the extra.
    """
    found = {}
    for name, condition in conditions.items():
        if condition.helper is not None:
            module, _, helper = condition.helper.partition(":")
            found[name] = getattr(import_module(module), helper)().eval().requires_grad_(False)
    return found


def check_computable(known: Mapping[str, Condition]) -> None:
    """Refuses what needs more than pixels where pictures are all that there is.

    Raises:
        ValueError: a condition that nothing computes from pictures.
    """
    given = {name: each.what for name, each in known.items() if not (each.prepared or each.helper)}
    if given:
        told = "; ".join(f"{name}, {what}" for name, what in given.items())
        call = ", ".join(f"{name}=..." for name in given)
        raise ValueError(
            f"this tokenizer needs {' and '.join(given)}, which pictures alone do not tell: {told}. "
            f"In Python give it: tok.encode(images, {call})"
        )


def noise_for(known: Mapping[str, Condition], count: int, *, any_size: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """Normal noise in the shape of each condition that is not prepared: stands in for it in timings and tests."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: condition.shape for name, condition in known.items() if not condition.prepared}
    return {
        name: torch.randn(count, *(any_size if size is None else size for size in shape), generator=generator)
        for name, shape in shapes.items()
    }


def pick(
    known: Mapping[str, Condition], given: Mapping[str, Tensor], part: Part, *, count: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Those conditions that `part` reads, checked; what is floating-point is cast to `dtype`, unless it is exact.

    Raises:
        TypeError: a name that the tokenizer does not know, or no tensor.
        ValueError: a condition is missing, or has another shape than (count, *shape).
    """
    strangers = sorted(given.keys() - known.keys())
    if strangers:
        takes = f"its conditions are {', '.join(known)}" if known else "it needs nothing but pixels"
        raise TypeError(f"this tokenizer takes no {', '.join(strangers)}: {takes}")
    picked = {}
    for name, condition in known.items():
        if part not in condition.parts:
            continue
        if name not in given:
            raise ValueError(f"{part} needs {name}=, {_shape(condition, count)}: {condition.what}")
        value = given[name]
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, {condition.what}; got {type(value).__name__}")
        wanted = (count, *condition.shape)
        if value.ndim != len(wanted) or any(
            size not in (None, got) for size, got in zip(wanted, value.shape, strict=True)
        ):
            raise ValueError(f"{name} must be {_shape(condition, count)}, {condition.what}; got {tuple(value.shape)}")
        picked[name] = value.to(dtype) if value.is_floating_point() and not condition.exact else value
    return picked


def _shape(condition: Condition, count: int) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in (count, *condition.shape))})"
