"""A web page that shows what tokenizers keep of a photo: original, reconstruction, tokens, and the bits they take."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import fmean

from PIL import Image

from tokzoo import plots
from tokzoo._files import replace_atomically, write_atomically
from tokzoo.contact_sheet import contact_sheet, token_strip
from tokzoo.metrics.rate_distortion import ARCHIVE, Codec, RatePoint, codec_curve

__all__ = ["DemoResult", "PhotoResult", "Prefix", "write_demo"]

_STRIP_WIDTH = 480  # pixels; about 330 wide on the page
_SHEET_PAIRS = 3  # photos in a row of the contact sheet
_LENGTHS_PHOTOS = 4  # on the sheet of prefixes
_CODECS: tuple[Codec, ...] = ("JPEG", "WebP")
_SHOWN_QUALITIES = (1, 10, 30, 60, 90)  # of a codec, in the table


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """A photo rebuilt from its first tokens alone, RGB; `psnr` in dB."""

    num_tokens: int
    image: Image.Image
    psnr: float


@dataclass(frozen=True, kw_only=True)
class PhotoResult:
    """One photo through one tokenizer.

    Args:
        name: what the photo is called on the page.
        original: as the tokenizer saw it, RGB.
        reconstruction: of the same size, RGB.
        indices: the tokens as a list or a grid, None where they are continuous.
        levels: how many values an index can take; given where `indices` are.
        psnr: of the reconstruction in dB.
        prefixes: what its first 1, 2, 4, ... tokens give, where the tokenizer is ordered.
    """

    name: str
    original: Image.Image
    reconstruction: Image.Image
    indices: list[int] | list[list[int]] | None
    levels: int | None
    psnr: float
    prefixes: tuple[Prefix, ...] = ()

    def __post_init__(self) -> None:
        if (self.indices is None) != (self.levels is None):
            raise ValueError(f"indices and levels of {self.name!r} must be given together, or both be None")


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Some photos through one tokenizer.

    Args:
        tokenizer: its full name, as in the registry.
        summary: a sentence or two about it.
        bits_per_image: exact size of an image's tokens; None where they are continuous.
        num_tokens: tokens per image.
        seconds: wall time to encode and decode all photos.
        photos: at least one.
    """

    tokenizer: str
    summary: str
    bits_per_image: float | None
    num_tokens: int
    seconds: float
    photos: list[PhotoResult]

    def __post_init__(self) -> None:
        if not self.photos:
            raise ValueError(f"the result of {self.tokenizer!r} holds no photo")
        if self.bits_per_image is not None and self.bits_per_image <= 0:
            raise ValueError(f"bits_per_image must be positive, or None where unknown; got {self.bits_per_image}")

    @property
    def mean_psnr(self) -> float:
        return fmean(photo.psnr for photo in self.photos)

    @property
    def rate_points(self) -> list[RatePoint]:
        """Payload bytes against PSNR: per prefix where there are some, else one point; none where continuous."""
        if self.bits_per_image is None:
            return []
        bytes_per_token = self.bits_per_image / self.num_tokens / 8
        by_length = zip(*(photo.prefixes for photo in self.photos), strict=True)
        closeness = {lengths[0].num_tokens: fmean(prefix.psnr for prefix in lengths) for lengths in by_length}
        return [
            RatePoint(
                setting=count, file_bytes=count * bytes_per_token, archive_bytes=count * bytes_per_token, psnr=psnr
            )
            for count, psnr in (closeness or {self.num_tokens: self.mean_psnr}).items()
        ]


