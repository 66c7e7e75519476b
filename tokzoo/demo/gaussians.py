"""What the demo page shows of tokens that are Gaussians: where they lie, and what few and many of them keep."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from tokzoo.contact_sheet import contact_sheet, token_colour
from tokzoo.demo.words import save, slugs
from tokzoo.images import to_image
from tokzoo.losses.reconstruction import psnr
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Gaussians

__all__ = ["draw_gaussians", "gaussians_html", "has_gaussians"]

_COUNTS = (16, 24, 32, 48, 64)  # of tokens, on the strip
_CORNERS = 48  # of the polygon that stands for an ellipse
_FINER = 3  # drawn so many times as large, then shrunk: smooth lines


def has_gaussians(tok: VisualTokenizer) -> bool:
    """Whether photos become Gaussians of which `encode` takes the number."""
    return isinstance(tok.token_spec.layout, Gaussians) and "regions" in tok.conditions


def draw_gaussians(image: Image.Image, geometry: Tensor, *, side: int = 192) -> Image.Image:
    """Ellipses over a picture, one standard deviation to every side.

    Args:
        image: RGB.
        geometry: (N, 5): sx, sy, rho, x, y in units of half the picture, whose corner pixels lie at -1 and 1.
        side: pixels of the longer side of what is drawn.
    """
    scale = side * _FINER / max(image.size)
    drawn = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(drawn)
    pixel_x, pixel_y = scale * (image.width - 1) / 2, scale * (image.height - 1) / 2  # of one unit
    for number, (scale_x, scale_y, rho, x, y) in enumerate(geometry.double().cpu().tolist()):
        corners = []
        for corner in range(_CORNERS):
            turn = 2 * math.pi * corner / _CORNERS
            along = rho * math.cos(turn) + math.sqrt(max(0.0, 1 - rho * rho)) * math.sin(turn)
            across, down = x + scale_x * math.cos(turn) + 1, y + scale_y * along + 1
            corners.append((across * pixel_x + scale / 2, down * pixel_y + scale / 2))
        pen.polygon(corners, outline=token_colour(number, len(geometry)), width=_FINER + 1)
    return drawn.resize((drawn.width // _FINER, drawn.height // _FINER), Image.Resampling.LANCZOS)


@torch.no_grad()
def gaussians_html(tok: VisualTokenizer, folder: Path, paths: Sequence[Path]) -> str:
    """A section of the page; its pictures go to a folder in `folder`.

    Args:
        tok: one that `has_gaussians`.
        paths: of photos.

    Raises:
        ValueError: another tokenizer.
    """
    name = tok.name or type(tok).__name__
    slug = f"gaussians_{slugs([name])[0]}"
    images = tok.preprocess(paths)
    lengths = range(tok.token_spec.lengths[0], tok.token_spec.lengths[1] + 1)
    made = {count: _Made(tok, images, count) for count in _COUNTS if count in lengths}
    shown = {"ellipses.png": _ellipses(images, made, paths), "counts.png": _counts(images, made, paths)}
    (folder / slug).mkdir(parents=True, exist_ok=True)
    for file, sheet in shown.items():
        save(sheet, folder / slug / file)
    return f"""
<section id="{slug}">
<h2>{escape(name)}: tokens that place themselves</h2>
<p>A photo is halved where there is most to see; every region becomes a Gaussian, which a transformer moves and gives
features. An ellipse is one token, drawn one standard deviation wide.</p>
<p><img class="plot" src="{slug}/ellipses.png" alt="photos, their Gaussians as ellipses, reconstructions"></p>
<p>The number of tokens is chosen when a photo is encoded.</p>
<p><img class="plot" src="{slug}/counts.png" alt="reconstructions from few and from many tokens"></p>
</section>"""


class _Made:
    """Photos through a tokenizer, by so many tokens each."""

    def __init__(self, tok: VisualTokenizer, images: Tensor, count: int):
        tokens = tok.encode(images, num_tokens=count)  # type: ignore[arg-type]  # a number of tokens is no tensor
        decoded = tok.decode(tokens)
        if tokens.geometry is None:
            raise ValueError(f"{tok.name or type(tok).__name__} has tokens without geometry: they lie on no Gaussians")
        self.geometry = tokens.geometry
        self.scores = [f"{score:.1f} dB" for score in psnr(decoded, images).tolist()]
        self.pictures = [to_image(image) for image in decoded.cpu()]


def _ellipses(images: Tensor, made: dict[int, _Made], paths: Sequence[Path]) -> Image.Image:
    """Two photos in a row, each with its Gaussians and its reconstruction."""
    most = max(made)
    rows, captions = [], []
    for start in range(0, len(paths), 2):
        chosen = range(start, min(start + 2, len(paths)))
        originals = [to_image(images[row].cpu()) for row in chosen]
        rows.append(
            [
                picture
                for row, original in zip(chosen, originals, strict=True)
                for picture in (
                    original,
                    draw_gaussians(original, made[most].geometry[row]),
                    made[most].pictures[row],
                )
            ]
        )
        captions.append([text for row in chosen for text in (paths[row].stem, "", made[most].scores[row])])
    titles = ["photo", f"{most} Gaussians", "reconstruction"] * min(2, len(paths))
    return contact_sheet(rows, titles=titles, captions=captions, cell=192)


def _counts(images: Tensor, made: dict[int, _Made], paths: Sequence[Path]) -> Image.Image:
    """A photo in a row, by the number of its tokens."""
    rows = [[each.pictures[row] for each in made.values()] for row in range(len(paths))]
    captions = [[each.scores[row] for each in made.values()] for row in range(len(paths))]
    for row, path in enumerate(paths):
        rows[row].append(to_image(images[row].cpu()))
        captions[row].append(path.stem)
    return contact_sheet(rows, titles=[*(f"{count} tokens" for count in made), "photo"], captions=captions)
