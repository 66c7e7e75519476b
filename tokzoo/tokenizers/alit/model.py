"""ALIT, arXiv:2411.02393: tokens in rounds, until an image is told well enough. It decodes inside of encode."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo.decoders.mask_token import MaskTokenDecoder
from tokzoo.encoders.recurrent_query import RecurrentQueryEncoder
from tokzoo.parts import Quantizer
from tokzoo.quantizers.identity import IdentityBottleneck
from tokzoo.quantizers.nearest import nearest_rows
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.alit.config import AlitConfig
from tokzoo.tokenizers.base import TokenizerOutput, VisualTokenizer
from tokzoo.tokenizers.karl.base import build_encoder, build_head, check_base
from tokzoo.tokenizers.karl.model import MaxError, per_image
from tokzoo.tokens import Features, Quantized, Sequence, Tokens, TokenSpec

USUAL_ERROR = 0.07  # the authors' default


class Round(NamedTuple):
    """What a round makes: its tokens, and the decoder's map (B, D, h, w) of them, if it was asked for."""

    features: Features
    quantized: Quantized
    filled: Tensor | None


class Alit(VisualTokenizer):
    """A row of tokens from a square image, `round_tokens` for each round that it takes.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    encoder: RecurrentQueryEncoder | None
    decoder: MaskTokenDecoder | None

    def __init__(self, config: AlitConfig):
        super().__init__(config)
        check_base(config.base, config.image_size, config.patch_size, config.encoder.width)
        self.encoder = RecurrentQueryEncoder(
            base=build_encoder(config.base),
            base_dim=config.base.code_dim,
            image_size=config.image_size,
            patch_size=config.patch_size,
            round_tokens=config.round_tokens,
            num_rounds=config.num_rounds,
            width=config.encoder.width,
            depth=config.encoder.depth,
            num_heads=config.encoder.num_heads,
            code_dim=config.code_dim,
        )
        self.quantizer: Quantizer = (
            VectorQuantizer(config.codebook_size, config.code_dim, normalize=config.normalize_codes)
            if config.bottleneck == "vq"
            else IdentityBottleneck(config.code_dim)
        )
        self.decoder = MaskTokenDecoder(
            grid_size=config.grid_size,
            num_tokens=config.max_tokens,
            width=config.decoder.width,
            depth=config.decoder.depth,
            num_heads=config.decoder.num_heads,
            code_dim=config.code_dim,
            head=build_head(config.base, config.decoder.width, config.patch_size),
        )

    @property
    def token_spec(self) -> TokenSpec:
        config: AlitConfig = self.config
        return TokenSpec(
            layout=Sequence(config.max_tokens),
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
        """Images -> Tokens, of the first round whose reconstruction is good enough, else of the best; the model is
        needed whole.

        Args:
            num_tokens: a multiple of `round_tokens`: no more than these; without `max_error`, these.
            max_error: the mean absolute error in [0, 1], one for all or one for each image, below which rounds end.
                None: 0.07, unless `num_tokens` is given.
            sample, generator: between rounds, patches that are told well are blanked by chance, as in training, and a
                variational base tokenizer draws. Otherwise all of them are that are likelier blanked than not, and the
                base gives its mean.

        Raises:
            ValueError: as every tokenizer's `encode`; a count of tokens or an error out of range.
        """
        self._check_images(images)
        count = self._num_rounds(num_tokens)
        exact = num_tokens is not None and max_error is None
        rounds = list(self.rounds(images, count, fill=not exact, sample=sample, generator=generator))
        if exact:
            features, quantized, _ = rounds[-1]
            return self._to_tokens(images, features, quantized)
        allowed = per_image(USUAL_ERROR if max_error is None else max_error, images)
        head: Any = self._decoder().head
        errors = [(head(filled).float() - images.float()).abs() for *_, filled in rounds]
        reached = torch.stack([error.flatten(1).mean(1) for error in errors], dim=1)  # (B, rounds)
        good = reached < allowed.unsqueeze(1)
        chosen = torch.where(good.any(1), good.long().argmax(1), reached.argmin(1))  # (B,): the first, or the best
        return self._pick(images, rounds, chosen)

    def forward(  # type: ignore[override]  # what it takes besides images are no tensors
        self,
        images: Tensor,
        *,
        num_tokens: int | None = None,
        every: bool = False,
        settle: bool = True,
        paint: bool = True,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> TokenizerOutput:
        """Encodes and decodes with gradients, for training; the output is that of the last round.

        Args:
            num_tokens: a multiple of `round_tokens`; None: all rounds.
            every: `aux` has what the decoder's head predicts after every round, `predicted_0`, `predicted_1` ..., and
                the quantizer's losses are sums over them.
            settle: whether patches that are told well are blanked between rounds.
            paint: False gives the head's prediction (logits of base codes, or base latents) instead of pixels.
        """
        self._check_images(images)
        draws: dict[str, Any] = dict(sample=sample, generator=generator)
        rounds = list(self.rounds(images, self._num_rounds(num_tokens), fill=every, settle=settle, **draws))
        features, quantized, filled = rounds[-1]
        tokens = self._to_tokens(images, features, quantized)
        head: Any = self._decoder().head
        aux = dict(features.aux)
        filled = self._fill(quantized) if filled is None else filled
        losses = quantized.losses
        if every:
            aux |= {f"predicted_{number}": head.predict(filled) for number, (*_, filled) in enumerate(rounds)}
            losses = {name: torch.stack([part.quantized.losses[name] for part in rounds]).sum() for name in losses}
        made = head(filled) if paint else head.predict(filled)
        return TokenizerOutput(made, features.latents, tokens, quantized.codes, losses, aux)

    def keep_part(self, part: Literal["encoder", "decoder"]) -> None:
        """Drops the encoder; the decoder stays, since encoding needs it.

        Raises:
            ValueError: `part="encoder"`.
        """
        if part == "encoder":
            raise ValueError("ALIT decodes inside of encode, so its encoder alone is of no use: load it whole")
        super().keep_part(part)

    def rounds(
        self,
        images: Tensor,
        count: int,
        *,
        fill: bool,
        settle: bool = True,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Iterator[Round]:
        """The first `count` rounds; `fill`: decode after each, even where no patch is to be blanked."""
        encoder: Any = self._encoder()
        settle = settle and self.config.base.kind == "vqgan"  # the published VAE variants never do: a slip made it so
        base_options = dict(sample=sample, generator=generator) if self.config.base.kind == "vae" else {}
        rollout = encoder.begin(images.to(self.dtype), **base_options)
        for number in range(count):
            rollout = encoder.turn(rollout)
            features = encoder.read(rollout)
            quantized = self.quantizer(features.latents, features.layout)
            more = number + 1 < count
            filled = self._fill(quantized) if fill or (settle and more) else None
            yield Round(features, quantized, filled)
            if settle and more and filled is not None:
                rollout = encoder.settle(rollout, self._settled(filled, rollout.base, sample, generator))
            if more:
                rollout = encoder.add_queries(rollout, number + 1)

    @torch.no_grad()
    def _settled(self, filled: Tensor, base: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor:
        """Which patches (B, P) are told well: the likelier the base's own code, the more often, from a bound on."""
        head: Any = self._decoder().head
        wanted = nearest_rows(base.flatten(0, 1).float(), head.codebook.weight.float()).view(base.shape[:2])
        shares = head.predict(filled).float().flatten(2).softmax(1)  # (B, K, P)
        share = shares.gather(1, wanted.unsqueeze(1)).squeeze(1)
        likely = share >= self.config.settle_above
        return likely & torch.bernoulli(share, generator=generator).bool() if sample else likely

    def _fill(self, quantized: Quantized) -> Tensor:
        codes = quantized.codes.to(self.dtype)
        filled: Tensor = self._decoder().fill(Features(codes, Sequence(codes.shape[1])))  # type: ignore[operator]
        return filled

    def _pick(self, images: Tensor, rounds: list[Round], chosen: Tensor) -> Tokens:
        """Each image's tokens of its own round `chosen` (B,), in a row as long as the longest could be."""
        size, total = self.config.round_tokens, self.config.round_tokens * len(rounds)
        rows = []
        for part in rounds:
            values = part.quantized.codes if part.quantized.indices is None else part.quantized.indices.unsqueeze(-1)
            rows.append(F.pad(values, (0, 0, 0, total - values.shape[1])))
        picked = torch.stack(rows, dim=1)[torch.arange(len(images), device=images.device), chosen]  # (B, L, C or 1)
        discrete = self.quantizer.levels is not None
        return Tokens(
            layout=Sequence(total),
            indices=picked.squeeze(-1) if discrete else None,
            latents=None if discrete else picked,
            levels=self.quantizer.levels,
            valid=torch.arange(total, device=images.device) < size * (chosen + 1).unsqueeze(1),
            extent=tuple(images.shape[2:]),
        )

    def _num_rounds(self, num_tokens: int | None) -> int:
        size, most = self.config.round_tokens, self.config.max_tokens
        if num_tokens is None:
            return int(self.config.num_rounds)
        if num_tokens % size or not size <= num_tokens <= most:
            raise ValueError(f"num_tokens must be a multiple of {size}, {size} to {most}; got {num_tokens}")
        return num_tokens // size
