"""Any continuous tokenizer made discrete after training, arXiv:2503.16430: `tokzoo.quantize(tok, levels=64)`."""

from dataclasses import asdict, replace
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor

from tokzoo import hub, registry
from tokzoo.conditions.contract import Condition
from tokzoo.quantizers.channel_tables import (
    ChannelTableQuantizer,
    allocate_bits,
    lloyd_max_table,
    published_table,
    uniform_table,
)
from tokzoo.tokenizers.base import TokenizerOutput, VisualTokenizer
from tokzoo.tokenizers.post_training.calibration import Calibration, Photos, calibrate, fingerprint
from tokzoo.tokenizers.post_training.config import PostTrainingConfig
from tokzoo.tokens import Tokens, TokenSpec

Bins = Literal["normal", "uniform", "lloyd_max"]


class PostTraining(VisualTokenizer):
    """A continuous tokenizer with a table per channel behind its bottleneck; what it decodes are the tables' values.

    Args:
        base: the continuous tokenizer, whose networks are shared; None: an untrained one, by `config`.

    Raises:
        ValueError: a base that has indices already, or that keeps more than encoder, bottleneck and decoder.
    """

    quantizer: ChannelTableQuantizer
    base_keys = {"encoder.": "encoder.", "decoder.": "decoder."}

    def __init__(self, config: PostTrainingConfig, base: VisualTokenizer | None = None):
        super().__init__(config)
        if base is None:
            architecture = registry.find(config.base)[0]
            base = registry.load_object(architecture.model)(
                registry.override(architecture.config, dict(config.base_config))
            )
        check_base(base)
        self._held = [base]  # in a list, so that its networks are registered once, here
        self.encoder, self.bottleneck, self.decoder = base.encoder, base.quantizer, base.decoder
        self.quantizer = ChannelTableQuantizer(config.levels)
        self.photo_protocol = base.photo_protocol

    @property
    def base(self) -> VisualTokenizer:
        """The continuous tokenizer."""
        return self._held[0]

    @property
    def image_size(self) -> int:
        return self.base.image_size

    @property
    def multiple_of(self) -> int | None:
        return self.base.multiple_of

    @property
    def conditions(self) -> dict[str, Condition]:
        return self.base.conditions

    @property
    def token_spec(self) -> TokenSpec:
        return replace(self.base.token_spec, levels=self.quantizer.levels)

    def train(self, mode: bool = True) -> Self:
        self.base.train(mode)
        super().train(mode)
        return self

    def keep_part(self, part: Literal["encoder", "decoder"]) -> None:
        self.base.keep_part(part)
        super().keep_part(part)

    def prepare(self, images: Tensor) -> dict[str, Tensor]:
        return self.base.prepare(images)

    def features(self, images: Tensor, **conditions: Any) -> Tensor:
        """Images -> the continuous tokens (B, L, C) that are quantized."""
        return self.base.codes(self.base.encode(images, **conditions))

    def encode(self, images: Tensor, **options: Any) -> Tokens:
        tokens = self.base.encode(images, **options)
        indices = self.quantizer.index(self.base.codes(tokens))
        return replace(tokens, latents=None, indices=indices, levels=self.quantizer.levels)

    def decode(self, tokens: Tokens, **options: Any) -> Tensor:
        self._check_tokens(tokens)
        return self.base.decode(self._continuous(tokens, self.codes(tokens)), **options)

    def forward(
        self, images: Tensor, *, sample: bool = False, generator: torch.Generator | None = None, **conditions: Tensor
    ) -> TokenizerOutput:
        continuous = self.base.encode(images, sample=sample, generator=generator, **conditions)
        latents = self.base.codes(continuous)
        codes, indices, _, losses = self.quantizer(latents)
        tokens = replace(continuous, latents=None, indices=indices, levels=self.quantizer.levels)
        images = self.base.decode(self._continuous(tokens, codes), clamp=False, generator=generator, **conditions)
        return TokenizerOutput(images, latents, tokens, codes, losses)

    def _continuous(self, tokens: Tokens, codes: Tensor) -> Tokens:
        return replace(tokens, indices=None, latents=codes, levels=None)


def check_base(base: VisualTokenizer) -> None:
    """Raises TypeError or ValueError unless `base` is a continuous tokenizer of the three usual parts."""
    if not isinstance(base, VisualTokenizer):
        raise TypeError(f"only a tokenizer is quantized after training; got a {type(base).__name__}")
    if base.token_spec.levels is not None:
        raise ValueError(
            "this tokenizer's tokens are indices already; only continuous ones are quantized after training"
        )
    others = [name for name, _ in base.named_children() if name not in ("encoder", "quantizer", "decoder")]
    if others:
        raise ValueError(f"a tokenizer that also keeps {', '.join(others)} cannot be saved when it is quantized")


