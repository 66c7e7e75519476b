"""A small network that denoises one token at a time. arXiv:2406.11838, section 3.2. N tokens, C channels, W width."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.diffusion.ddpm import Denoised, DenoisingChain, ancestral, cosine_chain
from tokzoo.diffusion.time import TimeEmbedding


class DiffusionLosses(NamedTuple):
    """Of each token (N,): square error of the noise, and bits of the variational bound, which teach the variance."""

    simple: Tensor
    bound: Tensor


class ModulatedMlp(nn.Module):
    """x += gate * MLP(LN x), scaled, shifted and gated by a condition (N, W)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)
        self.modulation = nn.Linear(width, 3 * width)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(F.silu(condition)).chunk(3, dim=-1)
        return hidden + gate * self.fc2(F.silu(self.fc1(self.norm(hidden) * (1 + scale) + shift)))


class DiffusionHead(nn.Module):
    """p(token | its features), as a denoising chain.

    Args:
        channels: C. condition_dim: of the features. width, depth: of the network.

    Shapes:
        noisy (N, C), moments (N,) or (1,), told (N, W) of `tell` -> Denoised
    """

    def __init__(self, channels: int, condition_dim: int, *, width: int, depth: int):
        super().__init__()
        self.chain = cosine_chain()
        self.time = TimeEmbedding(width)
        self.condition = nn.Linear(condition_dim, width)
        self.embed = nn.Linear(channels, width)
        self.blocks = nn.ModuleList(ModulatedMlp(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, 2 * channels)
        for block in self.blocks:
            _zero(block.modulation)  # type: ignore[arg-type]
        _zero(self.modulation)
        _zero(self.out)

    def tell(self, features: Tensor) -> Tensor:
        """Features (N, D) as every step reads them, (N, W)."""
        return self.condition(features.to(self.condition.weight.dtype))

    def forward(self, noisy: Tensor, moments: Tensor, told: Tensor) -> Denoised:
        condition = self.time(moments) + told
        hidden = self.embed(noisy.to(self.embed.weight.dtype))
        for block in self.blocks:
            hidden = block(hidden, condition)
        shift, scale = self.modulation(F.silu(condition)).chunk(2, dim=-1)
        return Denoised(*self.out(self.norm(hidden) * (1 + scale) + shift).float().chunk(2, dim=-1))

    def guided(self, noisy: Tensor, moments: Tensor, told: Tensor, guidance: float) -> Denoised:
        """`told` (2N, W), the conditional half first: its noise is guided, its variance is the conditional one."""
        epsilon, spread = self(noisy.repeat(2, 1), moments, told)
        conditional, unconditional = epsilon.chunk(2)
        return Denoised(unconditional + guidance * (conditional - unconditional), spread[: len(noisy)])

    def sample(
        self,
        noise: Tensor,
        features: Tensor,
        *,
        unguided: Tensor | None = None,
        guidance: float = 1.0,
        chain: DenoisingChain | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Tokens (N, C) of features (N, D), from `noise` (N, C); `unguided` are the features without the class."""
        told = self.tell(features if unguided is None else torch.cat([features, unguided]))

        def network(noisy: Tensor, moment: Tensor) -> Denoised:
            if unguided is None:
                return self(noisy, moment, told)
            return self.guided(noisy, moment, told, guidance)

        return ancestral(network, noise, chain or self.chain, temperature=temperature, generator=generator)

    def losses(self, clean: Tensor, features: Tensor, noise: Tensor, steps: Tensor) -> DiffusionLosses:
        """At given steps (N,) with given noise. The bound teaches the variance alone: its mean is held."""
        noisy = self.chain.add_noise(clean, noise, steps)
        said = self(noisy, self.chain.moments.to(steps.device)[steps], self.tell(features))
        held = Denoised(said.epsilon.detach(), said.spread)
        simple = (said.epsilon - noise).square().mean(1)
        return DiffusionLosses(simple, self.chain.bound(held, clean, noisy, steps))


def _zero(linear: nn.Linear) -> None:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
