"""What is evaluated: a tokenizer, or a stand-in whose score says how far a number can go. B batch, H W pixels."""

import inspect
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tokzoo import hub, registry
from tokzoo.conditions.contract import helpers_of
from tokzoo.evaluation.protocol import Perturbation
from tokzoo.evaluation.published import registered_scores
from tokzoo.images import to_image
from tokzoo.metrics.rate_distortion import ARCHIVE, Codec, encode_as, header_bytes
from tokzoo.quantizers.perturbation import PerturbedQuantizer, choose
from tokzoo.registry import Score
from tokzoo.token_files.identity import identify
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Tokens

Captions = Callable[[int, int], list[str]]  # number of the first photo, how many -> their captions

__all__ = ["BASELINES", "Captions", "Reconstruction", "Subject", "load_subject", "perturbed"]


class Reconstruction(NamedTuple):
    """Of one batch: images (B, 3, H, W) in [0, 1], and what they cost.

    `indices` int64 (B, L) or (B, L, D), -1 where a token does not count; None of continuous tokens, or without any.
    `tokens` (B,): how many count. `bits` (B,): exact payload. `file_bits` (B,): of files with one image each, where
    that is another number.
    """

    images: Tensor
    indices: Tensor | None = None
    tokens: Tensor | None = None
    bits: Tensor | None = None
    file_bits: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Something that gives images back.

    Args:
        name: the full registered name, or that of a stand-in.
        kind: what the leaderboard sorts by.
        reconstruct: images (B, 3, H, W) in [0, 1], and the number of the first of them -> `Reconstruction`.
        weights: hash of each part's weights; empty where there are none.
        levels: values of each slot of its tokens; None of continuous tokens, or without any.
        image_size: the only side that it takes, or None.
        given_size: of what it is given, where that is not the protocol's `image_size`: of samples that were resized.
        reads_text: whether a caption changes what it gives.
        scores: published.
        unlike: why these are not of what is evaluated, if so.
    """

    name: str
    kind: str
    reconstruct: Callable[[Tensor, int], Reconstruction]
    weights: dict[str, str] = field(default_factory=dict)
    levels: tuple[int, ...] | None = None
    image_size: int | None = None
    given_size: int | None = None
    reads_text: bool = False
    scores: tuple[Score, ...] = ()
    unlike: str = ""


def load_subject(
    name: str,
    *,
    file: str | Path | None = None,
    captions: Captions | None = None,
    encoding: Mapping[str, int | float] | None = None,
    perturbation: Perturbation | None = None,
    device: str = "cpu",
) -> Subject:
    """A tokenizer by registered name, repository or folder; or a stand-in: `identity`, `mean_image`, `noise`,
    `jpeg_q50`, `webp_q50` (any quality).

    Args:
        file: the tokenizer's published weights, where they lie here already.
        captions: of the photos, for a tokenizer that reads text; None: empty ones.
        encoding: what a tokenizer is asked for, as `tokenizer_subject` takes it.
        perturbation: exchange tokens first.

    Raises:
        ValueError: a tokenizer of something else than images, or something is asked for that it cannot do.
    """
    if name in BASELINES:
        return Subject(name=name, kind="sanity", reconstruct=BASELINES[name])
    if match := re.fullmatch(r"(jpeg|webp)_q(\d{1,3})", name):
        codec = cast(Codec, {"jpeg": "JPEG", "webp": "WebP"}[match[1]])
        if not 1 <= int(match[2]) <= 100:
            raise ValueError(f"qualities of {codec} are 1 to 100; got {match[2]}")
        return Subject(name=name, kind="codec", reconstruct=_through_codec(codec, int(match[2])))
    _check_modality(name)
    tok = hub.from_pretrained(name, file=file, device=device)
    if tok.device.type == "cpu":
        tok.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions take a third less time
    if perturbation is not None:
        return perturbed(tok, perturbation, captions=captions)
    return tokenizer_subject(tok, Path(name).name, captions=captions, encoding=encoding)


def _check_modality(name: str) -> None:
    """Raises ValueError for a registered tokenizer of something else than images, before its weights are fetched."""
    try:
        modality = registry.find(name)[0].modality
    except KeyError:
        return  # a folder or a repository
    if modality != "image":
        raise ValueError(f"{name} is of {modality}, and `tokzoo eval` measures images; tokzoo.metrics has parts for it")


def tokenizer_subject(
    tok: VisualTokenizer,
    name: str | None = None,
    *,
    captions: Captions | None = None,
    encoding: Mapping[str, int | float] | None = None,
) -> Subject:
    """A tokenizer that is loaded.

    Args:
        encoding: `num_tokens` and `max_error`, as `encode` takes them; of any tokenizer whose prefixes decode,
            `num_tokens` are the first ones.

    Raises:
        ImportError: the package of a network that computes what it needs besides pixels is missing.
        ValueError: something is asked for that the tokenizer cannot do.
    """
    full = tok.name or name or type(tok).__name__
    return Subject(
        name=full,
        kind="tokenizer",
        reconstruct=_round_trip(tok, captions, encoding or {}),
        weights=dict(identify(tok).weights),
        levels=tok.token_spec.levels,
        image_size=tok.image_size if tok.multiple_of is None else None,
        reads_text=any(condition.helper for condition in tok.conditions.values()),
        scores=registered_scores(tok.name),
    )


def _round_trip(
    tok: VisualTokenizer, captions: Captions | None, encoding: Mapping[str, int | float]
) -> Callable[[Tensor, int], Reconstruction]:
    conditions = _conditions(tok, captions)
    encode = _encoder(tok, encoding)

    def reconstruct(images: Tensor, first: int) -> Reconstruction:
        images = images.to(tok.device)
        given = conditions(images, first)
        tokens = encode(images, given)
        generator = torch.Generator(tok.device).manual_seed(first)  # for decoders that draw: the same at any restart
        return _of_tokens(tok, tokens, tok.decode(tokens, generator=generator, clamp=False, **given))

    return reconstruct


def _encoder(tok: VisualTokenizer, encoding: Mapping[str, int | float]) -> Callable[[Tensor, dict[str, Any]], Tokens]:
    """`tok.encode` that gives as many tokens, or spends them for the error, as is asked for."""
    taken = inspect.signature(tok.encode).parameters
    options: dict[str, Any] = {name: value for name, value in encoding.items() if name in taken}
    missing = encoding.keys() - options.keys()
    name, (least, most) = tok.name or type(tok).__name__, tok.token_spec.lengths
    if missing - {"num_tokens"} or (missing and not tok.token_spec.ordered):
        raise ValueError(f"{name} cannot be asked for {', '.join(sorted(missing))}: choose another protocol")
    if missing and not least <= encoding["num_tokens"] <= most:
        raise ValueError(f"{name} decodes {least} to {most} tokens; asked for {encoding['num_tokens']}")

    def encode(images: Tensor, given: dict[str, Any]) -> Tokens:
        if options:  # what `prepare` made is for the usual number of tokens; encode makes it again
            given = {name: value for name, value in given.items() if not tok.conditions[name].prepared}
        tokens = tok.encode(images, **options, **given)
        return tokens[:, : int(encoding["num_tokens"])] if missing else tokens

    return encode


def _conditions(tok: VisualTokenizer, captions: Captions | None) -> Callable[[Tensor, int], dict[str, Any]]:
    """What the tokenizer needs besides a batch of pixels, by name."""
    helpers = {name: helper.to(tok.device) for name, helper in helpers_of(tok.conditions).items()}

    def compute(images: Tensor, first: int) -> dict[str, Any]:
        texts = None if captions is None else captions(first, len(images))
        return tok.prepare(images) | {name: helper.condition(images, texts) for name, helper in helpers.items()}

    return compute


def _of_tokens(tok: VisualTokenizer, tokens: Tokens, images: Tensor) -> Reconstruction:
    bits, indices = tokens.bits(), tokens.indices
    if indices is not None and tokens.valid is not None:
        indices = indices.masked_fill(~tokens.valid.view(*tokens.valid.shape, *[1] * (indices.ndim - 2)), -1)
    return Reconstruction(
        images.cpu(),
        None if indices is None else indices.cpu(),
        tokens.lengths.cpu(),
        None if bits is None else bits.cpu(),
    )


def perturbed(tok: VisualTokenizer, how: Perturbation, *, captions: Captions | None = None) -> Subject:
    """Reconstructions of tokens of which some are exchanged for codes near their latent; every image is affected.

    Raises:
        TypeError: a tokenizer of continuous tokens, or of several indices a token.
    """
    neighbours = how.neighbours
    search = PerturbedQuantizer(tok.quantizer, tokens=how.tokens, images=1.0, neighbours=neighbours)
    conditions = _conditions(tok, captions)

    def reconstruct(images: Tensor, first: int) -> Reconstruction:
        generator = torch.Generator().manual_seed(how.seed * 2**32 + first)
        images = images.to(tok.device)
        given = conditions(images, first)
        encoded = tok.encode(images, **given)
        nearest = search.nearest(tok.features(images, **given), neighbours)  # (B L, delta)
        chance = torch.rand(len(nearest), generator=generator).to(nearest.device)
        rank = torch.randint(neighbours, (len(nearest),), generator=generator).to(nearest.device)
        chosen = choose(nearest, chance, rank, how.tokens).view(len(images), -1)
        changed = Tokens(
            layout=encoded.layout,
            indices=chosen,
            levels=encoded.levels,
            valid=encoded.valid,
            extent=encoded.extent,
            geometry=encoded.geometry,
        )
        return _of_tokens(tok, changed, tok.decode(changed, **given))

    return replace(tokenizer_subject(tok), reconstruct=reconstruct)


# --- stand-ins -------------------------------------------------------------------------------------------------------


def _identity(images: Tensor, first: int) -> Reconstruction:
    return Reconstruction(images)


def _mean_image(images: Tensor, first: int) -> Reconstruction:
    """Each image's mean colour: what is left of it in three bytes."""
    return Reconstruction(images.mean((2, 3), keepdim=True).expand_as(images))


def _noise(images: Tensor, first: int) -> Reconstruction:
    random = np.random.Generator(np.random.PCG64(first))
    return Reconstruction(torch.from_numpy(random.random(tuple(images.shape), dtype=np.float32)))


BASELINES: dict[str, Callable[[Tensor, int], Reconstruction]] = {
    "identity": _identity,
    "mean_image": _mean_image,
    "noise": _noise,
}


def _through_codec(codec: Codec, quality: int) -> Callable[[Tensor, int], Reconstruction]:
    """Pillow's JPEG or WebP; `bits` has headers shared by an archive of `ARCHIVE` images."""

    def reconstruct(images: Tensor, first: int) -> Reconstruction:
        made, files, shared = [], [], []
        for image in images:
            stream = encode_as(to_image(image), codec, quality)
            header = header_bytes(stream, codec)
            files.append(8 * len(stream))
            shared.append(8 * (len(stream) - header + header / ARCHIVE))
            pixels = np.array(Image.open(io.BytesIO(stream)).convert("RGB"))
            made.append(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)
        return Reconstruction(torch.stack(made), bits=torch.tensor(shared), file_bits=torch.tensor(files))

    return reconstruct
