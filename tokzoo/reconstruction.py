"""Photos through tokenizers and back, and the pictures that show it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tokzoo import hub, registry
from tokzoo import images as photos
from tokzoo._files import replace_atomically
from tokzoo.conditions.contract import check_computable, helpers_of
from tokzoo.contact_sheet import contact_sheet
from tokzoo.demo import DemoResult, PhotoResult, Prefix
from tokzoo.losses.reconstruction import psnr
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Tokens

BATCH = 16
COLUMNS = 4  # photos side by side on a comparison


@torch.no_grad()
def reconstruct(tok: VisualTokenizer, paths: Sequence[Path]) -> DemoResult:
    """Encodes and decodes photos, `BATCH` at a time. A tokenizer that reads text is given an empty one.

    Raises:
        ValueError: no paths, a photo that cannot be read, or a tokenizer that needs more than photos.
    """
    if not paths:
        raise ValueError("there are no photos to reconstruct")
    check_computable(tok.conditions)
    helpers = {name: helper.to(tok.device) for name, helper in helpers_of(tok.conditions).items()}
    results: list[PhotoResult] = []
    bits: list[int] = []
    seconds = 0.0
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        images = tok.preprocess(batch)
        given: dict[str, Any] = {name: helper.condition(images) for name, helper in helpers.items()}
        began = time.perf_counter()
        tokens = tok.encode(images, **given)
        decoded = tok.decode(tokens, **given).cpu()
        seconds += time.perf_counter() - began
        counted = tokens.bits()
        bits += [] if counted is None else counted.tolist()
        scores = psnr(decoded, images.cpu())
        prefixes = _prefixes(tok, tokens, images.cpu(), given)
        for row, path in enumerate(batch):
            results.append(
                PhotoResult(
                    name=path.stem,
                    original=photos.to_image(images[row].cpu()),
                    reconstruction=photos.to_image(decoded[row]),
                    indices=None if tokens.indices is None else tokens.indices[row].flatten().tolist(),
                    levels=None if tokens.levels is None else max(tokens.levels),
                    psnr=float(scores[row]),
                    prefixes=prefixes[row],
                )
            )
    return DemoResult(
        tokenizer=tok.name or type(tok).__name__,
        summary=f"{_spelling(tok)}, {tok.image_size}x{tok.image_size} pixels, "
        f"{sum(value.numel() for value in tok.parameters()) / 1e6:.2f}M parameters",
        bits_per_image=sum(bits) / len(bits) if bits else None,
        num_tokens=tokens.num_tokens,
        seconds=seconds,
        photos=results,
    )


def _spelling(tok: VisualTokenizer) -> str:
    """Its authors', or the class's name of what is not registered."""
    try:
        return hub.architecture_of(tok).published_as
    except KeyError:
        return type(tok).__name__


def _prefixes(
    tok: VisualTokenizer, tokens: Tokens, images: torch.Tensor, given: dict[str, Any]
) -> list[tuple[Prefix, ...]]:
    """Per photo what its first 1, 2, 4, ... tokens give; nothing where the tokenizer is not ordered."""
    spec = tok.token_spec
    found: list[list[Prefix]] = [[] for _ in images]
    lengths = [2**power for power in range(tokens.num_tokens.bit_length()) if 2**power >= spec.lengths[0]]
    for length in lengths if spec.ordered else ():
        decoded = tok.decode(tokens[:, :length], **given).cpu()
        for row, score in enumerate(psnr(decoded, images)):
            found[row].append(Prefix(num_tokens=length, image=photos.to_image(decoded[row]), psnr=float(score)))
    return [tuple(row) for row in found]


def shipped() -> list[str]:
    """Full names of the weights that travel with the package, tokenizers only."""
    names = registry.list_models(pretrained=True, kind="tokenizer")
    found = [(name, registry.find(name)[1]) for name in names]
    return [name for name, weights in found if weights is not None and weights.shipped]


def write_reconstructions(result: DemoResult, folder: Path) -> Path:
    """Writes NAME.png for each photo, and contact-sheet.png; returns the sheet's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for photo in result.photos:
        with replace_atomically(folder / f"{photo.name}.png") as temporary:
            photo.reconstruction.save(temporary, format="PNG")
    return write_comparison([result], folder / "contact-sheet.png")


def write_comparison(results: Sequence[DemoResult], file: Path) -> Path:
    """Draws each photo above its reconstructions by every tokenizer of `results`, which saw the same photos."""
    count = len(results[0].photos)
    rows, captions = [], []
    for start in range(0, count, COLUMNS):
        chosen = range(start, min(count, start + COLUMNS))
        cells = [(results[0].photos[i].original, results[0].photos[i].name) for i in chosen]
        rows.append([image for image, _ in cells])
        captions.append([name for _, name in cells])
        for result in results:
            rows.append([result.photos[i].reconstruction for i in chosen])
            captions.append([f"{result.tokenizer.partition('.')[0]} {result.photos[i].psnr:.1f} dB" for i in chosen])
    sheet = contact_sheet(rows, titles=[""] * min(COLUMNS, count), captions=captions, cell=160)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(file) as temporary:
        sheet.save(temporary, format="PNG")
    return file
