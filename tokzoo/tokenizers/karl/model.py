"""KARL, arXiv:2507.07995: as many tokens as an image needs for the error that is asked for, found in one pass."""

from collections.abc import Sequence as PySequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo.decoders.masked_grid import MaskedGridDecoder
from tokzoo.encoders.halting_query import HaltingQueryEncoder
from tokzoo.parts import Quantizer
from tokzoo.quantizers.identity import IdentityBottleneck
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.base import TokenizerOutput, VisualTokenizer
from tokzoo.tokenizers.karl.base import build_encoder, build_head, check_base
from tokzoo.tokenizers.karl.config import KarlConfig
from tokzoo.tokens import Features, Quantized, Sequence, Tokens, TokenSpec

USUAL_ERROR = 0.05  # the authors' default

MaxError = float | PySequence[float] | Tensor


class Karl(VisualTokenizer):
    """A budget of tokens from a square image, of which `valid` marks those that it needs, anywhere in the row.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    def __init__(self, config: KarlConfig):
        super().__init__(config)
        check_config(config)
        self.encoder = HaltingQueryEncoder(
            base=build_encoder(config.base),
            base_dim=config.base.code_dim,
            patch_size=config.patch_size,
            num_tokens=config.num_tokens,
            max_tokens=config.max_tokens,
            position_side=config.position_side,
            width=config.encoder.width,
            depth=config.encoder.depth,
            num_heads=config.encoder.num_heads,
            halting_width=config.halting_width,
            code_dim=config.code_dim,
        )
        self.quantizer: Quantizer = (
            VectorQuantizer(config.codebook_size, config.code_dim, normalize=config.normalize_codes)
            if config.bottleneck == "vq"
            else IdentityBottleneck(config.code_dim)
        )
        self.decoder = MaskedGridDecoder(
            grid_size=config.grid_size,
            max_tokens=config.max_tokens,
            position_side=config.position_side,
            width=config.decoder.width,
            depth=config.decoder.depth,
            num_heads=config.decoder.num_heads,
            code_dim=config.code_dim,
            head=build_head(config.base, config.decoder.width, config.patch_size),
        )

    @property
    def token_spec(self) -> TokenSpec:
        config: KarlConfig = self.config
        return TokenSpec(
            layout=Sequence(config.num_tokens),
            levels=self.quantizer.levels,
            channels=config.code_dim,
            lengths=(1, config.max_tokens),
        )

    def encode(  # type: ignore[override]  # what it takes besides images are no tensors
        self,
        images: Tensor,
        *,
        num_tokens: int | None = None,
        max_error: MaxError | None = None,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tokens:
        """Images -> Tokens, whose `valid` says which of them an image needs.

        Args:
            num_tokens: the budget, at most `max_tokens`; None: the usual one.
            max_error: the mean absolute error in [0, 1] that is good enough, one for all or one for each image. None:
                0.05, or the least that a given `num_tokens` allows. It is a wish: what comes out is not measured.
            sample, generator: draw what a variational base tokenizer says of the image instead of taking its mean.

        Raises:
            ValueError: as every tokenizer's `encode`; a budget or an error out of range.
        """
        features, quantized = self._quantize(
            images, sample=sample, generator=generator, num_tokens=num_tokens, max_error=max_error
        )
        return self._to_tokens(images, features, quantized)

    def forward(  # type: ignore[override]  # what it takes besides images are no tensors
        self,
        images: Tensor,
        *,
        num_tokens: int | None = None,
        max_error: MaxError | None = None,
        needed: int | None = None,
        masked: bool = True,
        paint: bool = True,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> TokenizerOutput:
        """Encodes and decodes with gradients, for training.

        Args:
            needed: how many tokens of the budget are known to be enough: `halting_loss` keeps those and halts the rest.
                None: all of them.
            masked: whether the decoder reads only tokens that did not halt.
            paint: False gives the head's prediction (logits of base codes, or base latents) instead of pixels.
        """
        features, quantized = self._quantize(
            images, sample=sample, generator=generator, num_tokens=num_tokens, max_error=max_error
        )
        tokens = self._to_tokens(images, features, quantized)
        placed = features._replace(
            latents=quantized.codes.to(self.dtype), valid=tokens.valid if masked else None, extent=tokens.extent
        )
        decoder = self._decoder()
        hidden = decoder.fill(placed)  # type: ignore[operator]
        made = decoder.head(hidden) if paint else decoder.head.predict(hidden)  # type: ignore[operator, union-attr]
        losses = {**quantized.losses, "halting_loss": halting_loss(features.aux["halt_logits"], needed)}
        return TokenizerOutput(made, features.latents, tokens, quantized.codes, losses, features.aux)

    def _quantize(
        self, images: Tensor, *, sample: bool = False, generator: torch.Generator | None = None, **asked: Any
    ) -> tuple[Features, Quantized]:
        self._check_images(images)
        num_tokens, max_error = asked.get("num_tokens"), asked.get("max_error")
        if num_tokens is not None and not 1 <= num_tokens <= self.config.max_tokens:
            raise ValueError(f"num_tokens must be 1 to {self.config.max_tokens}; got {num_tokens}")
        if max_error is None:
            max_error = USUAL_ERROR if num_tokens is None else 0.0
        base_options = dict(sample=sample, generator=generator) if self.config.base.kind == "vae" else {}
        features = self._encoder()(
            images.to(self.dtype),
            num_tokens=num_tokens,
            max_error=per_image(max_error, images),
            **base_options,
        )
        return features, self.quantizer(features.latents, features.layout)


def per_image(max_error: MaxError, images: Tensor) -> Tensor:
    """An error or one for each image -> float32 (B,).

    Raises:
        ValueError: another count than there are images, or a negative error.
    """
    errors = torch.as_tensor(max_error, dtype=torch.float32, device=images.device)
    if errors.ndim > 1 or (errors.ndim == 1 and len(errors) != len(images)):
        raise ValueError(
            f"max_error must be a number or one for each of {len(images)} images; got {tuple(errors.shape)}"
        )
    if not torch.compiler.is_compiling() and images.device.type != "meta" and not bool((errors >= 0).all()):
        raise ValueError(f"max_error is a mean absolute error in [0, 1], at least 0; got {max_error}")
    return errors.expand(len(images))


def halting_loss(logits: Tensor, needed: int | None) -> Tensor:
    """Halting logits (B, T): cross entropy of the first `needed` with staying, plus that of the rest with halting."""
    needed = logits.shape[1] if needed is None else needed
    stay = F.softplus(logits[:, :needed]).mean()
    return stay + F.softplus(-logits[:, needed:]).mean() if needed < logits.shape[1] else stay


def check_config(config: KarlConfig) -> None:
    """Raises ValueError where sizes do not fit each other."""
    check_base(config.base, config.image_size, config.patch_size, config.encoder.width)
    if not 1 <= config.num_tokens <= config.max_tokens:
        raise ValueError(f"num_tokens {config.num_tokens} must be 1 to max_tokens = {config.max_tokens}")
