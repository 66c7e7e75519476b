"""From logits to a drawn token, and how guidance grows. B batch, V values of a token."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, Self

import torch
from torch import Tensor

Schedule = Literal["constant", "linear", "power_cosine"]


def is_whole(value: object, *, least: int = 1) -> bool:
    """Whether it is a whole number, and large enough."""
    return isinstance(value, Integral) and int(value) >= least


def is_finite(value: object) -> bool:
    """Whether it is a number, neither NaN nor without end."""
    return isinstance(value, Real) and math.isfinite(value)


def check_knobs(*, guidance: float, temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises ValueError where a sampling knob is out of its range."""
    if not is_finite(guidance):
        raise ValueError(f"guidance must be a finite number, 1 = off; got {guidance!r}")
    if not is_finite(temperature) or temperature < 0:
        raise ValueError(f"temperature must be 0 (argmax) or positive; got {temperature!r}")
    if top_k is not None and not is_whole(top_k):
        raise ValueError(f"top_k must be a whole number from 1 on, or None to keep all; got {top_k!r}")
    if top_p is not None and not (is_finite(top_p) and 0 < top_p <= 1):
        raise ValueError(f"top_p must be in (0, 1]; got {top_p!r}. For the likeliest token alone use temperature=0")


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


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """How a token is drawn from the logits of a model.

    Args:
        guidance: u + guidance * (c - u) on logits, 1 = off.
        guidance_schedule, guidance_power: how it grows while a sample is made, as `guidance_at` says.
        temperature: divides logits; 0 takes the likeliest token.
        top_k, top_p: of these tokens only.

    Raises:
        ValueError: a number out of its range.
    """

    guidance: float = 1.0
    guidance_schedule: Schedule = "constant"
    guidance_power: float = 1.0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    @classmethod
    def read(cls, knobs: Mapping[str, Any]) -> Self:
        """Knobs by name.

        Raises:
            TypeError: one that there is not. ValueError: a number out of its range.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(knobs) - set(known))
        if unknown:
            raise TypeError(f"no knob of this generator is called {', '.join(unknown)}; there are {', '.join(known)}")
        return cls(**knobs)

    def __post_init__(self) -> None:
        check_knobs(guidance=self.guidance, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
        if not is_finite(self.guidance_power) or self.guidance_power < 0:
            raise ValueError(f"guidance_power must be 0 or positive; got {self.guidance_power!r}")
        self.guidance_at(0.0)

    @property
    def guided(self) -> bool:
        """Whether a model is asked twice, with and without its condition."""
        return self.guidance != 1

    def guidance_at(self, share: float) -> float:
        """Guidance when `share` of the sample is done."""
        return guidance_at(share, self.guidance, self.guidance_schedule, self.guidance_power)

    def draw(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """A token per row of logits (..., V), int64 (...)."""
        return draw(logits, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, generator=generator)


@dataclass(frozen=True, kw_only=True)
class Sampling(Knobs):
    """Tokens one after another; of them, `guided_tokens` first ones are guided, by default all."""

    guided_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guided_tokens is not None and not is_whole(self.guided_tokens, least=0):
            raise ValueError(f"guided_tokens must be a whole number from 0 on, or None; got {self.guided_tokens!r}")

    def guide(self, logits: Tensor, step: int, length: int) -> Tensor:
        """Logits (2B, V) of token `step` of `length` -> (B, V); those of B samples stay where nothing is guided."""
        if not self.guided:
            return logits
        off = self.guided_tokens is not None and step >= self.guided_tokens
        scale = self.guidance_at(step / length)
        return logits.chunk(2)[0] if off or scale == 1 else guide(logits, scale)


def score(logits: Tensor, indices: Tensor) -> Tensor:
    """Logits (B, L, V) and indices (B, L) -> log p of each, (B, L)."""
    return logits.log_softmax(-1).gather(-1, indices.unsqueeze(-1)).squeeze(-1)


STOP_WINDOW = 8  # tokens over which uncertainty is averaged


def entropy(logits: Tensor) -> Tensor:
    """Of the distributions (..., V), in nats, (...)."""
    logs = logits.log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


def first_uncertain(entropies: Tensor, bound: float) -> Tensor:
    """How many tokens come before the mean entropy of the last 8 exceeds `bound`, at least 1: (B, L) -> int64 (B,).

    Before the eighth token it is the mean of those that there are.
    """
    sums = entropies.cumsum(1)
    window = sums - torch.nn.functional.pad(sums, (STOP_WINDOW, 0))[:, : sums.shape[1]]
    counts = torch.arange(1, sums.shape[1] + 1, device=sums.device).clamp(max=STOP_WINDOW)
    sure = (window / counts <= bound).int().cumprod(1).sum(1)
    return sure.clamp(min=1)
