"""The one API of every tokenizer. B batch, H W pixels, L tokens, C channels of a code."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tokzoo import images as photos
from tokzoo.conditions.contract import Condition, Part, pick
from tokzoo.parts import Decoder, Encoder, Quantizer
from tokzoo.tokens import Features, Quantized, Tokens, TokenSpec

Photo = str | Path | bytes | Image.Image | np.ndarray
SLACK = 0.02  # bicubic resizing overshoots [0, 1] by a little


class TokenizerOutput(NamedTuple):
    """What `forward` returns; all of it keeps gradients.

    `reconstruction` (B, 3, H, W) is not clamped; `latents` (B, L, C) are the encoder's, before quantization; `aux` is
    what else an encoder says, by name.
    """

    reconstruction: Tensor
    latents: Tensor
    tokens: Tokens
    codes: Tensor
    losses: dict[str, Tensor]
    aux: dict[str, Tensor] = {}


class VisualTokenizer(nn.Module):
    """Encoder, quantizer and decoder behind `encode` and `decode`.

    A family sets `encoder`, `quantizer` and `decoder` and says its `token_spec`; systems of another shape override
    `encode` and `decode` whole.

    Images are RGB, float, (B, 3, H, W) in [0, 1], in and out. Values are checked only outside `torch.compile`.
    """

    encoder: Encoder | None
    quantizer: Quantizer
    decoder: Decoder | None
    base_keys: Mapping[str, str] = {}  # where it stands on another tokenizer: how its keys begin here, and there
    photo_protocol: str = "bicubic"  # how the published evaluation cuts a square: a name in tokzoo.images.PROTOCOLS

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.name: str | None = None  # the full registered name, once known

    # what it says of itself

    @property
    def image_size(self) -> int:
        """Pixels per side that it was made for."""
        return int(self.config.image_size)

    @property
    def multiple_of(self) -> int | None:
        """Sides must be multiples of this; None where only `image_size` fits."""
        return None

    @property
    def token_spec(self) -> TokenSpec:
        """What a generator needs to know of the tokens."""
        raise TypeError(f"{type(self).__name__} must say its token_spec")

    @property
    def conditions(self) -> dict[str, Condition]:
        """What `encode` or `decode` needs besides pixels, by the keyword that takes it; each ignores the other's."""
        return {}

    # the public door

    def preprocess(self, source: Photo | Iterable[Photo]) -> Tensor:
        """Photos, as paths, bytes, PIL images or arrays -> images (B, 3, S, S) as the published evaluation makes them.

        The shorter side is resized to `image_size`, then the centre is cropped, by `photo_protocol`.
        """
        listed = [source] if isinstance(source, Photo) else list(source)
        crop = photos.PROTOCOLS[self.photo_protocol]
        made = [crop(photos.open_image(photo), self.image_size) for photo in listed]
        return torch.stack([photos.to_tensor(image) for image in made]).to(self.device)

    def prepare(self, images: Tensor) -> dict[str, Tensor]:
        """The eager, data-dependent step before encoding: conditions of `encode`, which takes it where none are given.

        For a compiled one: `compiled_encode(images, **tok.prepare(images))`.
        """
        return {}

    def encode(
        self, images: Tensor, *, sample: bool = False, generator: torch.Generator | None = None, **conditions: Tensor
    ) -> Tokens:
        """Images -> Tokens. `sample` draws from a continuous bottleneck's posterior instead of taking its mean.

        Raises:
            ValueError: images of another size, channel count, dtype or range; NaN; an empty batch; a condition missing
                or of another shape.
        """
        features, quantized = self._quantize(images, sample=sample, generator=generator, conditions=conditions)
        return self._to_tokens(images, features, quantized)

    def decode(
        self,
        tokens: Tokens,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        clamp: bool = True,
        **conditions: Tensor,
    ) -> Tensor:
        """Tokens -> images (B, 3, H, W), float32, clamped to [0, 1]; `clamp=False` gives the raw output.

        `noise` and `generator` are for decoders that draw; others take no notice of them.

        Raises:
            ValueError: tokens of another layout, length or width, indices out of range; a condition missing or of
                another shape.
        """
        self._check_tokens(tokens)
        given = self._conditions("decode", conditions, len(tokens))
        decoder = self._decoder()
        draw = dict(noise=noise, generator=generator) if decoder.draws else {}
        images = decoder(self._placed(tokens), **given, **draw).float()
        return images.clamp(0, 1) if clamp else images

    def forward(
        self, images: Tensor, *, sample: bool = False, generator: torch.Generator | None = None, **conditions: Tensor
    ) -> TokenizerOutput:
        """Encodes and decodes with gradients, for training."""
        given = self._conditions("decode", conditions, len(images))
        features, quantized = self._quantize(images, sample=sample, generator=generator, conditions=conditions)
        tokens = self._to_tokens(images, features, quantized)
        placed = features._replace(latents=quantized.codes.to(self.dtype), extent=tokens.extent)
        decoder = self._decoder()
        reconstruction = decoder(placed, **given, **(dict(generator=generator) if decoder.draws else {}))
        return TokenizerOutput(
            reconstruction, features.latents, tokens, quantized.codes, quantized.losses, features.aux
        )

    def training_draws(self, images: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """What training gives `forward` besides images: what must not be compiled, chance and what `prepare` does."""
        return dict(self.prepare(images))

    def features(self, images: Tensor, **conditions: Tensor) -> Tensor:
        """Images -> latents (B, L, C) before quantization."""
        latents: Tensor = self._encode(images, conditions).latents
        return latents

    def codes(self, tokens: Tokens) -> Tensor:
        """Tokens -> the vectors (B, L, C) that the decoder reads, whatever the tokens are."""
        if tokens.indices is None:
            return tokens.latents  # type: ignore[return-value]
        return self.quantizer.decode(tokens.indices, tokens.layout)

    # where it is

    @property
    def device(self) -> torch.device:
        """Of the parameters."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters, in which encoder and decoder compute."""
        return next(self.parameters()).dtype

    # files

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> "VisualTokenizer":
        """`tokzoo.from_pretrained`, refusing a model of another class."""
        from tokzoo import hub

        model = hub.from_pretrained(name, **options)
        if not isinstance(model, cls):
            raise TypeError(f"{name} is a {type(model).__name__}, not a {cls.__name__}; use tokzoo.from_pretrained")
        return model

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None, base: str | None = None) -> Path:
        """Writes config.json and model.safetensors, of which `tokzoo.from_pretrained(folder)` makes the model again.

        Args:
            dtype, base: see `tokzoo.saving.save_pretrained`.
        """
        from tokzoo import saving

        return saving.save_pretrained(self, folder, dtype=dtype, base=base)

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Uploads what `save_pretrained` writes, with a model card; see `tokzoo.saving.push_to_hub`."""
        from tokzoo import saving

        return saving.push_to_hub(self, repo, **options)

    def keep_part(self, part: Literal["encoder", "decoder"]) -> None:
        """Drops the other half. The quantizer stays: either half needs it."""
        setattr(self, "decoder" if part == "encoder" else "encoder", None)

    # the wiring

    def _conditions(self, part: Part, given: dict[str, Tensor], count: int) -> dict[str, Tensor]:
        return pick(self.conditions, given, part, count=count, dtype=self.dtype)

    def _encode(self, images: Tensor, conditions: dict[str, Tensor]) -> Features:
        encoder = self._encoder()
        self._check_images(images)
        if any(condition.prepared and name not in conditions for name, condition in self.conditions.items()):
            conditions = {**self.prepare(images), **conditions}
        features: Features = encoder(images.to(self.dtype), **self._conditions("encode", conditions, len(images)))
        return features

    def _quantize(
        self,
        images: Tensor,
        *,
        sample: bool,
        generator: torch.Generator | None,
        conditions: dict[str, Tensor] | None = None,
    ) -> tuple[Features, Quantized]:
        features = self._encode(images, conditions or {})
        return features, self.quantizer(features.latents, features.layout, sample=sample, generator=generator)

    def _to_tokens(self, images: Tensor, features: Features, quantized: Quantized) -> Tokens:
        return Tokens(
            layout=self.quantizer.token_layout(features.layout),
            indices=quantized.indices,
            latents=quantized.codes if quantized.indices is None else None,
            levels=self.quantizer.levels,
            valid=features.valid,
            extent=tuple(images.shape[2:]),
            geometry=features.geometry,
        )

    def _placed(self, tokens: Tokens) -> Features:
        """The decoder's input, of tokens that were checked."""
        codes = self.codes(tokens).to(self.dtype)
        layout = self.quantizer.code_layout(tokens.layout)
        return Features(codes, layout, tokens.geometry, tokens.valid, tokens.extent)

    def _halved(self, name: Literal["encoder", "decoder"]) -> RuntimeError:
        other = "decoder" if name == "encoder" else "encoder"
        return RuntimeError(f"this model was loaded with part={other!r} and has no {name}; load it whole")

    def _encoder(self) -> Encoder:
        if self.encoder is None:
            raise self._halved("encoder")
        return self.encoder

    def _decoder(self) -> Decoder:
        if self.decoder is None:
            raise self._halved("decoder")
        return self.decoder

    def _check_images(self, images: Tensor) -> None:
        if not isinstance(images, Tensor):
            raise TypeError(
                f"images must be a tensor; got {type(images).__name__}. tok.preprocess(...) makes one of photos."
            )
        self._check_axes(images)
        if not len(images):
            raise ValueError("the batch is empty: images must hold at least one")
        if not images.is_floating_point():
            raise ValueError(f"images must be floating point in [0, 1]; got {images.dtype}. Use images.float() / 255.")
        self._check_sides(images)
        if not torch.compiler.is_compiling() and images.device.type != "meta":
            check_range(images)

    def _check_axes(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"images must be (B, 3, H, W); got {tuple(images.shape)}. One image needs [None], grey 3 channels."
            )

    def _check_sides(self, images: Tensor) -> None:
        check_size(images.shape[2], images.shape[3], image_size=self.image_size, multiple_of=self.multiple_of)

    def _check_tokens(self, tokens: Tokens) -> None:
        if not isinstance(tokens, Tokens):
            raise TypeError(
                f"decode takes Tokens; got {type(tokens).__name__}. Ids: Tokens.from_sequence(ids, tok.token_spec)."
            )
        spec = self.token_spec
        if type(tokens.layout) is not type(spec.layout):
            raise ValueError(f"this tokenizer's tokens lie on a {type(spec.layout).__name__}; got {tokens.layout}")
        least, most = spec.lengths
        allowed = least <= tokens.num_tokens <= most or (self.multiple_of is not None and tokens.num_tokens >= least)
        if not allowed:
            many = str(most) if least == most else f"{least} to {most}"
            raise ValueError(f"this tokenizer decodes {many} tokens; got {tokens.num_tokens}")
        if (tokens.indices is None) != (spec.levels is None):
            kinds = ("continuous latents", "indices") if spec.levels is None else ("indices", "continuous latents")
            raise ValueError(f"this tokenizer's tokens are {kinds[0]}; got {kinds[1]}")
        if tokens.latents is not None and tokens.latents.shape[2] != spec.channels:
            raise ValueError(f"latents must have {spec.channels} channels; got {tuple(tokens.latents.shape)}")
        if spec.levels is not None and tokens.num_slots != len(spec.levels):
            raise ValueError(f"indices must hold {len(spec.levels)} codes a token; got {tokens.num_slots}")
        if torch.compiler.is_compiling():
            return
        if tokens.indices is not None:
            check_indices(tokens.indices, spec.levels or ())
        elif not bool(tokens.latents.isfinite().all()):  # type: ignore[union-attr]
            raise ValueError("the latents hold NaN or infinity: look where they come from before decoding them")


