"""Pictures of results: originals beside reconstructions, and tokens as coloured squares. Drawn by Pillow alone."""

import math
from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

__all__ = ["contact_sheet", "token_colour", "token_strip"]

_INK, _SOFT_INK, _PAPER = (24, 24, 27), (90, 90, 98), (255, 255, 255)
_SMALLEST_TEXT = 8  # pixels; below it digits melt together
_COMFORTABLE_TEXT = 11  # pixels; lists are laid out for it
_SQUARE_SIDES = (20, 56)  # pixels; between them, what a number needs


def contact_sheet(
    rows: Sequence[Sequence[Image.Image]],
    *,
    titles: Sequence[str],
    captions: Sequence[Sequence[str]],
    cell: int = 128,
    gap: int = 12,
    margin: int = 20,
) -> Image.Image:
    """A table of images on white: a title above each column, a caption under each image.

    Args:
        rows: images row by row, by custom the original first. They are scaled (bicubic) to fit the cell, their shape
            kept. A row may be shorter than the titles.
        titles: one per column; shrunk, then cut with "...", where they are wider than the cell.
        captions: one per image, "" for none.
        cell: side of an image's place, in pixels; text is sized by it.
        gap: pixels between cells.
        margin: pixels around all.

    Raises:
        ValueError: no rows, a row longer than the titles, or captions that do not match the rows.
    """
    if not rows or not titles or len(captions) != len(rows):
        raise ValueError(
            "a contact sheet needs at least one row and one column, and captions for every row; "
            f"got {len(rows)} rows, {len(titles)} titles and captions for {len(captions)} rows"
        )
    for number, (row, row_captions) in enumerate(zip(rows, captions, strict=True)):
        if len(row) > len(titles) or len(row_captions) != len(row):
            raise ValueError(
                f"row {number} has {len(row)} images and {len(row_captions)} captions, under {len(titles)} titles. "
                "Give one caption for each image, and no more images than titles."
            )
    title_size, caption_size = max(11, cell // 9), max(10, cell // 10)
    title_height, caption_height = 2 * title_size, caption_size + 8
    width = 2 * margin + len(titles) * (cell + gap) - gap
    row_height = cell + caption_height + gap
    sheet = Image.new("RGB", (width, 2 * margin + title_height + len(rows) * row_height - gap), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        middle = margin + column * (cell + gap) + cell // 2
        _draw_centred(draw, title, (middle, margin + title_size // 2), cell, title_size, _INK)
    for number, (row, row_captions) in enumerate(zip(rows, captions, strict=True)):
        top = margin + title_height + number * row_height
        for column, (image, caption) in enumerate(zip(row, row_captions, strict=True)):
            left = margin + column * (cell + gap)
            fitted = _fit(image, cell)
            sheet.paste(fitted, (left + (cell - fitted.width) // 2, top + (cell - fitted.height) // 2))
            middle = left + cell // 2
            _draw_centred(draw, caption, (middle, top + cell + caption_height // 2), cell, caption_size, _SOFT_INK)
    return sheet


def token_strip(indices: Sequence[int] | Sequence[Sequence[int]], levels: int, *, width: int = 512) -> Image.Image:
    """Token indices as coloured squares, the number inside each where it fits.

    Args:
        indices: a list is laid out in lines that are about equally long, read as text is; a grid keeps its rows.
        levels: how many values an index can take; the colour of an index follows from both (`token_colour`).
        width: of the picture, in pixels.

    Raises:
        ValueError: no index, rows of unequal length, an index outside [0, levels), or more columns than pixels.
    """
    rows = _as_rows(indices, max(1, width // _readable_side(levels)))
    columns = max(len(row) for row in rows)
    for index in (index for row in rows for index in row):
        if not 0 <= index < levels:
            raise ValueError(f"index {index} lies outside [0, {levels})")
    side = width // columns
    if side < 1:
        raise ValueError(f"{columns} tokens in a row do not fit into {width} pixels; give a larger width")
    line = 1 if side >= 8 else 0  # white between squares, where there is room
    font = _number_font(levels, side)
    strip = Image.new("RGB", (columns * side, len(rows) * side), _PAPER)
    draw = ImageDraw.Draw(strip)
    for y, row in enumerate(rows):
        for x, index in enumerate(row):
            colour = token_colour(index, levels)
            left, top = x * side, y * side
            draw.rectangle((left, top, left + side - 1 - line, top + side - 1 - line), fill=colour)
            if font is not None:
                draw.text((left + side / 2, top + side / 2), str(index), fill=_INK, font=font, anchor="mm")
    return strip


def token_colour(index: int, levels: int) -> tuple[int, int, int]:
    """The sRGB colour of an index: hue by index / levels at one lightness and chroma in OKLCH, so that none stands out.

    The hues span 330 degrees, so that the first and the last index stay apart. Conversion: B. Ottosson, "A perceptual
    color space for image processing", 2020.
    """
    lightness, chroma = 0.78, 0.12  # dark text is legible on every hue
    hue = math.radians(330 * index / levels + 20)
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _to_srgb(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _to_srgb(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _to_srgb(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def _to_srgb(linear: float) -> int:
    linear = min(max(linear, 0.0), 1.0)
    encoded = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(255 * encoded)


def _as_rows(indices: Sequence[int] | Sequence[Sequence[int]], most_columns: int) -> list[list[int]]:
    """A list breaks into as few lines as fit, of about equal length."""
    flat: list[int] = []
    grid: list[list[int]] = []
    for entry in indices:
        if isinstance(entry, Sequence):
            grid.append(list(entry))
        else:
            flat.append(entry)
    if flat and not grid:
        lines = math.ceil(len(flat) / most_columns)
        columns = math.ceil(len(flat) / lines)
        return [flat[start : start + columns] for start in range(0, len(flat), columns)]
    if flat or not grid or not grid[0] or any(len(row) != len(grid[0]) for row in grid):
        raise ValueError("indices must be a list of at least one index, or a grid of equally long rows")
    return grid


def _fit(image: Image.Image, cell: int) -> Image.Image:
    scale = cell / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _number_width(levels: int, size: int) -> float:
    return _font(size).getlength("8" * len(str(levels - 1))) + 6


def _readable_side(levels: int) -> int:
    """Side of a square that holds any index; numbers too long for the largest square are left out, so need no room."""
    smallest, largest = _SQUARE_SIDES
    needed = math.ceil(_number_width(levels, _COMFORTABLE_TEXT))
    return smallest if needed > largest else max(smallest, needed)


def _number_font(levels: int, side: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont | None:
    """The largest font in which any index fits a square; None where it would be too small to read."""
    for size in range(min(side // 2, 15), _SMALLEST_TEXT - 1, -1):
        if _number_width(levels, size) <= side:
            return _font(size)
    return None


def _draw_centred(
    draw: ImageDraw.ImageDraw, text: str, middle: tuple[int, int], width: int, size: int, colour: tuple[int, int, int]
) -> None:
    """Text that is too wide is set smaller, to 3/4 at most, then cut."""
    smallest = max(_SMALLEST_TEXT, size * 3 // 4)
    while size > smallest and _font(size).getlength(text) > width:
        size -= 1
    font, shown = _font(size), text
    while font.getlength(shown) > width and len(text) > 1:
        text = text[:-1]
        shown = text.rstrip() + "..."
    draw.text(middle, shown, fill=colour, font=font, anchor="mm")
