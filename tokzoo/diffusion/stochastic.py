"""Ways from noise to a picture that keep adding noise. B batch."""

from collections.abc import Callable

import torch
from torch import Tensor

START, LAST = 1e-3, 0.04  # the first moment, as none of the noise would be infinite; length of the last step


def stochastic(
    velocity: Callable[[Tensor, float], Tensor],
    noise: Tensor,
    steps: int,
    *,
    start: float = START,
    last: float = LAST,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Euler-Maruyama along a straight line whose moments rise from 0, noise, to 1. SiT, arXiv:2401.08740, section 2.4.

    The diffusion is that of score-based models, w = (1 - t) / t, and the score that of the velocity,
    (t v - x) / (1 - t). The last step, of length `last`, goes to the mean.

    Args:
        velocity: (place, moment) -> d place / dt.
        noise: (B, ...), where the way begins.
        steps: velocities that are asked, at least 2.

    Raises:
        ValueError: fewer than 2 steps.
    """
    if steps < 2:
        raise ValueError(f"a stochastic way has at least 2 steps, the last to the mean; got {steps}")
    place, length = noise, (1 - last - start) / (steps - 1)
    for number in range(steps - 1):
        moment = start + number * length
        fresh = torch.randn(place.shape, device=place.device, generator=generator)
        spread = (2 * (1 - moment) / moment * length) ** 0.5
        place = place + length * _drift(velocity, place, moment) + spread * fresh
    return place + last * _drift(velocity, place, 1 - last)


def _drift(velocity: Callable[[Tensor, float], Tensor], place: Tensor, moment: float) -> Tensor:
    at = velocity(place, moment)
    score = (moment * at - place) / (1 - moment)
    return at + (1 - moment) / moment * score
