"""What the demo page shows of a generator: samples of its classes, one sample as it comes to be, a photo completed."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import torch
from PIL import Image

from tokzoo import registry
from tokzoo.contact_sheet import contact_sheet
from tokzoo.demo.words import save, slugs
from tokzoo.generation import Pipeline
from tokzoo.generators.autoregressive import Autoregressive
from tokzoo.images import to_image
from tokzoo.tokens import Tokens

__all__ = ["generation_html", "shipped_generators"]

_SAMPLES = 8  # of each class
_COMPLETIONS = 6  # of each photo
_SEED = 0


def shipped_generators() -> list[str]:
    """Full names of the generators that travel with the package."""
    names = registry.list_models(pretrained=True, kind="generator")
    found = [(name, registry.find(name)[1]) for name in names]
    return [name for name, weights in found if weights is not None and weights.shipped]


def generation_html(pipe: Pipeline, folder: Path, photos: Sequence[Path] = ()) -> str:
    """A section of the page; its pictures go to a folder in `folder`.

    Args:
        pipe: a generator whose classes have names.
        photos: to complete, named after a class (`daisy.jpg` or `rose.jpg` of roses); others are left out.
    """
    name = pipe.generator.name or type(pipe.generator).__name__
    slug = slugs([name])[0]
    (folder / slug).mkdir(parents=True, exist_ok=True)
    parts = [_figure(samples(pipe), folder / slug / "samples.png", "drawn of each class; no photo is shown here")]
    if isinstance(pipe.generator, Autoregressive):
        parts.append(_figure(trajectory(pipe), folder / slug / "trajectory.png", _how_a_sample_comes(pipe)))
    known = [photo for photo in photos if class_of(photo, pipe.classes) is not None]
    if known:
        parts.append(_figure(completions(pipe, known), folder / slug / "completions.png", _HALF))
    return f"""
<section id="{slug}">
<h2>Photos that {escape(name)} makes</h2>
<p>Makes the tokens of {escape(str(pipe.generator.tokenizer))} of a class, one after another or a few at a time; the
tokenizer decodes them.</p>
{"".join(parts)}
</section>"""


def class_of(photo: Path, classes: Sequence[str]) -> str | None:
    """The class that a photo's file is named after, one or many of it; None if there is none."""
    stem = photo.stem.replace("_", "-")
    return next((name for name in classes if name in (stem, f"{stem}s")), None)


def samples(pipe: Pipeline) -> Image.Image:
    """A row for each class."""
    images = pipe(list(pipe.classes), num_samples=_SAMPLES, seed=_SEED)
    rows = [[to_image(image) for image in part] for part in images.cpu().chunk(len(pipe.classes))]
    captions = [[name, *[""] * (_SAMPLES - 1)] for name in pipe.classes]
    return contact_sheet(rows, titles=[""] * _SAMPLES, captions=captions, cell=80, gap=6)


def trajectory(pipe: Pipeline) -> Image.Image:
    """Some samples after 1, 2, 4, ... of their tokens."""
    names = pipe.classes[:: max(1, len(pipe.classes) // 4)][:4]
    columns = stages(pipe, names)
    rows = [[to_image(images[row]) for images in columns.values()] for row in range(len(names))]
    titles = [f"{length} token{'s' * (length > 1)}" for length in columns]
    return contact_sheet(rows, titles=titles, captions=[[name, *[""] * (len(titles) - 1)] for name in names], cell=96)


def stages(pipe: Pipeline, names: Sequence[str]) -> dict[int, torch.Tensor]:
    """A sample of each class, by how many of its first tokens are drawn: the rest is left out, or then likeliest."""
    tokens = pipe.tokens(list(names), seed=_SEED)
    lengths = [2**power for power in range(tokens.num_tokens.bit_length())]
    return {length: _after(pipe, tokens, names, length) for length in lengths}


def completions(pipe: Pipeline, photos: Sequence[Path]) -> Image.Image:
    """Photos of which the first half of the tokens is kept, and the rest drawn."""
    images = pipe.tokenizer.preprocess(photos)
    with torch.no_grad():
        tokens = pipe.tokenizer.encode(images)
        rebuilt = pipe.tokenizer.decode(tokens)
    length = tokens.num_tokens
    kept = (torch.arange(length, device=images.device) < length // 2).expand(len(photos), -1)
    given = Tokens(layout=tokens.layout, indices=tokens.indices, levels=tokens.levels, valid=kept)
    rows = []
    for number, photo in enumerate(photos):
        drawn = pipe(str(class_of(photo, pipe.classes)), num_samples=_COMPLETIONS, seed=_SEED, given=given[number])
        rows.append([to_image(image.cpu()) for image in (images[number], rebuilt[number], *drawn)])
    titles = ["photo", "all its tokens", *["half of them"] * _COMPLETIONS]
    return contact_sheet(rows, titles=titles, captions=[[photo.stem, *[""] * (len(titles) - 1)] for photo in photos])


_HALF = "the first half of a photo's tokens is kept, and the rest drawn"


def _how_a_sample_comes(pipe: Pipeline) -> str:
    if pipe.tokenizer.token_spec.ordered:
        return "coarse to fine: samples of which the first tokens alone are decoded; nothing is filled in"
    return "samples as their tokens are drawn: the first of them, and the likeliest rest"


def _after(pipe: Pipeline, tokens: Tokens, names: Sequence[str], length: int) -> torch.Tensor:
    """Images of the first `length` tokens; where decoding is by chance, by the same one at every length."""
    first = tokens[:, :length] if length < tokens.num_tokens else tokens
    if pipe.tokenizer.token_spec.ordered or length == tokens.num_tokens:
        noise = torch.Generator(pipe.generator.device).manual_seed(_SEED)
        with torch.no_grad():
            return pipe.tokenizer.decode(first, generator=noise).cpu()
    return pipe(list(names), given=first, temperature=0).cpu()


def _figure(sheet: Image.Image, file: Path, caption: str) -> str:
    save(sheet, file)
    words = escape(caption)
    return f'<p>{words}</p>\n<p><img class="plot" src="{file.parent.name}/{file.name}" alt="{words}"></p>\n'