def write_demo(results: Sequence[DemoResult], folder: str | Path, *, more: Sequence[str] = ()) -> Path:
    """Writes a page, a contact sheet per tokenizer and the pictures of both; returns the path of the page.

    The page needs no network: it links to the pictures beside it and holds its own style. Each file is written in one
    step, the page last, so that a page that is there is whole.

    Args:
        results: at least one, in the order of the page.
        folder: made if missing; pictures go to a folder per tokenizer in it.
        more: sections to follow, as `gaussians_html` and `generation_html` make them with the same folder.

    Raises:
        ValueError: no results.
    """
    if not results:
        raise ValueError("write_demo needs the results of at least one tokenizer")
    folder = Path(folder)
    slugs = _slugs([result.tokenizer for result in results])
    sections = []
    for result, slug in zip(results, slugs, strict=True):
        (folder / slug).mkdir(parents=True, exist_ok=True)
        _save(_sheet(result), folder / slug / "contact_sheet.png")
        figures = []
        for photo, photo_slug in zip(result.photos, _slugs([photo.name for photo in result.photos]), strict=True):
            _save(photo.original, folder / slug / f"{photo_slug}.original.png")
            _save(photo.reconstruction, folder / slug / f"{photo_slug}.reconstruction.png")
            if photo.indices is not None and photo.levels is not None:
                strip = token_strip(photo.indices, photo.levels, width=_STRIP_WIDTH)
                _save(strip, folder / slug / f"{photo_slug}.tokens.png")
            for prefix in photo.prefixes:
                _save(prefix.image, folder / slug / f"{photo_slug}.first_{prefix.num_tokens}.png")
            figures.append(_photo_html(photo, f"{slug}/{photo_slug}", result.bits_per_image))
        sections.append(_section_html(result, slug, figures))
    sections = [_lengths_html(results, folder), _rates_html(results, folder), *sections, *more]
    page = folder / "index.html"
    write_atomically(page, _page_html(results, slugs, sections))
    return page


def _save(image: Image.Image, path: Path) -> None:
    with replace_atomically(path) as temporary:
        image.save(temporary)


def _slugs(names: Sequence[str]) -> list[str]:
    """File names for any text: plain characters, no two the same even where case does not count."""
    slugs: list[str] = []
    for name in names:
        plain = slug = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "unnamed"
        number = 1
        while slug.lower() in (taken.lower() for taken in slugs):
            number += 1
            slug = f"{plain}_{number}"
        slugs.append(slug)
    return slugs


def _sheet(result: DemoResult) -> Image.Image:
    pairs = min(_SHEET_PAIRS, len(result.photos))
    rows, captions = [], []
    for start in range(0, len(result.photos), pairs):
        photos = result.photos[start : start + pairs]
        rows.append([image for photo in photos for image in (photo.original, photo.reconstruction)])
        captions.append([text for photo in photos for text in (photo.name, _decibels(photo.psnr))])
    return contact_sheet(rows, titles=["original", result.tokenizer] * pairs, captions=captions)


def _lengths_sheet(results: Sequence[DemoResult]) -> Image.Image:
    """Some photos from 1, 2, 4, ... tokens of each ordered tokenizer, the original last."""
    count = min(_LENGTHS_PHOTOS, *(len(result.photos) for result in results))
    shown = [result.photos[number] for number in range(count) for result in results]
    names = [result.tokenizer.partition(".")[0] for _ in range(count) for result in results]
    lengths = sorted({prefix.num_tokens for photo in shown for prefix in photo.prefixes})
    titles = [f"{length} token{'s' * (length > 1)}" for length in lengths]
    rows, captions = [], []
    for photo, name in zip(shown, names, strict=True):
        made = {prefix.num_tokens: prefix for prefix in photo.prefixes}
        chosen = [made[min(length, max(made))] for length in lengths]
        rows.append([*(prefix.image for prefix in chosen), photo.original])
        captions.append([*(_decibels(prefix.psnr) for prefix in chosen), name])
    return contact_sheet(rows, titles=[*titles, "original"], captions=captions)


def _decibels(psnr: float) -> str:
    return f"{psnr:.1f} dB"


def _amount(bits: float | None) -> str:
    return "continuous" if bits is None else f"{bits:,.0f} bits"


def _compression(image: Image.Image, bits: float | None) -> str:
    """Raw is 8 bits for each of three colours."""
    return "" if bits is None else f"{image.width * image.height * 24 / bits:,.0f}x smaller than raw"


