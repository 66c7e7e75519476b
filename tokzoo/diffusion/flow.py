"""Rectified flow: straight lines from pictures (moment 0) to noise (moment 1). arXiv:2209.03003. B batch."""

import math
from typing import Literal

import torch
from torch import Tensor

Density = Literal["uniform", "logit_normal", "mode"]


def interpolate(clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Where the line from `clean` to `noise` (B, ...) is at `times` (B,): t noise + (1 - t) clean."""
    at = times.view(-1, *[1] * (clean.ndim - 1)).to(clean.dtype)
    return at * noise + (1 - at) * clean


def draw_times(
    count: int,
    density: Density = "uniform",
    *,
    generator: torch.Generator,
    stratified: bool = False,
    mode_scale: float = 0.25,
) -> Tensor:
    """Moments (count,) in [0, 1] to train at, float32, on the generator's device.

    Args:
        density: `uniform`; `logit_normal`, the sigmoid of a normal number; `mode`, heavier in the middle (for a
            positive `mode_scale`). SD3, arXiv:2403.03206, section 3.1.
        stratified: one of each of `count` equal shares of the density, in random order, instead of independent ones.

    Raises:
        ValueError: an unknown density.
    """
    device = generator.device
    uniform = torch.rand(count, generator=generator, device=device)
    if stratified:
        uniform = (torch.randperm(count, generator=generator, device=device) + uniform) / count
    if density == "uniform":
        return uniform
    if density == "logit_normal":
        inside = uniform.clamp(1e-6, 1 - 1e-6)  # a normal number beyond 4.7 would be infinite in float32
        return (torch.erfinv(2 * inside - 1) * math.sqrt(2)).sigmoid()
    if density == "mode":
        return 1 - uniform - mode_scale * ((math.pi / 2 * uniform).cos().square() - 1 + uniform)
    raise ValueError(f"density must be uniform, logit_normal or mode; got {density!r}")


def fixed_noise(shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """Normal noise (1, *shape), float32, the same at every call and on every device."""
    return _fixed_noise(shape).to(like.device)


@torch._dynamo.assume_constant_result  # type: ignore[untyped-decorator]  # a graph cannot make a generator
def _fixed_noise(shape: tuple[int, int, int]) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def initial_noise(
    batch: int,
    shape: tuple[int, int, int],
    like: Tensor,
    *,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """What a flow starts from: (batch, *shape), float32, on the device of `like`.

    Args:
        noise: it, given; one for all, (1, *shape), or one for each.
        generator: draws it, one picture after the other; on the device of `like`, or on the CPU, whose numbers are the
            same everywhere. Without either all start from one fixed noise, so that decoding twice gives the same.

    Raises:
        ValueError: noise of another shape, a generator on a third device, or both at once.
    """
    if noise is not None and generator is not None:
        raise ValueError("give noise or a generator that draws it, not both")
    if noise is not None:
        if noise.ndim != 4 or len(noise) not in (1, batch) or tuple(noise.shape[1:]) != shape:
            wanted = ", ".join(str(size) for size in (batch, *shape))
            raise ValueError(f"noise must be ({wanted}); got {tuple(noise.shape)}")
        return noise.to(like.device, torch.float32).expand(batch, *shape)
    if generator is None:
        return fixed_noise(shape, like).expand(batch, *shape)
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be one torch.Generator for the batch; got {type(generator).__name__}")
    if generator.device.type not in ("cpu", like.device.type):
        raise ValueError(
            f"the generator is on {generator.device}, the model on {like.device}: "
            f"make it torch.Generator({str(like.device)!r}), or one on the CPU"
        )
    return torch.randn(batch, *shape, generator=generator, device=generator.device).to(like.device)