def check_size(height: int, width: int, *, image_size: int, multiple_of: int | None) -> None:
    """Raises ValueError unless the sides fit, naming the nearest that do."""
    if multiple_of is None and (height, width) != (image_size, image_size):
        raise ValueError(
            f"this tokenizer takes {image_size}x{image_size} images; got {height}x{width}. "
            "tok.preprocess(photo) resizes and crops."
        )
    if multiple_of is not None and (height % multiple_of or width % multiple_of or not height or not width):
        near = [max(multiple_of, round(side / multiple_of) * multiple_of) for side in (height, width)]
        raise ValueError(
            f"sides must be multiples of {multiple_of}; got {height}x{width}. The nearest fit is {near[0]}x{near[1]}."
        )


def check_range(images: Tensor) -> None:
    """Raises ValueError unless all values are in [0, 1] (with a little slack); NaN is named as such."""
    least, most = (bound.item() for bound in images.detach().aminmax())
    if least >= -SLACK and most <= 1 + SLACK:
        return
    if least != least or most != most:
        raise ValueError(f"images hold {int(images.isnan().sum())} NaN values; find where they come from")
    hint = "divide by 255" if most > 2 else "if they are in [-1, 1], use (images + 1) / 2; else images.clamp(0, 1)"
    raise ValueError(f"images must be in [0, 1]; got {least:.3g} to {most:.3g}: {hint}")


def check_indices(indices: Tensor, levels: tuple[int, ...]) -> None:
    """Raises ValueError unless every slot's indices (B, L) or (B, L, D) are in [0, levels[slot])."""
    slots = indices.reshape(-1, len(levels))
    if not len(slots):
        raise ValueError("the tokens are empty: there is nothing to decode")
    bad = (slots < 0) | (slots >= slots.new_tensor(levels))
    if bool(bad.any()):
        worst = slots[bad][0].item()
        raise ValueError(
            f"{int(bad.sum())} of {slots.numel()} indices are out of range, {worst} among them; "
            f"allowed are 0 to {' / '.join(str(level - 1) for level in levels)}. Is a vocabulary offset still in them?"
        )
