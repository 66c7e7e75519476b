"""GPSToken's second stage: a layout of Gaussians becomes a picture's tokens. B batch, N Gaussians, C channels."""

from typing import Any, Literal

import torch
from torch import Tensor

from tokzoo.diffusion.samplers import SAMPLERS, even_times
from tokzoo.diffusion.stochastic import stochastic
from tokzoo.generators.base import Generator
from tokzoo.generators.conditions import Labels, drop, join, repeat, size
from tokzoo.generators.gpstoken.config import GpsSitConfig
from tokzoo.generators.gpstoken.network import TokenVelocity
from tokzoo.tokens import Gaussians, Tokens, TokenSpec

Method = Literal["stochastic", "euler", "heun"]
LAYOUTS = "initial Gaussians, say region_gaussians(regions, size) of a photo's partition"
LEAST, MOST = 1e-5, 1 - 1e-5  # of scales, and of correlations, that are drawn


class GpsSit(Generator):
    """p(features and refined Gaussians | class, initial Gaussians): a flow. GPSToken, arXiv:2509.01109, section 3.4.

    The authors draw layouts from a list of their training photos; the network that makes layouts is not published.
    """

    config: GpsSitConfig

    def __init__(self, config: GpsSitConfig):
        super().__init__(config)
        if not len(config.means) == len(config.deviations) == config.channels:
            raise ValueError(
                f"means and deviations must be {config.channels} numbers, 5 of a Gaussian and {config.code_dim} "
                f"features; got {len(config.means)} and {len(config.deviations)}"
            )
        self.velocity = TokenVelocity(
            channels=config.channels,
            num_classes=config.num_classes + config.null_class,
            width=config.width,
            depth=config.depth,
            num_heads=config.num_heads,
        )

    # the pair

    @property
    def layout(self) -> Gaussians:
        return Gaussians(self.config.num_tokens)

    @property
    def levels(self) -> None:  # type: ignore[override]
        """None: what it makes is continuous."""
        return None

    @classmethod
    def fields_for(cls, spec: TokenSpec) -> dict[str, Any]:
        if not isinstance(spec.layout, Gaussians) or spec.levels is not None:
            raise ValueError(
                f"{cls.__name__} makes Gaussians with features; this tokenizer's tokens lie on {spec.layout}"
            )
        width = 5 + spec.channels
        return dict(
            num_tokens=spec.layout.num_tokens, code_dim=spec.channels, means=(0.0,) * width, deviations=(1.0,) * width
        )

    def check_pair(self, spec: TokenSpec) -> None:
        least, most = spec.lengths
        fits = isinstance(spec.layout, Gaussians) and least <= self.config.num_tokens <= most
        if not fits or spec.channels != self.config.code_dim:
            raise ValueError(
                f"this generator makes {self.config.num_tokens} Gaussians with {self.config.code_dim} features; the "
                f"tokenizer's tokens have {spec.channels} channels and lie on {spec.layout}: they are no pair"
            )

    # the public door

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self,
        labels: Labels,
        *,
        layouts: Tensor | None = None,
        num_samples: int = 1,
        num_steps: int = 250,
        method: Method = "stochastic",
        guidance: float = 1.0,
        guided_from: float = 0.0,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tokens:
        """Draws `num_samples` of each label, those of one label together.

        Args:
            labels: class labels.
            layouts: (N, 5) or (1, N, 5) for all samples, or (B, N, 5): initial Gaussians, any number of them.
            num_steps: velocities that are asked.
            method: `stochastic`, as published; `euler` and `heun` follow the flow alone, without fresh noise.
            guidance: u + guidance * (c - u), 1 = off; from moment `guided_from` on, where 0 is noise and 1 the tokens.
            noise: (B, N, C), where the way begins; by default drawn.

        Raises:
            ValueError: a label or knob out of range, no layouts, layouts or noise that do not fit, guidance without a
                null class.
        """
        condition: Any = repeat(self.condition(labels), num_samples)
        initial = self._layouts(layouts, size(condition))
        shape = (*initial.shape[:2], self.config.channels)
        if noise is None:
            noise = torch.randn(shape, device=self.device, generator=generator)
        elif tuple(noise.shape) != shape:
            raise ValueError(f"noise must be {shape}; got {tuple(noise.shape)}")
        both = None if guidance == 1 else join(condition, self.null(condition))

        def velocity(place: Tensor, moment: float) -> Tensor:
            times = torch.full((len(place),), moment, device=place.device)
            if both is None or moment < guided_from:
                return self.velocity(place, times, condition, initial)
            twice = [each.repeat(2, *[1] * (each.ndim - 1)) for each in (place, times, initial)]
            conditional, unconditional = self.velocity(twice[0], twice[1], both, twice[2]).chunk(2)
            return unconditional + guidance * (conditional - unconditional)

        if method == "stochastic":
            made = stochastic(velocity, noise.float(), num_steps, generator=generator)
        elif method in SAMPLERS:
            times = even_times(num_steps)  # in which 1 is noise
            made = SAMPLERS[method](lambda place, number: -velocity(place, 1 - times[number]), noise.float(), times)
        else:
            raise ValueError(f"method must be stochastic, euler or heun; got {method!r}")
        return self._tokens(made, initial)

    def loss(  # type: ignore[override]
        self,
        tokens: Tokens,
        labels: Labels,
        *,
        layouts: Tensor | None = None,
        label_dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Square error of the velocity at a random moment; `layouts` are those that the tokens were refined from."""
        condition = self.condition(labels)
        initial = self._layouts(layouts, size(condition))
        clean = self._standardised(tokens, initial)
        if label_dropout:
            condition = drop(condition, self.null(condition), label_dropout, generator)  # type: ignore[assignment]
        times = torch.rand(len(clean), device=clean.device, generator=generator)
        noise = torch.randn(clean.shape, device=clean.device, generator=generator)
        at = times[:, None, None]
        said = self.velocity(at * clean + (1 - at) * noise, times, condition, initial)
        return (said - (clean - noise)).square().mean()

    # between tokens and what is denoised

    def _standardised(self, tokens: Tokens, initial: Tensor) -> Tensor:
        """Tokens -> (B, N, C): changes of the Gaussians and features, of about unit variance."""
        if tokens.latents is None or tokens.geometry is None or tokens.latents.shape[2] != self.config.code_dim:
            raise ValueError(f"{type(self).__name__} reads Gaussians with {self.config.code_dim} features")
        geometry, features = tokens.geometry.to(self.device).float(), tokens.latents.to(self.device).float()
        if geometry.shape != initial.shape:
            raise ValueError(f"layouts must be {tuple(geometry.shape)}, as the tokens; got {tuple(initial.shape)}")
        means, deviations = (initial.new_tensor(each) for each in (self.config.means, self.config.deviations))
        return (torch.cat([geometry - initial, features], dim=-1) - means) / deviations

    def _tokens(self, made: Tensor, initial: Tensor) -> Tokens:
        means, deviations = (made.new_tensor(each) for each in (self.config.means, self.config.deviations))
        change, features = (made * deviations + means).split((5, self.config.code_dim), dim=-1)
        scales, rho, centres = (initial + change).split((2, 1, 2), dim=-1)
        geometry = torch.cat([scales.clamp(LEAST, MOST), rho.clamp(-MOST, MOST), centres], dim=-1)
        side = self.config.image_size
        return Tokens(layout=Gaussians(made.shape[1]), latents=features, geometry=geometry, extent=(side, side))

    def _layouts(self, layouts: Tensor | None, count: int) -> Tensor:
        """(B, N, 5), float32, on the device."""
        if layouts is None:
            raise ValueError(f"this generator needs layouts=, ({count}, {self.config.num_tokens}, 5): {LAYOUTS}")
        given = layouts.to(self.device).float()
        given = given.unsqueeze(0) if given.ndim == 2 else given
        if given.ndim != 3 or given.shape[2] != 5 or len(given) not in (1, count):
            raise ValueError(f"layouts must be (N, 5) or ({count}, N, 5): {LAYOUTS}; got {tuple(layouts.shape)}")
        return given.expand(count, -1, -1)
