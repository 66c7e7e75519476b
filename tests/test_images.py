import io
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from tokzoo.images import (
    PROTOCOLS,
    Resample,
    adm_crop,
    bilinear_crop,
    find_images,
    open_image,
    resize_and_crop,
    to_image,
    to_tensor,
)

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with some noise, as JPEG likes them."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int64)
    return Image.fromarray((smooth + generator.integers(-9, 10, smooth.shape)).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def centre(image: Image.Image) -> object:
    return image.getpixel((image.width // 2, image.height // 2))


def test_path_string_bytes_image_and_array_give_the_same_pixels(tmp_path: Path) -> None:
    image = photo(20, 30)
    path = tmp_path / "photo.png"
    image.save(path)
    array = np.asarray(image)
    for source in (path, str(path), path.read_bytes(), image, array, (array / 255).astype(np.float32)):
        opened = open_image(source)
        assert opened.mode == "RGB"
        assert np.array_equal(np.asarray(opened), array)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation: int) -> None:
    stored = Image.new("RGB", (32, 16), GREEN)
    stored.paste(RED, (0, 0, 16, 8))  # the top left quarter, as stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(encoded(stored, "PNG", exif=exif))
    assert opened.size == ((32, 16) if orientation < 5 else (16, 32))
    left, top = orientation in (1, 4, 5, 8), orientation in (1, 2, 5, 6)
    x, y = 1 if left else opened.width - 2, 1 if top else opened.height - 2
    assert opened.getpixel((x, y)) == RED


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "HSV"])
def test_every_common_mode_of_a_white_image_opens_as_white(mode: str) -> None:
    white = Image.new("I;16", (3, 2), 65535) if mode == "I;16" else Image.new("RGB", (3, 2), WHITE).convert(mode)
    assert set(open_image(white).get_flattened_data()) == {WHITE}


def test_transparent_pixels_become_white_and_half_transparent_ones_paler() -> None:
    rgba = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    rgba.putpixel((1, 0), (255, 0, 0, 128))
    assert list(open_image(rgba).get_flattened_data()) == [WHITE, (255, 127, 127)]
    grey_alpha = np.array([[[0, 0], [0, 255]]], dtype=np.uint8)
    assert list(open_image(grey_alpha).get_flattened_data()) == [WHITE, (0, 0, 0)]


def test_transparent_entry_of_a_palette_becomes_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, *GREEN])
    palette.putpixel((1, 0), 1)
    opened = open_image(encoded(palette, "PNG", transparency=0))
    assert list(opened.get_flattened_data()) == [WHITE, GREEN]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_greys_are_scaled_rather_than_clipped(kind: str) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    opened = open_image(encoded(Image.fromarray(values), kind))
    assert np.asarray(opened)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_mode_i_counts_as_sixteen_bit_and_larger_values_are_refused() -> None:
    assert centre(open_image(Image.new("I", (1, 1), 257 * 100))) == (100, 100, 100)
    with pytest.raises(ValueError, match="32-bit values run from 70000 to 70000"):
        open_image(Image.new("I", (1, 1), 70000))


def test_cmyk_jpeg_keeps_its_colours() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    difference = np.asarray(open_image(encoded(red, "JPEG", quality=95))).astype(int) - RED
    assert np.abs(difference).max() < 8


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN)]
    assert centre(open_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))) == RED


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_truncated_file_is_refused_by_name_wherever_it_is_cut(kind: str, tmp_path: Path) -> None:
    whole = encoded(photo(64, 48), kind)
    path = tmp_path / "cut.img"
    for share in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ValueError, match=r"cannot read .*cut\.img.*(leave it out)"):
            open_image(path)


