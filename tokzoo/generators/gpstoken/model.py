"""GPSToken's generator: where Gaussians begin, then what they become. B batch, N Gaussians, C channels."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tokzoo.generators.base import Generator
from tokzoo.generators.conditions import Labels, drop, repeat
from tokzoo.generators.gpstoken.config import GpsSitConfig
from tokzoo.generators.gpstoken.flow import Method, Way, velocity_error
from tokzoo.generators.gpstoken.layouts import POINT, LayoutBank, LayoutFlow, points_of
from tokzoo.generators.gpstoken.network import TextureVelocity
from tokzoo.layers.gaussians import region_gaussians
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Gaussians, Tokens, TokenSpec

LAYOUTS = "initial Gaussians, say region_gaussians(regions, size) of a photo's partition"
LEAST, MOST = 1e-5, 1 - 1e-5  # of scales, and of correlations, that are drawn


class GpsSit(Generator):
    """Layouts, then textures: GPSToken, arXiv:2509.01109, section 3.4. Both are flows.

    p(initial Gaussians | class), where the config has it; p(refined Gaussians and features | class, initial Gaussians).
    The authors published the second alone, and draw layouts from a list of their training photos' (`LayoutBank`).
    """

    config: GpsSitConfig
    reads = ("regions",)

    def __init__(self, config: GpsSitConfig):
        super().__init__(config)
        if not len(config.means) == len(config.deviations) == config.channels:
            raise ValueError(
                f"means and deviations must be {config.channels} numbers, 5 of a Gaussian and {config.code_dim} "
                f"features; got {len(config.means)} and {len(config.deviations)}"
            )
        self.velocity = TextureVelocity(
            channels=config.channels,
            num_classes=config.num_classes + config.null_class,
            width=config.width,
            depth=config.depth,
            num_heads=config.num_heads,
        )
        self.layouts: LayoutFlow | None = None
        if config.layout_depth:
            self.layouts = LayoutFlow(
                image_size=config.image_size,
                num_classes=config.num_classes + config.null_class,
                width=config.layout_width,
                depth=config.layout_depth,
                num_heads=config.layout_heads,
                means=config.layout_means,
                deviations=config.layout_deviations,
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

    def read_tokenizer(self, tok: VisualTokenizer) -> None:
        super().read_tokenizer(tok)
        if tok.image_size != self.config.image_size:
            side = self.config.image_size
            raise ValueError(
                f"this generator makes pictures of {side}x{side}, the tokenizer's tiles are {tok.image_size}x"
                f"{tok.image_size}: build it with image_size={tok.image_size}"
            )

    @torch.no_grad()
    def read_scale(self, tokens: Tokens, **given: Tensor) -> None:
        """Takes means and deviations, of textures and layouts, from samples and the `regions` that they began as."""
        initial = self._initial(None, given.get("regions"), len(tokens))
        change = self._change(tokens, initial).flatten(0, 1)
        points = points_of(initial, self.config.image_size).flatten(0, 1)
        self.config = replace(
            self.config,
            means=_numbers(change.mean(0)),
            deviations=_numbers(change.std(0).clamp(min=LEAST)),
            layout_means=_numbers(points.mean(0)),
            layout_deviations=_numbers(points.std(0).clamp(min=LEAST)),
        )
        if self.layouts is not None:
            self.layouts.means, self.layouts.deviations = self.config.layout_means, self.config.layout_deviations

    # the public door

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self,
        labels: Labels,
        *,
        layouts: Tensor | LayoutBank | None = None,
        num_samples: int = 1,
        num_tokens: int | None = None,
        num_steps: int = 250,
        method: Method = "stochastic",
        guidance: float = 1.0,
        guided_from: float = 0.0,
        layout_guidance: float = 1.0,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tokens:
        """Draws `num_samples` of each label, those of one label together.

        Args:
            labels: class labels.
            layouts: (N, 5) or (1, N, 5) for all samples, or (B, N, 5): initial Gaussians, any number of them. Or a
                bank, of which each sample takes one of its class. None: the layout stage draws them.
            num_tokens: N of layouts that are drawn, at most as the config has it; None: as the config has it.
            num_steps: velocities that are asked, of each stage.
            method: `stochastic`, as published; `euler` and `heun` follow the flow alone, without fresh noise.
            guidance: u + guidance * (c - u), 1 = off; from moment `guided_from` on, where 0 is noise and 1 the tokens.
            layout_guidance: the same of the layout stage.
            noise: (B, N, C), where the way of textures begins; by default drawn.

        Raises:
            ValueError: a label or knob out of range, no layouts and no stage that draws them, layouts or noise that do
                not fit, guidance without a null class.
        """
        condition: Any = repeat(self.condition(labels), num_samples)
        way = Way(num_steps=num_steps, method=method, guidance=guidance, guided_from=guided_from)
        if layouts is None:
            initial = self._drawn(condition, num_tokens, replace(way, guidance=layout_guidance), generator)
        else:
            if isinstance(layouts, LayoutBank):
                layouts = layouts.draw(condition, self.classes, generator)
            initial = self._initial(layouts, None, len(condition))
            if num_tokens not in (None, initial.shape[1]):
                raise ValueError(f"num_tokens={num_tokens}, but the layouts are of {initial.shape[1]} Gaussians")
        shape = (*initial.shape[:2], self.config.channels)
        if noise is None:
            noise = torch.randn(shape, device=self.device, generator=generator)
        elif tuple(noise.shape) != shape:
            raise ValueError(f"noise must be {shape}; got {tuple(noise.shape)}")

        def velocity(place: Tensor, times: Tensor, classes: Tensor) -> Tensor:
            return self.velocity(place, times, classes, initial.repeat(len(place) // len(initial), 1, 1))

        return self._tokens(way.follow(velocity, noise, condition, self._null, generator), initial)

    def loss(  # type: ignore[override]
        self,
        tokens: Tokens,
        labels: Labels,
        *,
        layouts: Tensor | None = None,
        regions: Tensor | None = None,
        label_dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Square error of the velocity at a random moment, that of the layout stage added where there is one.

        Args:
            layouts: those that the tokens were refined from; or `regions` int64 (B, N, 4), of which they are made.
        """
        condition: Any = self.condition(labels)
        initial = self._initial(layouts, regions, len(condition))
        means, deviations = (initial.new_tensor(each) for each in (self.config.means, self.config.deviations))
        clean = (self._change(tokens, initial) - means) / deviations
        if label_dropout:
            condition = drop(condition, self.null(condition), label_dropout, generator)

        def velocity(place: Tensor, times: Tensor, classes: Tensor) -> Tensor:
            return self.velocity(place, times, classes, initial)

        error = velocity_error(velocity, clean, condition, generator)
        return error if self.layouts is None else error + self.layouts.loss(initial, condition, generator)

    # layouts

    def _drawn(self, classes: Tensor, num_tokens: int | None, way: Way, generator: torch.Generator | None) -> Tensor:
        """(B, N, 5), of the layout stage."""
        most = self.config.num_tokens
        number = most if num_tokens is None else num_tokens
        if self.layouts is None:
            raise ValueError(
                f"this generator has no layout stage, so it needs layouts=, ({len(classes)}, {most}, 5): {LAYOUTS}; or "
                "a LayoutBank"
            )
        if not 1 <= number <= most:
            raise ValueError(f"num_tokens must be 1 to {most}; got {number}")
        noise = torch.randn(len(classes), number, POINT, device=self.device, generator=generator)
        return self.layouts.sample(noise, classes, self._null, way, generator)

    def _initial(self, layouts: Tensor | None, regions: Tensor | None, count: int) -> Tensor:
        """What is given as (B, N, 5), float32, on the device."""
        if (layouts is None) == (regions is None):
            raise ValueError(f"give layouts= or regions=, one of them: {LAYOUTS}")
        side = self.config.image_size
        made = layouts if regions is None else region_gaussians(regions, (side, side))
        given: Tensor = made.to(self.device).float()  # type: ignore[union-attr]
        given = given.unsqueeze(0) if given.ndim == 2 else given
        if given.ndim != 3 or given.shape[2] != 5 or len(given) not in (1, count):
            raise ValueError(f"layouts must be (N, 5) or ({count}, N, 5): {LAYOUTS}; got {tuple(given.shape)}")
        if not torch.compiler.is_compiling() and not bool(given.isfinite().all()):
            raise ValueError("the layouts hold NaN or infinity: look where they come from")
        return given.expand(count, -1, -1)

    def _null(self, classes: Tensor) -> Tensor:
        made: Any = self.null(classes)
        return made

    # between tokens and what is denoised

    def _change(self, tokens: Tokens, initial: Tensor) -> Tensor:
        """Tokens -> (B, N, C): changes of the Gaussians, and features."""
        if tokens.latents is None or tokens.geometry is None or tokens.latents.shape[2] != self.config.code_dim:
            raise ValueError(f"{type(self).__name__} reads Gaussians with {self.config.code_dim} features")
        geometry, features = tokens.geometry.to(self.device).float(), tokens.latents.to(self.device).float()
        if geometry.shape != initial.shape:
            raise ValueError(f"layouts must be {tuple(geometry.shape)}, as the tokens; got {tuple(initial.shape)}")
        return torch.cat([geometry - initial, features], dim=-1)

    def _tokens(self, made: Tensor, initial: Tensor) -> Tokens:
        means, deviations = (made.new_tensor(each) for each in (self.config.means, self.config.deviations))
        change, features = (made * deviations + means).split((5, self.config.code_dim), dim=-1)
        scales, rho, centres = (initial + change).split((2, 1, 2), dim=-1)
        geometry = torch.cat([scales.clamp(LEAST, MOST), rho.clamp(-MOST, MOST), centres], dim=-1)
        side = self.config.image_size
        return Tokens(layout=Gaussians(made.shape[1]), latents=features, geometry=geometry, extent=(side, side))


def _numbers(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 5) for value in values.tolist())
