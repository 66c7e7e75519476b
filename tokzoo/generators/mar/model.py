"""Continuous tokens, at random places, each drawn by a small diffusion. B batch, L tokens, C channels."""

from typing import Any

import torch
from torch import Tensor

from tokzoo.generators.conditions import Labels, size
from tokzoo.generators.mar.config import MarConfig
from tokzoo.generators.mar.head import DiffusionHead
from tokzoo.generators.masked_backbone import Asked, MaskedGenerator, at_places
from tokzoo.generators.sampling import Schedule
from tokzoo.tokens import Tokens, TokenSpec


class Mar(MaskedGenerator):
    """p(continuous token | class, those known): MAR's backbone and its diffusion head. arXiv:2406.11838."""

    def __init__(self, config: MarConfig):
        super().__init__(config)
        self.head = DiffusionHead(
            config.channels, config.decoder_width, width=config.head_width, depth=config.head_depth
        )

    # the pair

    @property
    def levels(self) -> None:  # type: ignore[override]
        """None: what it makes is continuous."""
        return None

    @classmethod
    def fields_for(cls, spec: TokenSpec) -> dict[str, Any]:
        if spec.levels is not None:
            raise ValueError(f"{cls.__name__} makes continuous tokens; this tokenizer's are indices")
        return cls.grid_for(spec) | dict(scale=spec.scale, shift=spec.shift)

    def check_pair(self, spec: TokenSpec) -> None:
        if spec.levels is not None or spec.channels != self.config.channels or spec.layout != self.layout:
            raise ValueError(
                f"this generator makes continuous tokens of {self.config.channels} channels on {self.layout}; the "
                f"tokenizer's have {spec.channels} channels and levels {spec.levels} on {spec.layout}: they are no pair"
            )
        if (spec.scale, spec.shift) != (self.config.scale, self.config.shift):
            raise ValueError(
                f"this generator models latents by scale {self.config.scale} and shift {self.config.shift}, the "
                f"tokenizer says {spec.scale} and {spec.shift}: they are no pair"
            )

    def accept(self, held: Tensor) -> Tensor:
        latents = held.float()
        if not torch.compiler.is_compiling() and not bool(latents.isfinite().all()):
            raise ValueError("the latents hold NaN or infinity: look where they come from")
        return (latents - self.config.shift) * self.config.scale

    def read(self, slots: Tensor) -> Tensor:
        return slots

    # the public door

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self,
        labels: Labels,
        *,
        num_samples: int = 1,
        num_steps: int | None = None,
        diffusion_steps: int = 100,
        guidance: float = 1.0,
        guidance_schedule: Schedule = "linear",
        temperature: float = 1.0,
        orders: Tensor | None = None,
        noise: Tensor | None = None,
        given: Tokens | None = None,
        generator: torch.Generator | None = None,
    ) -> Tokens:
        """Draws `num_samples` of each label, those of one label together.

        Args:
            labels: class labels.
            num_steps: passes of the backbone, one for each token unless fewer are asked.
            diffusion_steps: of the chain that each token is drawn by.
            guidance: u + guidance * (c - u) on the noise that the head finds, 1 = off. `guidance_schedule`: how it
                grows with the share of tokens that are there.
            temperature: of the noise that the chain adds.
            orders: (B, L), places in the order in which they are made; by default drawn.
            noise: (B, L, C), what each token's chain begins with; by default drawn.
            given: tokens to keep, where their `valid` is set: one sample for all or one for each, as many in each; the
                steps make the others.

        Raises:
            ValueError: a label or knob out of range, guidance without a null class, orders, noise or given tokens that
                do not fit, or features that are not finite.
        """
        chain = self.head.chain.shortened(diffusion_steps)
        shape = (size(self.condition(labels)) * num_samples, self.config.num_tokens, self.config.channels)
        if noise is None:
            noise = torch.randn(shape, device=self.device, generator=generator)
        elif tuple(noise.shape) != shape:
            raise ValueError(f"noise must be {shape}; got {tuple(noise.shape)}")

        def draw(asked: Asked) -> Tensor:
            begun = at_places(noise, asked.places)
            made = self.head.sample(
                begun.flatten(0, 1),
                asked.features.flatten(0, 1),
                unguided=None if asked.unguided is None else asked.unguided.flatten(0, 1),
                guidance=asked.guidance,
                chain=chain,
                temperature=temperature,
                generator=generator,
            )
            return made.view_as(begun)

        scaled = self._fill(
            labels,
            torch.zeros_like(noise),
            draw,
            num_samples=num_samples,
            num_steps=num_steps,
            guidance=guidance,
            guidance_schedule=guidance_schedule,
            temperature=temperature,
            orders=orders,
            given=given,
            generator=generator,
        )
        return Tokens(layout=self.layout, latents=scaled / self.config.scale + self.config.shift)

    def loss(  # type: ignore[override]
        self,
        tokens: Tokens,
        labels: Labels,
        *,
        label_dropout: float = 0.0,
        repeats: int = 4,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Square error of the noise and the bound of the variance, of masked tokens, each at `repeats` steps."""
        features, clean = self._masked(tokens, labels, label_dropout, generator)
        features, clean = features.repeat(repeats, 1), clean.repeat(repeats, 1)
        steps = torch.randint(len(self.head.chain), (len(clean),), device=clean.device, generator=generator)
        noise = torch.randn(clean.shape, device=clean.device, generator=generator)
        losses = self.head.losses(clean, features, noise, steps)
        return (losses.simple + losses.bound).mean()
