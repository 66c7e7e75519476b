"""What the page says of length: photos from few and from many tokens, and bytes beside those of codecs."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from tokzoo import plots
from tokzoo.contact_sheet import contact_sheet
from tokzoo.demo.results import DemoResult
from tokzoo.demo.words import decibels, save
from tokzoo.metrics.rate_distortion import ARCHIVE, Codec, codec_curve

__all__ = ["lengths_html", "rates_html"]

_LENGTHS_PHOTOS = 4  # on the sheet of prefixes
_CODECS: tuple[Codec, ...] = ("JPEG", "WebP")
_SHOWN_QUALITIES = (1, 10, 30, 60, 90)  # of a codec, in the table


def lengths_html(results: Sequence[DemoResult], folder: Path) -> str:
    """The photos from few and from many tokens, one tokenizer under the other."""
    ordered = [result for result in results if any(photo.prefixes for photo in result.photos)]
    if not ordered:
        return ""
    save(_lengths_sheet(ordered), folder / "lengths.png")
    return """
<section id="lengths">
<h2>How many tokens does a photo need</h2>
<p>A row shows one photo from the first tokens of one tokenizer alone.</p>
<p><img class="plot" src="lengths.png" alt="photos from 1, 2, 4, ... tokens"></p>
</section>"""


def rates_html(results: Sequence[DemoResult], folder: Path) -> str:
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
    return f'<section id="bytes">{"".join(parts)}\n</section>' if parts else ""


def _rate_row(name: str, size: float, archived: str, psnr: float) -> str:
    number = f"{size:,.1f}" if size < 100 else f"{size:,.0f}"
    return f"<tr><th>{escape(name)}</th><td>{number}</td><td>{archived}</td><td>{decibels(psnr)}</td></tr>"


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
        captions.append([*(decibels(prefix.psnr) for prefix in chosen), name])
    return contact_sheet(rows, titles=[*titles, "original"], captions=captions)
