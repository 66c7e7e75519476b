"""FlexTok, arXiv:2502.13967: an image as an ordered row of tokens; any prefix is a picture, which a flow draws."""

from collections.abc import Sequence as PySequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tokzoo import registry
from tokzoo.decoders.flow import FlowDecoder, Plan
from tokzoo.decoders.register_velocity import RegisterVelocity
from tokzoo.diffusion.flow import interpolate
from tokzoo.diffusion.guidance import Guidance, Strength
from tokzoo.diffusion.samplers import Sampler
from tokzoo.encoders.latents import LatentsEncoder
from tokzoo.encoders.register import RegisterEncoder
from tokzoo.layers.latent_scale import LatentScale
from tokzoo.quantizers.fsq import FiniteScalarQuantizer
from tokzoo.tokenizers.base import TokenizerOutput, VisualTokenizer
from tokzoo.tokenizers.flextok.config import FlextokConfig
from tokzoo.tokens import Features, Grid, Quantized, Sequence, Tokens, TokenSpec


class FlowDraw(NamedTuple):
    """What a training step draws, one for each image.

    Args:
        times (B,) in [0, 1], noise (B, C, h, w): where on its line from picture to noise the velocity is asked.
        lengths: int64 (B,), how many tokens are kept.
        null: bool (B,), where there is no condition at all.
    """

    times: Tensor
    noise: Tensor
    lengths: Tensor
    null: Tensor


