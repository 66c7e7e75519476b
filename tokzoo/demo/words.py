"""Numbers in the words of the page, and pictures and folders by their names."""

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tokzoo._files import replace_atomically
from tokzoo.demo.results import DemoResult


def save(image: Image.Image, path: Path) -> None:
    with replace_atomically(path) as temporary:
        image.save(temporary)


def slugs(names: Sequence[str]) -> list[str]:
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


def decibels(psnr: float) -> str:
    return f"{psnr:.1f} dB"


def amount(bits: float | None) -> str:
    return "continuous" if bits is None else f"{bits:,.0f} bits"


def compression(image: Image.Image, bits: float | None) -> str:
    """Raw is 8 bits for each of three colours."""
    return "" if bits is None else f"{image.width * image.height * 24 / bits:,.0f}x smaller than raw"


def tokens_by_bits(result: DemoResult) -> str:
    tokens = f"{result.num_tokens:,} token{'' if result.num_tokens == 1 else 's'}"
    if result.bits_per_image is None:
        return f"{tokens}, continuous"
    return f"{tokens} x {result.bits_per_image / result.num_tokens:.4g} bits = {amount(result.bits_per_image)}"
