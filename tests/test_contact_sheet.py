import numpy as np
import pytest
from PIL import Image

from tokzoo.contact_sheet import contact_sheet, token_colour, token_strip

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new("RGB", size, colour)


def area(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == colour).all(axis=2).sum())


def colours(sheet: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in np.asarray(sheet).reshape(-1, 3).tolist()}


def test_every_image_fills_its_cell_in_reading_order() -> None:
    sheet = contact_sheet([[plain(RED), plain(BLUE)]], titles=["", ""], captions=[["", ""]], cell=100)
    assert area(sheet, RED) == area(sheet, BLUE) == 100 * 100
    pixels = np.asarray(sheet)
    assert (pixels == RED).all(axis=2).nonzero()[1].max() < (pixels == BLUE).all(axis=2).nonzero()[1].min()
    assert colours(sheet) == {RED, BLUE, WHITE}


def test_wide_image_keeps_its_shape() -> None:
    sheet = contact_sheet([[plain(RED, (40, 20))]], titles=[""], captions=[[""]], cell=100)
    assert area(sheet, RED) == 100 * 50


def test_titles_and_captions_add_ink_outside_the_images_only() -> None:
    bare = contact_sheet([[plain(RED)]], titles=[""], captions=[[""]])
    written = contact_sheet([[plain(RED)]], titles=["original"], captions=[["24.1 dB"]])
    assert written.size == bare.size
    assert area(written, RED) == area(bare, RED) and area(written, WHITE) < area(bare, WHITE)


def test_text_that_is_too_wide_stays_within_its_column() -> None:
    sheet = contact_sheet([[plain(WHITE), plain(WHITE)]], titles=["name_" * 40, ""], captions=[["", ""]], cell=100)
    inked = (np.asarray(sheet) != WHITE).any(axis=2).nonzero()[1]
    assert inked.min() >= 20 and inked.max() < 20 + 100


def test_last_row_may_be_short() -> None:
    images = [[plain(RED), plain(RED)], [plain(RED)]]
    sheet = contact_sheet(images, titles=["", ""], captions=[["", ""], [""]], cell=50)
    assert area(sheet, RED) == 3 * 50 * 50


def test_sheet_refuses_rows_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="row 0 has 2 images and 2 captions, under 1 titles"):
        contact_sheet([[plain(RED)] * 2], titles=["one"], captions=[["", ""]])
    with pytest.raises(ValueError, match="row 0 has 1 images and 0 captions"):
        contact_sheet([[plain(RED)]], titles=["one"], captions=[[]])
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([], titles=["one"], captions=[])
    with pytest.raises(ValueError, match="captions for 2 rows"):
        contact_sheet([[plain(RED)]], titles=["one"], captions=[[""], [""]])


def test_grid_of_indices_keeps_its_rows() -> None:
    strip = token_strip([[0, 1, 2], [3, 4, 5]], levels=6, width=30)
    assert strip.size == (30, 20)
    seen = [[strip.getpixel((10 * x + 2, 10 * y + 2)) for x in range(3)] for y in range(2)]
    assert seen == [[token_colour(3 * y + x, 6) for x in range(3)] for y in range(2)]


def test_long_list_breaks_into_lines_of_about_equal_length() -> None:
    strip = token_strip(list(range(32)), levels=100, width=400)  # 20 squares would fit into a line
    assert strip.size == (400, 50)


def test_numbers_are_written_where_they_fit() -> None:
    assert len(colours(token_strip([7], levels=10, width=40))) > 2
    assert colours(token_strip([[7] * 10], levels=10, width=60)) == {token_colour(7, 10)}


def test_colours_of_neighbours_differ_and_first_and_last_stay_apart() -> None:
    palette = np.array([token_colour(index, 16) for index in range(16)]).astype(int)
    steps = np.abs(palette - np.roll(palette, 1, axis=0)).sum(axis=1)
    assert steps.min() >= 20
    assert token_colour(3, 8) == token_colour(6, 16)  # only index / levels counts


def test_dark_numbers_are_legible_on_every_colour() -> None:
    palette = np.array([token_colour(index, 64) for index in range(64)]) / 255
    linear = np.where(palette <= 0.04045, palette / 12.92, ((palette + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert ((luminance + 0.05) / (0.01 + 0.05)).min() > 4.5  # the contrast that WCAG 2 asks for


def test_strip_refuses_indices_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"index 8 lies outside \[0, 8\)"):
        token_strip([1, 8], levels=8)
    with pytest.raises(ValueError, match="equally long rows"):
        token_strip([[1, 2], [3]], levels=8)
    with pytest.raises(ValueError, match="at least one index"):
        token_strip([], levels=8)
    with pytest.raises(ValueError, match="larger width"):
        token_strip([[1] * 20], levels=8, width=10)