class Flextok(VisualTokenizer):
    """1 to `num_registers` tokens from an image, the first of which say most.

    Images up to `image_size` whose sides are multiples of `multiple_of` fit. Of a batch each may keep a length of its
    own: `Tokens.valid`. Decoding draws: with the same noise, pictures of different lengths can be compared.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    config: FlextokConfig
    encoder: RegisterEncoder | None
    decoder: FlowDecoder | None
    base_keys = {"encoder.latents.encoder.": "encoder.", "decoder.painter.": "decoder."}
    photo_protocol = "bilinear"

    def __init__(self, config: FlextokConfig):
        super().__init__(config)
        vae = None if config.vae is None else build_vae(config)
        channels = 3 if vae is None else vae.token_spec.channels
        self.any_size = vae is None or vae.multiple_of is not None
        grid: Any = None if vae is None else vae.token_spec.layout
        self.downsample = 1 if grid is None else config.image_size // grid.height  # pixels per side of a latent
        if config.image_size % self.patch_side:
            raise ValueError(f"image_size {config.image_size} must be a multiple of {self.patch_side}")
        scale = LatentScale(config.scale, config.shift)
        space = dict(channels=channels, patch_size=config.patch_size, grid_size=config.image_size // self.patch_side)
        self.encoder = RegisterEncoder(
            latents=None if vae is None else LatentsEncoder(vae._encoder(), vae.quantizer, scale),
            num_registers=config.num_registers,
            width=config.encoder.width,
            depth=config.encoder.depth,
            num_heads=config.encoder.num_heads,
            code_dim=len(config.levels),
            **space,
        )
        self.quantizer = FiniteScalarQuantizer(config.levels)
        velocity = RegisterVelocity(
            num_registers=config.num_registers,
            code_dim=len(config.levels),
            width=config.decoder.width,
            depth=config.decoder.depth,
            num_heads=config.decoder.num_heads,
            max_time=config.max_time,
            **space,
        )
        self.decoder = FlowDecoder(
            velocity,
            image_size=config.image_size,
            channels=channels,
            downsample=self.downsample,
            painter=None if vae is None else vae.decoder,
            scale=scale,
            plan=Plan(steps=config.steps, guidance=config.guidance, method=config.method),
        )

    @property
    def patch_side(self) -> int:
        """Pixels per side of what a patch is made of."""
        return self.downsample * self.config.patch_size

    @property
    def multiple_of(self) -> int | None:
        return self.patch_side if self.any_size else None

    @property
    def token_spec(self) -> TokenSpec:
        config = self.config
        return TokenSpec(
            layout=Sequence(config.num_registers),
            levels=self.quantizer.levels,
            channels=len(config.levels),
            lengths=(1, config.num_registers),
            ordered=True,
        )

    def encode(
        self,
        images: Tensor,
        *,
        num_tokens: int | PySequence[int] | Tensor | None = None,
        sample: bool = False,
        generator: torch.Generator | None = None,
        **conditions: Tensor,
    ) -> Tokens:
        """Images -> Tokens, of which the first k are the same however many are asked for.

        Args:
            num_tokens: for all images, or one for each, int64 (B,): then `Tokens.valid` says which count, and the ids
                of the others are 0. None: all.
            sample: draw from the posterior of the variational autoencoder, as the authors do, with `generator`; by
                default its mean.

        Raises:
            ValueError: as every tokenizer's `encode`; a number of tokens that is out of range.
        """
        if num_tokens is None or isinstance(num_tokens, int):
            most, lengths = num_tokens, None
        else:
            lengths = torch.as_tensor(num_tokens, device=self.device)
            if lengths.shape != images.shape[:1] or lengths.is_floating_point():
                raise ValueError(f"num_tokens must be one whole number, or {len(images)}; got {num_tokens}")
            most = int(lengths.max())
            self._check_length(int(lengths.min()))
        if most is not None:
            self._check_length(most)
        features = self._encode(images, conditions, num_tokens=most, sample=sample, generator=generator)
        tokens = self._to_tokens(images, features, self.quantizer(features.latents, features.layout))
        return tokens if lengths is None else keep(tokens, lengths)

    def decode(  # type: ignore[override]  # what it takes besides tokens are no tensors
        self,
        tokens: Tokens,
        *,
        steps: int | PySequence[float] | None = None,
        guidance: Strength | None = None,
        method: Guidance | None = None,
        sampler: Sampler = "euler",
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        clamp: bool = True,
        **conditions: Tensor,
    ) -> Tensor:
        """Tokens -> images (B, 3, H, W) of the size `tokens.extent`, float32.

        Args:
            steps, guidance, method, sampler: as `tokzoo.decoders.flow.Plan` says; None: as the config does.
            noise: (B, C, h, w), or (1, C, h, w) for all, what the flow starts from, in the latents' space.
            generator: draws it. Without either it is fixed, and the same for all images.

        Raises:
            ValueError: as every tokenizer's `decode`; no tokens, or more than registers; steps below 1, guidance below
                0; noise of another shape; a generator on another device.
        """
        self._check_tokens(tokens)
        self._conditions("decode", conditions, len(tokens))
        config = self.config
        plan = Plan(
            steps=config.steps if steps is None else steps,
            guidance=config.guidance if guidance is None else guidance,
            method=config.method if method is None else method,
            sampler=sampler,
        )
        images = self._decoder()(self._placed(tokens), noise=noise, generator=generator, plan=plan).float()
        return images.clamp(0, 1) if clamp else images

    def forward(  # type: ignore[override]  # what it takes besides images are no tensors
        self,
        images: Tensor,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
        draw: FlowDraw | None = None,
        tap: int | None = None,
        **conditions: Tensor,
    ) -> TokenizerOutput:
        """As every tokenizer's; with a `draw`, one step of a flow's training instead of whole ways along it.

        Then `reconstruction` is (B, C, h, w), what the velocity says of the picture in the space of the latents, and
        `aux` has `velocity`, its `target` and, of block `tap`, patches (B, P, D) as `tapped`. Latents are constants.
        """
        if draw is None:
            return super().forward(images, sample=sample, generator=generator, **conditions)
        self._check_images(images)
        self._conditions("encode", conditions, len(images))
        encoder: Any = self._encoder()
        network: Any = self._decoder().velocity
        clean = encoder.latent_map(images.to(self.dtype), sample=sample, generator=generator).detach()
        features = encoder.tokenize(clean)
        quantized = self.quantizer(features.latents, features.layout)
        kept = torch.arange(features.layout.num_tokens, device=clean.device) < draw.lengths.unsqueeze(1)
        condition = network.condition(features._replace(latents=quantized.codes.to(self.dtype), valid=kept))
        condition = torch.where(draw.null.view(-1, 1, 1), network.null(condition), condition)
        place = interpolate(clean, draw.noise.to(clean), draw.times)
        moment = network.moment(draw.times)
        seen = network.look(place, moment, condition, tap=tap)
        velocity = network.head(seen.patches, moment, place)
        aux = {"velocity": velocity, "target": draw.noise - clean}
        if seen.tapped is not None:
            aux["tapped"] = seen.tapped
        made = place - draw.times.view(-1, 1, 1, 1).to(place) * velocity
        tokens = self._to_tokens(images, features, quantized)
        return TokenizerOutput(made, features.latents, tokens, quantized.codes, quantized.losses, aux)

    def _encode(self, images: Tensor, conditions: dict[str, Tensor], **options: Any) -> Features:
        encoder = self._encoder()
        self._check_images(images)
        self._conditions("encode", conditions, len(images))
        return encoder(images.to(self.dtype), **options)

    def _quantize(
        self,
        images: Tensor,
        *,
        sample: bool,
        generator: torch.Generator | None,
        conditions: dict[str, Tensor] | None = None,
    ) -> tuple[Features, Quantized]:
        features = self._encode(images, conditions or {}, sample=sample, generator=generator)
        return features, self.quantizer(features.latents, features.layout)

    def _check_images(self, images: Tensor) -> None:
        super()._check_images(images)
        self._check_extent(tuple(images.shape[2:]))

    def _check_extent(self, extent: tuple[int, ...]) -> None:
        most, step = self.config.image_size, self.multiple_of or self.config.image_size
        if len(extent) != 2 or any(not 0 < side <= most or side % step for side in extent):
            size = "x".join(str(side) for side in extent)
            raise ValueError(f"sides must be multiples of {step} up to {most}, its positions; got {size}")

    def _check_length(self, length: int) -> None:
        if not 1 <= length <= self.config.num_registers:
            raise ValueError(f"num_tokens must be 1 to {self.config.num_registers}, the registers; got {length}")

    def _check_tokens(self, tokens: Tokens) -> None:
        super()._check_tokens(tokens)
        if tokens.num_tokens > self.config.num_registers:  # which the base lets pass, as images may be of any size
            raise ValueError(f"this tokenizer decodes 1 to {self.config.num_registers} tokens; got {tokens.num_tokens}")
        if tokens.extent is not None:
            self._check_extent(tokens.extent)
        if tokens.valid is not None and not torch.compiler.is_compiling() and tokens.valid.device.type != "meta":
            if not bool(tokens.valid.any(1).all()):
                rows = (~tokens.valid.any(1)).nonzero().flatten().tolist()
                raise ValueError(f"each image needs at least 1 token that counts; rows {rows[:10]} have none")
            if bool((tokens.valid[:, 1:] & ~tokens.valid[:, :-1]).any()):
                raise ValueError("the tokens that count must be a prefix: this tokenizer orders them by weight")


def build_vae(config: FlextokConfig) -> VisualTokenizer:
    """The untrained continuous tokenizer whose latents a FlexTok of this config reads and draws.

    Raises:
        ValueError: one whose tokens are indices, do not lie on a grid, or that keeps more than its three parts.
    """
    architecture = registry.find(str(config.vae))[0]
    changes = {**config.vae_config, "image_size": config.image_size}
    vae: VisualTokenizer = registry.load_object(architecture.model)(registry.override(architecture.config, changes))
    spec, parts = vae.token_spec, [name for name, _ in vae.named_children()]
    if spec.levels is not None or not isinstance(spec.layout, Grid):
        raise ValueError(f"vae {config.vae!r} must give continuous tokens on a grid, whose latents a flow can draw")
    if sorted(parts) != ["decoder", "encoder", "quantizer"]:
        raise ValueError(f"vae {config.vae!r} must be an encoder, a bottleneck and a decoder; it is {', '.join(parts)}")
    return vae


def keep(tokens: Tokens, lengths: Tensor) -> Tokens:
    """The first `lengths` (B,) tokens of each image: the others do not count, and their ids are 0."""
    valid = torch.arange(tokens.num_tokens, device=lengths.device) < lengths.unsqueeze(1)  # (B, L)
    if tokens.valid is not None:
        valid = valid & tokens.valid
    indices = tokens.indices.masked_fill(~valid, 0) if tokens.indices is not None else None
    return Tokens(
        layout=tokens.layout,
        indices=indices,
        latents=tokens.latents,
        levels=tokens.levels,
        valid=valid,
        extent=tokens.extent,
        geometry=tokens.geometry,
    )
