"""Ways along a flow from noise to a picture. A velocity is asked by the number of a moment in the schedule."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor

Velocity = Callable[[Tensor, int], Tensor]  # (place, number of the moment) -> d place / dt
Sampler = Literal["euler", "heun"]


def even_times(steps: int) -> tuple[float, ...]:
    """`steps` equal steps from 1 (noise) to 0 (picture): steps + 1 moments.

    Raises:
        ValueError: fewer than 1 step.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1; got {steps!r}")
    return tuple(number / steps for number in range(steps, -1, -1))


def shifted_times(steps: int, shift: float) -> tuple[float, ...]:
    """The same bent towards noise by a `shift` above 1, for few steps: s t / (1 + (s - 1) t). arXiv:2403.03206, eq. 23.

    Raises:
        ValueError: fewer than 1 step, or a shift that is not positive.
    """
    if shift <= 0:
        raise ValueError(f"shift must be positive; got {shift}")
    return tuple(shift * time / (1 + (shift - 1) * time) for time in even_times(steps))


def schedule(steps: int | Sequence[float]) -> tuple[float, ...]:
    """A count of even steps, or falling moments from 1 to 0, as moments.

    Raises:
        ValueError: fewer than 1 step, or moments that do not fall from 1 to 0.
    """
    if isinstance(steps, int):
        return even_times(steps)
    times = tuple(float(time) for time in steps)
    falls = all(later < earlier for earlier, later in pairwise(times))
    if len(times) < 2 or times[0] != 1 or times[-1] != 0 or not falls:
        raise ValueError(f"a schedule must fall from 1 to 0 in at least 1 step; got {times}")
    return times


def euler(velocity: Velocity, noise: Tensor, times: Sequence[float]) -> Tensor:
    """One velocity a step, at its beginning."""
    place = noise
    for number in range(len(times) - 1):
        place = place + (times[number + 1] - times[number]) * velocity(place, number)
    return place


def heun(velocity: Velocity, noise: Tensor, times: Sequence[float]) -> Tensor:
    """The mean of two velocities a step, at its beginning and where that one leads: error of second order."""
    place = noise
    for number in range(len(times) - 1):
        length = times[number + 1] - times[number]
        first = velocity(place, number)
        place = place + length / 2 * (first + velocity(place + length * first, number + 1))
    return place


SAMPLERS: dict[Sampler, Callable[[Velocity, Tensor, Sequence[float]], Tensor]] = {"euler": euler, "heun": heun}
