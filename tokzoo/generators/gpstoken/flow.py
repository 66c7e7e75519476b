"""A flow that heeds a class, learned and followed: of layouts and of textures. B batch, N tokens, C channels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tokzoo.diffusion.flow import interpolate
from tokzoo.diffusion.guidance import ClassifierFreeGuidance
from tokzoo.diffusion.samplers import SAMPLERS, even_times
from tokzoo.diffusion.stochastic import stochastic

Method = Literal["stochastic", "euler", "heun"]
Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]  # place (B, N, C), times (B,), classes (B,) -> (B, N, C)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a flow is followed from noise, moment 0, to tokens, moment 1.

    Args:
        num_steps: velocities that are asked.
        method: `stochastic`, as published; `euler` and `heun` follow the flow alone, without fresh noise.
        guidance: u + guidance * (c - u), 1 = off; from moment `guided_from` on.

    Raises:
        ValueError: another method.
    """

    num_steps: int
    method: Method
    guidance: float = 1.0
    guided_from: float = 0.0

    def __post_init__(self) -> None:
        if self.method != "stochastic" and self.method not in SAMPLERS:
            raise ValueError(f"method must be stochastic, euler or heun; got {self.method!r}")

    def follow(
        self,
        velocity: Velocity,
        noise: Tensor,
        classes: Tensor,
        null: Callable[[Tensor], Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Noise (B, N, C) and classes (B,) -> tokens (B, N, C); `null` makes classes that say nothing of classes."""
        both = classes if self.guidance == 1 else torch.cat([classes, null(classes)])
        guide = ClassifierFreeGuidance()

        def guided(place: Tensor, moment: float) -> Tensor:
            times = torch.full((len(place),), moment, device=place.device)
            if self.guidance == 1 or moment < self.guided_from:
                return velocity(place, times, classes)
            conditional, unconditional = velocity(place.repeat(2, 1, 1), times.repeat(2), both).chunk(2)
            return guide(conditional, unconditional, self.guidance)

        if self.method == "stochastic":
            return stochastic(guided, noise.float(), self.num_steps, generator=generator)
        times = even_times(self.num_steps)  # in which 1 is noise
        return SAMPLERS[self.method](lambda place, number: -guided(place, 1 - times[number]), noise.float(), times)


def velocity_error(velocity: Velocity, clean: Tensor, classes: Tensor, generator: torch.Generator | None) -> Tensor:
    """Mean square error of a velocity at a random moment between noise and `clean` (B, N, C)."""
    times = torch.rand(len(clean), device=clean.device, generator=generator)
    noise = torch.randn(clean.shape, device=clean.device, generator=generator)
    place = interpolate(noise, clean, times)  # moments run the other way here: 0 is noise
    return (velocity(place, times, classes) - (clean - noise)).square().mean()
