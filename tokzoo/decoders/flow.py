"""Pictures drawn by a rectified flow that codes steer. B batch, C channels of the space, T moments, h w its places."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tokzoo.diffusion.flow import initial_noise
from tokzoo.diffusion.guidance import GUIDANCE, Guidance, Strength, strengths
from tokzoo.diffusion.samplers import SAMPLERS, Sampler, schedule
from tokzoo.layers.latent_scale import LatentScale
from tokzoo.layers.patches import to_tokens
from tokzoo.parts import Decoder
from tokzoo.tokens import Features, Grid


class Velocity(nn.Module):
    """d place / dt of a flow in some space, steered by codes.

    What depends on the codes alone is made once by `condition`, what depends on the moments alone by `moments`; neither
    is made again in the steps.
    """

    __call__: Callable[..., Tensor]

    def condition(self, codes: Features) -> Tensor:
        """What of the codes steers the flow, (B, ...)."""
        raise TypeError(f"{type(self).__name__} must define condition")

    def null(self, condition: Tensor) -> Tensor:
        """What takes the place of a `condition` where there is none, in its shape."""
        raise TypeError(f"{type(self).__name__} must define null")

    def moments(self, times: Tensor) -> Sequence[Any]:
        """For each of `times` (T,) what `forward` takes as its moment."""
        raise TypeError(f"{type(self).__name__} must define moments")

    def forward(self, place: Tensor, moment: Any, condition: Tensor) -> Tensor:
        """Place (B, C, h, w) at one moment for all -> velocity (B, C, h, w)."""
        raise TypeError(f"{type(self).__name__} must define forward")


class Plan(NamedTuple):
    """How a flow is followed.

    Args:
        steps: a count of even ones, or falling moments from 1 to 0 (`tokzoo.diffusion.samplers.shifted_times`).
        guidance: u + s (c - u), 1 = off; by moment if it is a function.
        method: `apg` keeps colours sane at strong guidance, `cfg` is plain.
    """

    steps: int | Sequence[float] = 20
    guidance: Strength = 1.0
    method: Guidance = "apg"
    sampler: Sampler = "euler"


class FlowDecoder(Decoder):
    """From noise to a picture along a velocity; both that with the codes and that without are asked in one batch.

    Rectified flow, arXiv:2209.03003: moment 1 is noise, 0 a picture, the velocity is noise minus picture.

    Args:
        velocity: in the space of `channels` and one place per `downsample` x `downsample` pixels.
        image_size: pixels per side, where the codes do not say the size.
        painter: reads the latents on a grid, makes images in [0, 1]; None: the space is that of pixels in [-1, 1].
        scale: how the flow's latents are made of the painter's; None: they are the same.
        plan: how to follow the flow unless the call says otherwise.
    """

    draws = True

    def __init__(
        self,
        velocity: Velocity,
        *,
        image_size: int,
        channels: int,
        downsample: int = 1,
        painter: Decoder | None = None,
        scale: LatentScale | None = None,
        plan: Plan | None = None,
    ):
        super().__init__()
        self.velocity = velocity
        self.image_size = image_size
        self.channels = channels
        self.downsample = downsample
        self.painter = painter
        self.scale = scale or LatentScale()
        self.plan = plan or Plan()

    def forward(
        self,
        codes: Features,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        plan: Plan | None = None,
    ) -> Tensor:
        return self.paint(self.sample(codes, noise=noise, generator=generator, plan=plan))

    def paint(self, latents: Tensor) -> Tensor:
        """What the flow made, (B, C, h, w) -> images (B, 3, H, W), nominally in [0, 1]."""
        if self.painter is None:
            return (latents + 1) / 2
        return self.painter(Features(self.scale.restore(to_tokens(latents)), Grid(*latents.shape[2:])))

    def sample(
        self,
        codes: Features,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        plan: Plan | None = None,
    ) -> Tensor:
        """Codes -> (B, C, h, w), in the dtype of the codes.

        Raises:
            ValueError: steps below 1, guidance below 0, an unknown method or sampler, noise of another shape, a
                generator on another device.
        """
        plan = plan or self.plan
        for name, chosen, known in (("method", plan.method, GUIDANCE), ("sampler", plan.sampler, SAMPLERS)):
            if chosen not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {chosen!r}")
        times = schedule(plan.steps)
        strength = strengths(plan.guidance, times)
        height, width = (codes.extent or (self.image_size,) * 2)[-2:]
        shape = (self.channels, height // self.downsample, width // self.downsample)
        like = codes.latents
        start = initial_noise(len(like), shape, like, noise=noise, generator=generator)
        moments = self.velocity.moments(torch.tensor(times, device=like.device))
        condition = self.velocity.condition(codes)
        if all(each == 1 for each in strength):

            def follow(place: Tensor, number: int) -> Tensor:
                return self.velocity(place.to(like.dtype), moments[number], condition).float()

        else:
            both = torch.cat([condition, self.velocity.null(condition)])
            guide = GUIDANCE[plan.method]()

            def follow(place: Tensor, number: int) -> Tensor:
                twice = place.to(like.dtype).repeat(2, 1, 1, 1)
                steered, free = self.velocity(twice, moments[number], both).float().chunk(2)
                return guide(steered, free, strength[number])

        return SAMPLERS[plan.sampler](follow, start, times).to(like.dtype)
