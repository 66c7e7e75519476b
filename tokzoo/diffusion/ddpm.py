"""Denoising in many small random steps whose variance is learned too. arXiv:2102.09672. N vectors, C channels."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from tokzoo.tokens import Posterior

MOST_BETA = 0.999
OFFSET = 0.008  # of the cosine schedule: without it the first steps add next to no noise
OUTER = 0.999  # beyond it, a channel is in an outer bin
HALF_BIN = 1 / 255  # of pixels in [-1, 1], as which the last step's likelihood counts data of any kind


class Denoised(NamedTuple):
    """What a network says of noisy vectors: the noise `epsilon` in them, and `spread`, -1 (least) to 1 (most variance).

    Both (N, C).
    """

    epsilon: Tensor
    spread: Tensor


class DenoisingChain:
    """Steps 0 (almost clean) to T - 1 (noise), of which step t adds noise of variance beta_t.

    Args:
        betas: (T,), float64.
        moments: int64 (T,), what the network is told at each step; by default the step's number.

    Shapes:
        clean, noisy, noise (N, C); steps int64 (N,)
    """

    def __init__(self, betas: Tensor, moments: Tensor | None = None):
        self.betas = betas
        self.moments = torch.arange(len(betas)) if moments is None else moments
        self.kept = (1 - betas).cumprod(0)  # share of the clean vector's variance that is left
        before = torch.cat([betas.new_ones(1), self.kept[:-1]])
        variance = betas * (1 - before) / (1 - self.kept)
        self.least_logvar = torch.cat([variance[1:2], variance[1:]]).log()  # step 0 has none: its neighbour's
        self.most_logvar = betas.log()
        self.of_clean = betas * before.sqrt() / (1 - self.kept)
        self.of_noisy = (1 - before) * (1 - betas).sqrt() / (1 - self.kept)

    def __len__(self) -> int:
        return len(self.betas)

    def shortened(self, count: int) -> "DenoisingChain":
        """`count` steps spread evenly over these, the first and the last among them.

        Raises:
            ValueError: fewer than 2 steps, or more than there are.
        """
        if not 2 <= count <= len(self):
            raise ValueError(f"diffusion steps must be 2 to {len(self)}; got {count}")
        stride = (len(self) - 1) / (count - 1)
        chosen = torch.tensor([round(number * stride) for number in range(count)])
        kept = self.kept[chosen]
        return DenoisingChain(1 - kept / torch.cat([kept.new_ones(1), kept[:-1]]), self.moments[chosen])

    def add_noise(self, clean: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """What is left of `clean` after each step's noise."""
        kept = _at(self.kept, steps)
        return kept.sqrt() * clean + (1 - kept).sqrt() * noise

    def clean_of(self, noisy: Tensor, epsilon: Tensor, steps: Tensor) -> Tensor:
        """The clean vectors, were `epsilon` the noise in the noisy ones."""
        return _at((1 / self.kept).sqrt(), steps) * noisy - _at((1 / self.kept - 1).sqrt(), steps) * epsilon

    def posterior(self, clean: Tensor, noisy: Tensor, steps: Tensor) -> Posterior:
        """Of the vectors one step cleaner, where the clean ones are known."""
        mean = _at(self.of_clean, steps) * clean + _at(self.of_noisy, steps) * noisy
        return Posterior(mean, _at(self.least_logvar, steps).expand_as(mean))

    def predicted(self, said: Denoised, noisy: Tensor, steps: Tensor) -> Posterior:
        """The same, as a network says it."""
        mean = self.posterior(self.clean_of(noisy, said.epsilon, steps), noisy, steps).mean
        share = (said.spread + 1) / 2
        return Posterior(mean, share * _at(self.most_logvar, steps) + (1 - share) * _at(self.least_logvar, steps))

    def bound(self, said: Denoised, clean: Tensor, noisy: Tensor, steps: Tensor) -> Tensor:
        """The steps' terms of the variational bound, in bits per channel (N,)."""
        true, predicted = self.posterior(clean, noisy, steps), self.predicted(said, noisy, steps)
        divergence = gaussian_divergence(true, predicted).mean(1)
        last = -binned_log_likelihood(clean, predicted).mean(1)
        return torch.where(steps == 0, last, divergence) / math.log(2)


def cosine_chain(num_steps: int = 1000) -> DenoisingChain:
    """The chain of which the share left falls as a squared cosine. arXiv:2102.09672, eq. 17."""
    times = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    kept = ((times + OFFSET) / (1 + OFFSET) * math.pi / 2).cos().square()
    return DenoisingChain((1 - kept[1:] / kept[:-1]).clamp(max=MOST_BETA))


def ancestral(
    network: Callable[[Tensor, Tensor], Denoised],
    noise: Tensor,
    chain: DenoisingChain,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draws clean vectors from `noise` (N, C), a step at a time.

    Args:
        network: (noisy (N, C), moment (1,)) -> Denoised.
        temperature: of the noise that each step adds.
    """
    place = noise
    for number in reversed(range(len(chain))):
        step = torch.tensor([number], device=place.device)
        mean, logvar = chain.predicted(network(place, chain.moments[number].to(place.device).view(1)), place, step)
        place = mean
        if number and temperature:
            fresh = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
            place = mean + temperature * (0.5 * logvar).exp() * fresh
    return place


def gaussian_divergence(first: Posterior, second: Posterior) -> Tensor:
    """KL(first || second) of every channel, in nats."""
    between = (first.mean - second.mean).square() * (-second.logvar).exp()
    return 0.5 * (-1 + second.logvar - first.logvar + (first.logvar - second.logvar).exp() + between)


def binned_log_likelihood(clean: Tensor, posterior: Posterior) -> Tensor:
    """log p of every channel's bin of 2/255 in [-1, 1], the outer ones open, in nats. arXiv:2006.11239, eq. 13."""
    centred, sharpness = clean - posterior.mean, (-0.5 * posterior.logvar).exp()
    above, below = (normal_cdf(sharpness * (centred + side)) for side in (HALF_BIN, -HALF_BIN))
    inside = (above - below).clamp(min=1e-12).log()
    lowest, highest = above.clamp(min=1e-12).log(), (1 - below).clamp(min=1e-12).log()
    return torch.where(clean < -OUTER, lowest, torch.where(clean > OUTER, highest, inside))


def normal_cdf(points: Tensor) -> Tensor:
    """The standard normal's, approximately, as the authors have it: through the tanh of GELU."""
    return 0.5 * (1 + (math.sqrt(2 / math.pi) * (points + 0.044715 * points**3)).tanh())


def _at(table: Tensor, steps: Tensor) -> Tensor:
    """A table's float32 values at `steps` (N,), (N, 1)."""
    return table.float().to(steps.device)[steps].unsqueeze(1)
