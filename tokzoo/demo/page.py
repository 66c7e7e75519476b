"""The page itself: all reconstructions, how many tokens they take, generators, and each tokenizer photo by photo."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from tokzoo._files import write_atomically
from tokzoo.contact_sheet import contact_sheet, token_strip
from tokzoo.demo.lengths import lengths_html, rates_html
from tokzoo.demo.results import DemoResult, PhotoResult
from tokzoo.demo.style import STYLE
from tokzoo.demo.words import amount, compression, decibels, save, slugs, tokens_by_bits

__all__ = ["write_demo"]

_STRIP_WIDTH = 480  # pixels; about 330 wide on the page
_SHEET_PAIRS = 3  # photos in a row of the contact sheet


def write_demo(
    results: Sequence[DemoResult],
    folder: str | Path,
    *,
    generated: Sequence[str] = (),
    details: Sequence[str] = (),
) -> Path:
    """Writes a page, a contact sheet per tokenizer and the pictures of both; returns the path of the page.

    The page needs no network: it links to the pictures beside it and holds its own style. Each file is written in one
    step, the page last, so that a page that is there is whole. Tokenizers with several codes a token come last, folded:
    their codes are many.

    Args:
        results: at least one, in the order of the page.
        folder: made if missing; pictures go to a folder per tokenizer in it.
        generated: sections about generators, as `generation_html` makes them with the same folder.
        details: sections about single tokenizers, as `gaussians_html` does; they follow.

    Raises:
        ValueError: no results.
    """
    if not results:
        raise ValueError("write_demo needs the results of at least one tokenizer")
    folder = Path(folder)
    names = slugs([result.tokenizer for result in results])
    shown = [_Shown(result, name) for result, name in zip(results, names, strict=True)]
    for each in shown:
        each.write_pictures(folder)
    sections = [_overview_html(shown), lengths_html(results, folder), rates_html(results, folder), *generated, *details]
    sections += [each.html() for each in sorted(shown, key=lambda each: each.is_folded)]
    page = folder / "index.html"
    write_atomically(page, _page_html(sections))
    return page


class _Shown:
    """A tokenizer on the page, with the names of its files: `slug` of its folder, `paths` of its photos."""

    def __init__(self, result: DemoResult, slug: str):
        self.result, self.slug = result, slug
        self.is_folded = result.codes_per_token > 1
        self.paths = [f"{slug}/{name}" for name in slugs([photo.name for photo in result.photos])]

    def write_pictures(self, folder: Path) -> None:
        (folder / self.slug).mkdir(parents=True, exist_ok=True)
        save(_sheet(self.result), folder / self.slug / "contact_sheet.png")
        for photo, path in zip(self.result.photos, self.paths, strict=True):
            save(photo.original, folder / f"{path}.original.png")
            save(photo.reconstruction, folder / f"{path}.reconstruction.png")
            if photo.indices is not None and photo.levels is not None:
                strip = token_strip(photo.indices, photo.levels, width=_STRIP_WIDTH)
                save(strip, folder / f"{path}.tokens.png")
            for prefix in photo.prefixes:
                save(prefix.image, folder / f"{path}.first_{prefix.num_tokens}.png")

    def html(self) -> str:
        """A section with each photo."""
        result = self.result
        count = f"{len(result.photos)} photo{'s' * (len(result.photos) > 1)}"
        figures = [
            _photo_html(photo, path, result.bits_per_image)
            for photo, path in zip(result.photos, self.paths, strict=True)
        ]
        photos = f'<div class="photos">{"".join(figures)}\n</div>'
        if self.is_folded:
            codes = f"{result.codes_per_token} codes a token"
            photos = f"<details><summary>{count}, {codes}</summary>\n{photos}</details>"
        return f"""
<section id="{self.slug}">
<h2>{escape(result.tokenizer)}</h2>
<p>{escape(result.summary)}</p>
<p class="facts">{tokens_by_bits(result)} &middot; mean PSNR {decibels(result.mean_psnr)} &middot;
{count} in {result.seconds:.1f} s &middot;
<a href="{self.slug}/contact_sheet.png">contact sheet</a></p>
{photos}
</section>"""


def _sheet(result: DemoResult) -> Image.Image:
    pairs = min(_SHEET_PAIRS, len(result.photos))
    rows, captions = [], []
    for start in range(0, len(result.photos), pairs):
        photos = result.photos[start : start + pairs]
        rows.append([image for photo in photos for image in (photo.original, photo.reconstruction)])
        captions.append([text for photo in photos for text in (photo.name, decibels(photo.psnr))])
    return contact_sheet(rows, titles=["original", result.tokenizer] * pairs, captions=captions)


def _photo_html(photo: PhotoResult, path: str, bits: float | None) -> str:
    name = escape(photo.name)
    strip = ""
    if photo.indices is not None:
        strip = f'<img class="tokens" src="{path}.tokens.png" alt="tokens of {name}">'
    facts = " &middot; ".join(fact for fact in (decibels(photo.psnr), compression(photo.original, bits)) if fact)
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


def _overview_html(shown: Sequence[_Shown]) -> str:
    """Every photo by every tokenizer, a tokenizer in a row; then the numbers of each."""
    fullest = max(shown, key=lambda each: len(each.paths))
    rows = [_row_html("photo", "", [(path, "original") for path in fullest.paths])]
    numbers = []
    for each in shown:
        result = each.result
        name = f'<a href="#{each.slug}">{escape(result.tokenizer).replace(".", "<wbr>.")}</a>'
        tokens = f"{result.num_tokens:,} tokens, {decibels(result.mean_psnr)}"
        rows.append(_row_html(name, tokens, [(path, "reconstruction") for path in each.paths]))
        cells = [
            f"{result.num_tokens:,}",
            amount(result.bits_per_image),
            compression(result.photos[0].original, result.bits_per_image).removesuffix(" smaller than raw") or "-",
            decibels(result.mean_psnr),
            f"{result.seconds:.1f} s",
        ]
        numbers.append(f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"""
<section id="reconstructions">
<h2>What each tokenizer gives back</h2>
<div class="table"><table class="overview">
{"".join(rows)}
</table></div>
<div class="table"><table>
<thead><tr><th>tokenizer</th><td>tokens</td><td>size</td><td>compression</td><td>mean PSNR</td>
<td>time</td></tr></thead>
<tbody>
{"".join(numbers)}
</tbody>
</table></div>
</section>"""


def _row_html(name: str, facts: str, pictures: Sequence[tuple[str, str]]) -> str:
    """`pictures`: the path of a photo's files, and which of them."""
    cells = "".join(f'<td><img src="{path}.{kind}.png" alt="{escape(path)}, {kind}"></td>' for path, kind in pictures)
    return f"<tr><th>{name}<span>{facts}</span></th>{cells}</tr>\n"


def _page_html(sections: Sequence[str]) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>tokzoo demo</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>What is left of a photo</h1>
<p>Each tokenizer turns a photo into a few tokens and rebuilds it from these alone; a generator makes tokens, which its
tokenizer decodes. Below: all reconstructions, how many tokens a photo needs, photos that generators make, then each
tokenizer photo by photo. There the coloured squares are the tokens: the number is the index, and near indices have near
colours. Where the tokens are ordered, a row shows what the first 1, 2, 4, ... of them give. PSNR says how close the
result is (higher is closer); raw means 24 bits per pixel.</p>
</header>
{"".join(sections)}
<footer>Made by <code>tokzoo demo</code>.</footer>
</body>
</html>
"""