def test_truncated_file_is_refused_even_where_pillow_was_told_to_load_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    whole = encoded(photo(64, 48), "JPEG")
    with pytest.raises(ValueError, match="cut short"):
        open_image(whole[: len(whole) * 9 // 10])
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on odd metadata
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF"])
def test_damaged_file_opens_or_raises_value_error_and_nothing_else(kind: str) -> None:
    whole = encoded(photo(24, 16), kind)
    dice = random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            assert open_image(bytes(damaged)).mode == "RGB"
        except ValueError as error:
            assert "cannot read" in str(error)


def test_text_file_and_missing_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a photo")
    with pytest.raises(ValueError, match=r"notes\.jpg: not in an image format"):
        open_image(tmp_path / "notes.jpg")
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg"):
        open_image(tmp_path / "absent.jpg")


@pytest.mark.parametrize("limit", [150, 50])  # Pillow warns at it, raises at twice that
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb_is_refused(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = encoded(Image.new("RGB", (20, 10)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=f"more than {limit} pixels.*raise PIL.Image.MAX_IMAGE_PIXELS"):
        open_image(bomb)


def test_arrays_that_are_no_images_are_refused_with_a_hint() -> None:
    with pytest.raises(ValueError, match="channels come last"):
        open_image(np.zeros((3, 8, 8), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]; got values from 0 to 255"):
        open_image(np.array([[0.0, 255.0]]))
    with pytest.raises(ValueError, match="replace NaN"):
        open_image(np.array([[0.0, np.nan]]))
    with pytest.raises(ValueError, match="got uint16"):
        open_image(np.zeros((2, 2), dtype=np.uint16))
    with pytest.raises(TypeError, match="to_image"):
        open_image(torch.zeros(3, 8, 8))  # type: ignore[arg-type]


@pytest.mark.parametrize("width, height", [(97, 64), (50, 50), (33, 132), (7, 5), (1, 1), (33, 200), (641, 160)])
@pytest.mark.parametrize("resample", ["bicubic", "lanczos", "bilinear", "box"])
def test_result_is_that_of_resizing_and_then_cropping(width: int, height: int, resample: Resample) -> None:
    image, size, short = photo(width, height), 40, min(width, height)
    whole = image.resize((size * width // short, size * height // short), Image.Resampling[resample.upper()])
    left, top = round((whole.width - size) / 2), round((whole.height - size) / 2)
    expected = np.asarray(whole.crop((left, top, left + size, top + size))).astype(int)
    difference = np.abs(np.asarray(resize_and_crop(image, size, resample=resample)).astype(int) - expected)
    if max(width, height) <= 4 * short:
        assert difference.max() == 0
    else:  # computed in one step: see its docstring
        assert difference.max() <= 2


@pytest.mark.parametrize("width, height", [(20000, 20), (20, 20000), (30000, 1)])
def test_strip_gives_its_centre_without_being_scaled_whole(width: int, height: int) -> None:
    strip = Image.new("RGB", (width, height), GREEN)
    short = min(width, height)
    strip.paste(RED, (width // 2 - 4 * short, height // 2 - 4 * short, width // 2 + 4 * short, height // 2 + 4 * short))
    square = resize_and_crop(strip, 512)
    assert square.size == (512, 512)
    assert square.getextrema() == ((255, 255), (0, 0), (0, 0))


def test_resizing_refuses_what_it_would_do_badly() -> None:
    with pytest.raises(ValueError, match="at least 1 pixel; got 0"):
        resize_and_crop(photo(4, 4), 0)
    with pytest.raises(ValueError, match="one of bicubic, lanczos"):
        resize_and_crop(photo(4, 4), 2, resample="cubic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got mode P"):
        resize_and_crop(Image.new("P", (4, 4)), 2)


def test_image_to_tensor_and_back_changes_no_pixel() -> None:
    image = photo(21, 13)
    tensor = to_tensor(image)
    assert tensor.shape == (3, 13, 21) and tensor.dtype == torch.float32 and tensor.is_contiguous()
    assert tensor.min() >= 0 and tensor.max() <= 1
    assert np.array_equal(np.asarray(to_image(tensor)), np.asarray(image))


def test_to_image_clamps_and_rounds_to_nearest() -> None:
    values = torch.tensor([-1.0, 0.0, 0.6 / 255, 1.4 / 255, 1.0, 2.0]).view(1, 1, 6).expand(3, 1, 6)
    assert np.asarray(to_image(values))[0, :, 0].tolist() == [0, 0, 1, 1, 255, 255]


def test_to_image_refuses_batches_and_nan() -> None:
    with pytest.raises(ValueError, match=r"images\[0\]"):
        to_image(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="NaN"):
        to_image(torch.full((3, 4, 4), float("nan")))


def test_folder_is_searched_below_and_sorted_and_a_file_stands_for_itself(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "sub/c.webp", "notes.txt", "._b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_images(tmp_path)] == ["a.png", "b.JPG", "c.webp"]
    assert find_images(tmp_path / "b.JPG") == [tmp_path / "b.JPG"]


def test_folder_without_images_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"looked for .*\.jpeg \.jpg"):
        find_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        find_images(tmp_path / "absent")


def test_importing_the_module_leaves_torch_alone() -> None:
    script = "import sys, tokzoo.images; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# --- the squares of published evaluations ---


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("size", [(40, 30), (64, 64), (31, 77), (400, 20)])
def test_every_protocol_makes_a_square_of_the_centre(name: str, size: tuple[int, int]) -> None:
    square = PROTOCOLS[name](Image.new("RGB", size, GREEN), 16)
    assert square.size == (16, 16)
    assert np.unique(np.asarray(square).reshape(-1, 3), axis=0).tolist() == [list(GREEN)]
    with pytest.raises(ValueError, match="at least 1"):
        PROTOCOLS[name](photo(4, 4), 0)


def test_adm_halves_before_it_resizes() -> None:
    image = photo(130, 100)
    halved = image.resize((65, 50), Image.Resampling.BOX).resize((32, 25), Image.Resampling.BOX)
    expected = halved.resize((round(32 * 20 / 25), 20), Image.Resampling.BICUBIC).crop((3, 0, 23, 20))
    assert np.array_equal(np.asarray(adm_crop(image, 20)), np.asarray(expected))


@pytest.mark.parametrize("size", [(300, 200), (61, 97), (64, 64), (50, 30)])
def test_bilinear_crop_interpolates_between_four_pixels_without_averaging(size: tuple[int, int]) -> None:
    """Bit for bit OpenCV's, which is not installed here: torch in floating point is at most a level away."""
    image = photo(*size)
    short = min(size)
    resized = [round(side * 64 / short) for side in (image.height, image.width)]
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    plain = torch.nn.functional.interpolate(pixels, size=resized, mode="bilinear", antialias=False)[0].permute(1, 2, 0)
    top, left = ((side - 64) // 2 for side in resized)
    difference = np.asarray(bilinear_crop(image, 64)) - plain[top : top + 64, left : left + 64].numpy()
    assert np.abs(difference).max() <= 1


def test_zoom_crops_from_a_larger_image() -> None:
    image = photo(90, 60)
    expected = resize_and_crop(image, 36, resample="lanczos").crop((2, 2, 34, 34))
    assert np.array_equal(np.asarray(PROTOCOLS["lanczos_zoom"](image, 32)), np.asarray(expected))
    with pytest.raises(ValueError, match="zoom"):
        resize_and_crop(image, 32, zoom=0.5)