def _tokens_by_bits(result: DemoResult) -> str:
    tokens = f"{result.num_tokens:,} token{'' if result.num_tokens == 1 else 's'}"
    if result.bits_per_image is None:
        return f"{tokens}, continuous"
    return f"{tokens} x {result.bits_per_image / result.num_tokens:.4g} bits = {_amount(result.bits_per_image)}"


def _photo_html(photo: PhotoResult, path: str, bits: float | None) -> str:
    name = escape(photo.name)
    strip = ""
    if photo.indices is not None:
        strip = f'<img class="tokens" src="{path}.tokens.png" alt="tokens of {name}">'
    facts = " &middot; ".join(fact for fact in (_decibels(photo.psnr), _compression(photo.original, bits)) if fact)
    return f"""
<figure>
  <div class="pair">
    <div><img src="{path}.original.png" alt="{name}, original"><span>original</span></div>
    <div><img src="{path}.reconstruction.png" alt="{name}, reconstruction"><span>reconstruction</span></div>
  </div>
  {strip}{_prefixes_html(photo, path)}
  <figcaption><b>{name}</b> {facts}</figcaption>
</figure>"""


def _prefixes_html(photo: PhotoResult, path: str) -> str:
    cells = [
        f'<div><img src="{path}.first_{prefix.num_tokens}.png" alt="{escape(photo.name)}, first {prefix.num_tokens}">'
        f"<span>{prefix.num_tokens}</span></div>"
        for prefix in photo.prefixes
    ]
    return f'\n  <div class="prefixes" title="from its first tokens alone">{"".join(cells)}</div>' if cells else ""


def _lengths_html(results: Sequence[DemoResult], folder: Path) -> str:
    """The photos from few and from many tokens, one tokenizer under the other."""
    ordered = [result for result in results if any(photo.prefixes for photo in result.photos)]
    if not ordered:
        return ""
    _save(_lengths_sheet(ordered), folder / "lengths.png")
    return """
<section>
<h2>How many tokens does a photo need</h2>
<p>A row shows one photo from the first tokens of one tokenizer alone.</p>
<p><img class="plot" src="lengths.png" alt="photos from 1, 2, 4, ... tokens"></p>
</section>"""


def _rates_html(results: Sequence[DemoResult], folder: Path) -> str:
    """A plot and a table for each size of picture: tokenizers beside codecs on the same photos."""
    sizes = dict.fromkeys(result.photos[0].original.size for result in results if result.rate_points)
    parts = []
    for width, height in sizes:
        chosen = [result for result in results if result.photos[0].original.size == (width, height)]
        ours = {result.tokenizer: result.rate_points for result in chosen if result.rate_points}
        codecs = {codec: codec_curve([photo.original for photo in chosen[0].photos], codec) for codec in _CODECS}
        plot = plots.rate_distortion(ours, codecs, folder / f"rate_distortion_{width}x{height}.png")
        rows = [
            _rate_row(f"{name}, {point.setting} token{'s' * (point.setting > 1)}", point.file_bytes, "-", point.psnr)
            for name, points in ours.items()
            for point in points
        ] + [
            _rate_row(f"{name}, quality {point.setting}", point.file_bytes, f"{point.archive_bytes:,.0f}", point.psnr)
            for name, points in codecs.items()
            for point in points
            if point.setting in _SHOWN_QUALITIES
        ]
        parts.append(f"""
<h2>Bytes and closeness, {width}x{height} photos</h2>
<p>Tokens are counted as payload, without a container. A codec is counted as the file on disk and, because a file this
small is mostly header, as its share of an archive of {ARCHIVE} images that stores headers once.</p>
<p><img class="plot" src="{plot.name}" alt="PSNR over bytes per image"></p>
<details><summary>The numbers</summary><div class="table"><table>
<thead><tr><th>coder</th><td>bytes</td><td>in an archive</td><td>mean PSNR</td></tr></thead>
<tbody>
{"".join(rows)}
</tbody>
</table></div></details>""")
    return f"<section>{''.join(parts)}\n</section>" if parts else ""


