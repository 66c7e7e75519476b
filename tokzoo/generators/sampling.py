"""From logits to a drawn token, and how guidance grows. B batch, V values of a token."""

import math
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["constant", "linear", "power_cosine"]


def check_knobs(*, guidance: float, temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises ValueError where a sampling knob is out of its range."""
    if not math.isfinite(guidance):
        raise ValueError(f"guidance must be a finite number, 1 = off; got {guidance}")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"temperature must be 0 (argmax) or positive; got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, or None to keep all; got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1]; got {top_p}. For the likeliest token alone use temperature=0")


def guide(logits: Tensor, guidance: float) -> Tensor:
    """Logits (2B, V), the conditional half first, -> (B, V): u + guidance * (c - u). arXiv:2207.12598, eq. 6."""
    conditional, unconditional = logits.chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def guidance_at(share: float, guidance: float, schedule: Schedule, power: float = 1.0) -> float:
    """Guidance when `share` in [0, 1) of the steps is done: it grows from 1 (off), unless constant.

    power_cosine is 1 + (guidance - 1) * (1 - cos(pi * share^power)) / 2, of RAR (arXiv:2411.00776) and MDT
    (arXiv:2303.14389).
    """
    grown = {"constant": 1.0, "linear": share, "power_cosine": (1 - math.cos(math.pi * share**power)) / 2}
    if schedule not in grown:
        raise ValueError(f"the guidance schedule must be one of {', '.join(grown)}; got {schedule!r}")
    return 1 + (guidance - 1) * grown[schedule]


def keep_likely(logits: Tensor, *, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Logits (..., V) with -inf where a token is not among the `top_k` (ties stay), then outside of `top_p`.

    top_p keeps the fewest tokens of which the mass exceeds it, the one that crosses included. arXiv:1904.09751.
    """
    if top_k is not None and top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[..., -1:], -torch.inf)
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        mass = ordered.softmax(-1).cumsum(-1)
        dropped = torch.cat([torch.zeros_like(mass[..., :1]), mass[..., :-1]], dim=-1) > top_p
        logits = logits.masked_fill(torch.zeros_like(dropped).scatter(-1, order, dropped), -torch.inf)
    return logits


def draw(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A token per row of logits (..., V), int64 (...); temperature 0 takes the likeliest.

    argmax(p / e), e exponential, is distributed as p, and waits for nothing on the host.
    """
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = keep_likely(logits / temperature, top_k=top_k, top_p=top_p).softmax(-1)
    waits = torch.empty_like(probabilities).exponential_(generator=generator)
    return (probabilities / waits).argmax(-1)
