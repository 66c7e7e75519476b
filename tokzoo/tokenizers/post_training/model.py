"""Any continuous tokenizer made discrete after training, arXiv:2503.16430: `tokzoo.quantize(tok, levels=64)`."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
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
from tokzoo.tokenizers.base import Photo, TokenizerOutput, VisualTokenizer
from tokzoo.tokenizers.post_training.config import PostTrainingConfig
from tokzoo.tokens import Tokens, TokenSpec

Bins = Literal["normal", "uniform", "lloyd_max"]
BATCH = 8  # images that are encoded at once in calibration
PROBED = 2  # images that the decoder is probed with
NUDGE = 0.1  # of a channel's spread, to see what the decoder makes of it


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


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` saw of a tokenizer: `samples` (N, C) of its latents, and `costs` (C,).

    `costs` are square errors of pixels per square error in each channel. `of` tells the tokenizer.
    """

    samples: Tensor
    costs: Tensor
    of: str


def check_base(base: VisualTokenizer) -> None:
    """Raises ValueError unless `base` is a continuous tokenizer of the three usual parts."""
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
    bins: Bins = "normal",
    calibration: "Calibration | str | Path | Iterable[Photo] | Tensor | None" = None,
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
            error on the photos of `calibration`.
        calibration: a folder of photos, photos, or images (B, 3, H, W), two or more, or what `calibrate` made of them:
            `low` and `high` are then standard deviations around each channel's mean. None: of latents scaled as
            `tok.token_spec` says.
        bits_per_token: budget for all channels, in place of `levels`: bits go where they lower the error of the decoded
            image most. It needs `calibration`, and tables of `lloyd_max`.
        reach: of the published bins: the standard deviations that `high` stands for.

    Raises:
        ValueError: a tokenizer of indices; levels that are no power of two with published bins; a calibration that is
            missing, too small or of another tokenizer, or a channel that does not vary over it.
    """
    known = tok.config if isinstance(tok, PostTraining) else None
    tok = tok.base if isinstance(tok, PostTraining) else tok
    check_base(tok)
    if bins not in get_args(Bins):
        raise ValueError(f"bins must be one of {', '.join(get_args(Bins))}; got {bins!r}")
    if calibration is None and (bins == "lloyd_max" or bits_per_token is not None):
        raise ValueError(
            "bins='lloyd_max' and bits_per_token are fitted to photos: give calibration=, a folder of some"
        )
    if bits_per_token is not None and bins != "lloyd_max":
        raise ValueError(f"bits_per_token goes with bins='lloyd_max'; got {bins!r}")
    spec = tok.token_spec
    counts = (levels,) * spec.channels
    fitted = calibration is not None
    if calibration is None and known is not None and known.means:
        means, spreads, fitted = torch.tensor(known.means), torch.tensor(known.spreads), True
    elif calibration is None:
        means, spreads = torch.full((spec.channels,), spec.shift), torch.full((spec.channels,), 1 / spec.scale)
    else:
        seen = calibration if isinstance(calibration, Calibration) else calibrate(tok, calibration)
        if seen.of != fingerprint(tok):
            raise ValueError(
                "this calibration is of another tokenizer, or of other weights: calibrate(tok, photos) anew"
            )
        samples = seen.samples
        spreads, means = torch.std_mean(samples, 0)
        if bits_per_token is not None:
            counts = tuple(2**bits for bits in allocate_bits(samples, bits_per_token, seen.costs))
    if bins == "lloyd_max":
        tables = [lloyd_max_table(column, count) for column, count in zip(samples.t(), counts, strict=True)]
    else:
        normal = bins == "normal"
        table = (
            published_table(levels, low=low, high=high, reach=reach)
            if normal
            else uniform_table(levels, low=low, high=high)
        )
        tables = [mean + spread * table for mean, spread in zip(means, spreads, strict=True)]
    config = PostTrainingConfig(
        base=hub.architecture_of(tok).name if known is None else known.base,
        base_config=asdict(tok.config),
        levels=counts,
        means=tuple(means.tolist()) if fitted else (),
        spreads=tuple(spreads.tolist()) if fitted else (),
    )
    made = PostTraining(config, tok).to(tok.device)
    made.quantizer.load_tables(tables)
    return made.eval()


@torch.no_grad()
def calibrate(tok: VisualTokenizer, photos: str | Path | Iterable[Photo] | Tensor) -> Calibration:
    """The latents that `tok` makes of photos, to quantize it by several times.

    Args:
        photos: a folder of photos, photos, or images (B, 3, H, W); two or more, better hundreds.

    Raises:
        ValueError: a single photo, no folder, or a channel that does not vary.
    """
    tokens = _encoded(tok, photos)
    samples = torch.cat([tok.codes(part).float().flatten(0, 1).cpu() for part in tokens])  # (N, C)
    spreads = samples.std(0)
    if not bool(samples.isfinite().all()) or bool((spreads <= 0).any()):
        still = [channel for channel, spread in enumerate(spreads.tolist()) if not spread > 0]
        raise ValueError(f"channels {still[:10]} do not vary over the photos, or hold NaN: give others, or more")
    return Calibration(samples, _costs(tok, tokens[0][:PROBED], spreads), fingerprint(tok))


def fingerprint(tok: VisualTokenizer) -> str:
    """A hash of the encoder's weights, which say what the latents are."""
    found = hashlib.sha256()
    for name, value in sorted((tok.encoder or tok).state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:32]


def _encoded(tok: VisualTokenizer, calibration: str | Path | Iterable[Photo] | Tensor) -> list[Tokens]:
    if isinstance(calibration, Tensor):
        batches: Iterable[Tensor] = calibration.split(BATCH)
        count = len(calibration)
    else:
        photos = list(calibration) if not isinstance(calibration, str | Path) else _photos_in(Path(calibration))
        batches = (tok.preprocess(photos[start : start + BATCH]) for start in range(0, len(photos), BATCH))
        count = len(photos)
    if count < 2:
        raise ValueError(f"statistics need two photos or more, and are better of hundreds; got {count}")
    return [tok.encode(batch.to(tok.device)) for batch in batches]


def _photos_in(folder: Path) -> list[Photo]:
    from tokzoo.images import IMAGE_EXTENSIONS

    if not folder.is_dir():
        raise ValueError(f"calibration must be a folder of photos, photos or images; {folder} is no folder")
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_EXTENSIONS]


def _costs(tok: VisualTokenizer, tokens: Tokens, spreads: Tensor) -> Tensor:
    """Square error of pixels per square error in each channel (C,), of independent small errors."""
    plain, codes = tok.decode(tokens, clamp=False), tok.codes(tokens)
    generator = torch.Generator().manual_seed(0)
    found = []
    for channel, spread in enumerate(spreads.tolist()):
        noise = torch.randn(codes.shape[:2], generator=generator).to(codes.device) * (NUDGE * spread)
        nudged = codes.clone()
        nudged[..., channel] += noise
        difference = tok.decode(replace(tokens, latents=nudged), clamp=False) - plain
        found.append(difference.square().mean() / noise.square().mean())
    return torch.stack(found).cpu()