def _rate_row(name: str, size: float, archived: str, psnr: float) -> str:
    number = f"{size:,.1f}" if size < 100 else f"{size:,.0f}"
    return f"<tr><th>{escape(name)}</th><td>{number}</td><td>{archived}</td><td>{_decibels(psnr)}</td></tr>"


def _section_html(result: DemoResult, slug: str, figures: Sequence[str]) -> str:
    return f"""
<section id="{slug}">
<h2>{escape(result.tokenizer)}</h2>
<p>{escape(result.summary)}</p>
<p class="facts">{_tokens_by_bits(result)} &middot; mean PSNR {_decibels(result.mean_psnr)} &middot;
{len(result.photos)} photo{"s" * (len(result.photos) > 1)} in {result.seconds:.1f} s &middot;
<a href="{slug}/contact_sheet.png">contact sheet</a></p>
<div class="photos">{"".join(figures)}
</div>
</section>"""


def _page_html(results: Sequence[DemoResult], slugs: Sequence[str], sections: Sequence[str]) -> str:
    rows = []
    for result, slug in zip(results, slugs, strict=True):
        cells = [
            f"{result.num_tokens:,}",
            _amount(result.bits_per_image),
            _compression(result.photos[0].original, result.bits_per_image).removesuffix(" smaller than raw") or "-",
            _decibels(result.mean_psnr),
            f"{result.seconds:.1f} s",
        ]
        name = f'<a href="#{slug}">{escape(result.tokenizer)}</a>'
        rows.append(f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>tokzoo demo</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>What is left of a photo</h1>
<p>Each tokenizer turns a photo into a few tokens and rebuilds it from these alone. The coloured squares are the tokens:
the number is the index, and near indices have near colours. Where the tokens are ordered, a row shows what the first 1,
2, 4, ... of them give. PSNR says how close the result is (higher is closer); raw
means 24 bits per pixel.</p>
</header>
<div class="table"><table>
<thead><tr><th>tokenizer</th><td>tokens</td><td>size</td><td>compression</td><td>mean PSNR</td>
<td>time</td></tr></thead>
<tbody>
{"".join(rows)}
</tbody>
</table></div>
{"".join(sections)}
<footer>Made by <code>tokzoo demo</code>.</footer>
</body>
</html>
"""


_STYLE = """
:root { --paper: #fff; --card: #f6f6f7; --ink: #1b1b1f; --soft: #5f5f68; --line: #e2e2e6; --link: #1d4fb8; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16161a; --card: #202026; --ink: #ececf0; --soft: #a3a3ad; --line: #34343c; --link: #8fb4ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 32px 24px 64px; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { margin: 0 0 8px; font-size: 30px; line-height: 1.2; }
h2 { margin: 0 0 4px; font-size: 21px; overflow-wrap: anywhere; }
p { margin: 0 0 8px; max-width: 72ch; }
a { color: var(--link); }
section { margin-top: 48px; border-top: 1px solid var(--line); padding-top: 24px; }
footer { margin-top: 48px; color: var(--soft); font-size: 14px; }
.facts, figcaption, .pair span { color: var(--soft); font-size: 14px; }
figcaption b { color: var(--ink); margin-right: 6px; }
.table { overflow-x: auto; margin-top: 20px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 14px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { text-align: left; font-weight: 600; padding-left: 0; }
thead th, thead td { color: var(--soft); font-size: 14px; font-weight: 400; }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 20px;
  margin-top: 16px; align-items: start; }
figure { margin: 0; padding: 14px; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 10px; text-align: center; }
.pair img { display: block; width: 100%; border-radius: 4px; }
.tokens { display: block; width: 100%; margin: 8px 0; border-radius: 4px; }
.prefixes { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 4px; margin: 8px 0;
  text-align: center; }
.prefixes img { display: block; width: 100%; border-radius: 3px; }
.prefixes span { color: var(--soft); font-size: 12px; line-height: 1.4; display: block; }
.plot { max-width: min(820px, 100%); border-radius: 6px; }
summary { cursor: pointer; color: var(--link); }
"""
