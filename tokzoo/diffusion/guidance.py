"""Two velocities, with and without the condition, to one that heeds it more. B batch; (B, C, h, w) each."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

Strength = float | Callable[[float], float]  # one for all moments, or by the moment
Guidance = Literal["cfg", "apg"]

DIMS = (1, 2, 3)


class ClassifierFreeGuidance:
    """u + s (c - u): 1 leaves the conditional velocity as it is. arXiv:2207.12598."""

    def __call__(self, conditional: Tensor, unconditional: Tensor, strength: float) -> Tensor:
        return unconditional + strength * (conditional - unconditional)


class ProjectedGuidance:
    """Adaptive projected guidance, which keeps colours sane where s is large. arXiv:2410.02416, section 4.

    c + (s - 1) d, where d is the difference c - u with `momentum` over the calls so far (negative: what was pushed
    before is pushed less), cut to a length of `longest` over the picture, less its part along c. One per run: it
    remembers. The authors project in float64; float32 is what every device has.

    Args:
        along: how much of the part along c stays.
    """

    def __init__(self, *, momentum: float = -0.5, longest: float = 2.5, along: float = 0.0):
        self.momentum = momentum
        self.longest = longest
        self.along = along
        self.before: Tensor | None = None

    def __call__(self, conditional: Tensor, unconditional: Tensor, strength: float) -> Tensor:
        push = conditional - unconditional
        if self.before is not None:
            push = push + self.momentum * self.before
        self.before = push
        length = push.square().sum(DIMS, keepdim=True).sqrt()
        push = push * (self.longest / length.clamp(min=self.longest))
        norm = conditional.square().sum(DIMS, keepdim=True).clamp(min=1e-24)
        parallel = (push * conditional).sum(DIMS, keepdim=True) / norm * conditional
        return conditional + (strength - 1) * (push + (self.along - 1) * parallel)


GUIDANCE: dict[Guidance, Callable[[], Callable[[Tensor, Tensor, float], Tensor]]] = {
    "cfg": ClassifierFreeGuidance,
    "apg": ProjectedGuidance,
}


def strengths(guidance: Strength, times: tuple[float, ...]) -> tuple[float, ...]:
    """The strength at each moment.

    Raises:
        ValueError: one below 0, or no number.
    """
    found = tuple(float(guidance(time)) if callable(guidance) else float(guidance) for time in times)
    if not all(strength >= 0 for strength in found):
        raise ValueError(f"guidance must be at least 0 (1 is off); got {min(found)}")
    return found