def quantize(
    tok: VisualTokenizer,
    levels: int = 64,
    *,
    bins: Bins | None = None,
    calibration: Calibration | Photos | None = None,
    bits_per_token: int | None = None,
    low: float = -5.0,
    high: float = 5.0,
    reach: float = 3.0,
) -> PostTraining:
    """A discrete tokenizer of a continuous one, without training; it shares the networks of `tok`.

    Args:
        tok: a continuous tokenizer; or one that this function made, which is quantized anew, around the means and by
            the spreads that it was calibrated to.
        levels: values per channel.
        bins: `normal`, as published: equally likely bins of a normal distribution; `uniform`; `lloyd_max`, of least
            error in the decoded photos of `calibration`. None: `lloyd_max` where that is given, else `normal`.
        calibration: a folder of photos, photos, or images (B, 3, H, W), two or more, or what `calibrate` made of them:
            `low` and `high` are then standard deviations around each channel's mean. None: of latents scaled as
            `tok.token_spec` says.
        bits_per_token: budget for all channels, in place of `levels`: bits go where they lower the error of the decoded
            image most. It needs `calibration`, and tables of `lloyd_max`.
        reach: of the published bins: the standard deviations that `high` stands for.

    Raises:
        TypeError: no tokenizer. ValueError: a tokenizer of indices; levels that are no power of two with published
            bins; a calibration that is missing, too small or of another tokenizer, or a channel that does not vary over
            it; an option out of range.
    """
    known = tok.config if isinstance(tok, PostTraining) else None
    tok = tok.base if isinstance(tok, PostTraining) else tok
    check_base(tok)
    bins = bins or ("normal" if calibration is None else "lloyd_max")
    if not isinstance(levels, int) or levels < 1:
        raise ValueError(f"levels must be a whole number, 1 at least; got {levels}")
    if not (low < high and reach > 0):
        raise ValueError(f"bins need low < high and reach > 0; got low={low}, high={high}, reach={reach}")
    _check_bins(bins, calibration, bits_per_token)
    channels = tok.token_spec.channels
    seen = None if calibration is None else _seen(tok, calibration)
    means, spreads = _centres(tok, known, seen)
    if bins == "lloyd_max":
        assert seen is not None  # checked above
        counts = [levels] * channels
        if bits_per_token is not None:
            counts = [2**bits for bits in allocate_bits(seen.samples, bits_per_token, seen.costs)]
        columns = zip(seen.samples.t(), counts, seen.costs.t(), strict=True)
        tables = [lloyd_max_table(samples, count, costs) for samples, count, costs in columns]
    else:
        bounds = dict(low=low, high=high)
        table = published_table(levels, **bounds, reach=reach) if bins == "normal" else uniform_table(levels, **bounds)
        tables = [mean + spread * table for mean, spread in zip(means, spreads, strict=True)]
    fitted = seen is not None or (known is not None and bool(known.means))
    config = PostTrainingConfig(
        base=hub.architecture_of(tok).name if known is None else known.base,
        base_config=asdict(tok.config),
        levels=tuple(len(table) for table in tables),
        means=tuple(means.tolist()) if fitted else (),
        spreads=tuple(spreads.tolist()) if fitted else (),
    )
    made = PostTraining(config, tok).to(tok.device)
    made.quantizer.load_tables(tables)
    return made.eval()


def _check_bins(bins: Bins, calibration: object, bits_per_token: int | None) -> None:
    if bins not in get_args(Bins):
        raise ValueError(f"bins must be one of {', '.join(get_args(Bins))}; got {bins!r}")
    if calibration is None and (bins == "lloyd_max" or bits_per_token is not None):
        raise ValueError(
            "bins='lloyd_max' and bits_per_token are fitted to photos: give calibration=, a folder of some"
        )
    if bits_per_token is not None and bins != "lloyd_max":
        raise ValueError(f"bits_per_token goes with bins='lloyd_max'; got {bins!r}")


def _seen(tok: VisualTokenizer, calibration: Calibration | Photos) -> Calibration:
    seen = calibration if isinstance(calibration, Calibration) else calibrate(tok, calibration)
    if seen.of != fingerprint(tok):
        raise ValueError("this calibration is of another tokenizer, or of other weights: calibrate(tok, photos) anew")
    return seen


def _centres(tok: VisualTokenizer, known: PostTrainingConfig | None, seen: Calibration | None) -> tuple[Tensor, Tensor]:
    """Mean and spread of each channel (C,): over the photos, or as they were before, or as the tokenizer says."""
    if seen is not None:
        spreads, means = torch.std_mean(seen.samples, 0)
        return means, spreads
    if known is not None and known.means:
        return torch.tensor(known.means), torch.tensor(known.spreads)
    spec = tok.token_spec
    return torch.full((spec.channels,), spec.shift), torch.full((spec.channels,), 1 / spec.scale)
