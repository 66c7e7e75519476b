"""Photos on their way in and out: anything Pillow reads -> RGB -> square -> tensor in [0, 1], and back.

Neither torch nor torchvision is imported here until a tensor is asked for, so that listing and opening photos is quick.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "IMAGE_EXTENSIONS",
    "PROTOCOLS",
    "ImageSource",
    "Resample",
    "adm_crop",
    "bilinear_crop",
    "find_images",
    "open_image",
    "resize_and_crop",
    "to_image",
    "to_tensor",
]

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]
Resample: TypeAlias = Literal["bicubic", "lanczos", "bilinear", "box"]

IMAGE_EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

FIXED_ONE = 2048  # OpenCV's fixed-point weights have 11 bits

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}

# what Pillow's readers raise on damaged files
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, zlib.error)

_truncation_lock = threading.Lock()


def open_image(source: ImageSource) -> Image.Image:
    """Reads a photo from nearly anything as an upright 8-bit RGB image.

    EXIF rotation is applied, transparency is laid over white, 16-bit greys are scaled (not clipped) to 8 bit, of an
    animation the first frame is taken. Colour profiles are not applied.

    Args:
        source: path, bytes of an image file, PIL image, or array (H, W) or (H, W, C) with C = 1 grey, 2 grey and alpha,
            3 RGB, 4 RGBA; uint8, or floats in [0, 1].

    Raises:
        FileNotFoundError: no file is there.
        ValueError: the file is damaged, not an image, or larger than `PIL.Image.MAX_IMAGE_PIXELS`; the array has
            another shape, NaN or values outside [0, 1].
        TypeError: another kind of source, a torch tensor among them.
    """
    if isinstance(source, np.ndarray):
        return _to_rgb(_from_array(source))
    if isinstance(source, Image.Image):
        return _decode(source, "the given PIL image")
    if isinstance(source, bytes):
        return _decode_file(io.BytesIO(source), f"an image of {len(source)} bytes")
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            return _decode_file(file, os.fspath(source))
    kind = f"{type(source).__module__}.{type(source).__qualname__}"
    hint = "; to_image(tensor) makes an image of a tensor (3, H, W)" if kind.startswith("torch.") else ""
    raise TypeError(f"open_image takes a path, bytes, a PIL image or an array (H, W, C); got {kind}{hint}")


def resize_and_crop(image: Image.Image, size: int, *, resample: Resample = "bicubic", zoom: float = 1.0) -> Image.Image:
    """The centre square of an image, scaled to `size` x `size`: torchvision's Resize(size), then CenterCrop(size).

    Pixel for pixel the same as these two on a PIL image while the long side is at most 4 times the short one. Of a
    longer strip only the square is computed, for a line of 20000x1 pixels scaled as a whole would fill the memory;
    there rounding may differ by a level or two.

    Args:
        image: RGB, as `open_image` gives.
        size: side of the result in pixels.
        resample: the filter; all of them average when they shrink (antialias).
        zoom: the short side is scaled to this many times the size before the crop.

    Raises:
        ValueError: a size below 1, a zoom below 1, an unknown filter, or an image that is not RGB.
    """
    _check_rgb(image)
    _check_square(size)
    if zoom < 1:
        raise ValueError(f"zoom must be at least 1, or the crop would reach beyond the image; got {zoom}")
    if resample not in _FILTERS:
        raise ValueError(f"resample must be one of {', '.join(_FILTERS)}; got {resample!r}")
    short, long = min(image.size), max(image.size)
    resized = round(zoom * size)
    width, height = (int(resized * side / short) for side in image.size)  # Resize rounds the long side down
    left, top = round((width - size) / 2), round((height - size) / 2)  # CenterCrop rounds half to even
    if long <= 4 * short:
        return image.resize((width, height), _FILTERS[resample]).crop((left, top, left + size, top + size))
    across, down = image.width / width, image.height / height  # pixels of the image per pixel of the result
    square = (left * across, top * down, (left + size) * across, (top + size) * down)
    return image.resize((size, size), _FILTERS[resample], box=square)


def adm_crop(image: Image.Image, size: int) -> Image.Image:
    """The centre square as the evaluation of ADM (arXiv:2105.05233) cuts it, and many image generators after it.

    The image is halved by a box filter while its short side is at least twice the size, then the short side is scaled
    to the size (bicubic). Of strips longer than 4 times their width the square is cut before, as in `resize_and_crop`.

    Raises:
        ValueError: a size below 1, or an image that is not RGB.
    """
    _check_rgb(image)
    _check_square(size)
    image = _without_far_ends(image)
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    short = min(image.size)
    width, height = (round(side * (size / short)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))


def bilinear_crop(image: Image.Image, size: int) -> Image.Image:
    """The centre square as OpenCV's INTER_LINEAR scales it, which does not average when it shrinks (no antialias).

    What albumentations' SmallestMaxSize, then CenterCrop, make of a photo: the evaluations of taming-transformers,
    SEED-Voken and what grew of them. Each pixel is mixed of four in the fixed-point arithmetic of OpenCV.

    Raises:
        ValueError: a size below 1, or an image that is not RGB.
    """
    _check_rgb(image)
    _check_square(size)
    pixels = np.asarray(image).astype(np.int64)  # (H, W, 3)
    short = min(image.size)
    resized = [round(side * size / short) for side in pixels.shape[:2]]
    first = [(side - size) // 2 for side in resized]
    rows, columns = (_linear_taps(pixels.shape[axis], resized[axis], first[axis], size) for axis in (0, 1))
    (left, right), share = columns.neighbours, columns.shares[:, None]
    across = pixels[:, left] * (FIXED_ONE - share) + pixels[:, right] * share  # (H, size, 3)
    (above, below), share = rows.neighbours, rows.shares[:, None, None]
    upper, lower = across[above] >> 4, across[below] >> 4
    mixed = (((FIXED_ONE - share) * upper >> 16) + (share * lower >> 16) + 2) >> 2
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


PROTOCOLS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    # how published evaluations cut a square from a photo
    "bicubic": resize_and_crop,  # torchvision: short side to the size, centre crop
    "bilinear": partial(resize_and_crop, resample="bilinear"),  # torchvision's default
    "adm": adm_crop,
    "opencv": bilinear_crop,
    "lanczos_zoom": partial(resize_and_crop, resample="lanczos", zoom=1.125),  # VAR, arXiv:2404.02905
}


def to_tensor(image: Image.Image) -> Tensor:
    """RGB image -> float32 tensor (3, H, W) in [0, 1]."""
    import torch

    _check_rgb(image)
    pixels = torch.from_numpy(np.array(image))  # (H, W, 3) uint8
    return pixels.permute(2, 0, 1).contiguous().float() / 255


def to_image(tensor: Tensor) -> Image.Image:
    """Float tensor (3, H, W) in [0, 1] -> RGB image; clamped, then rounded to the nearest of 256 levels.

    Raises:
        ValueError: another shape or dtype, or NaN.
    """
    if tensor.ndim != 3 or tensor.shape[0] != 3 or not tensor.is_floating_point():
        hint = "; take one image of the batch: images[0]" if tensor.ndim == 4 else ""
        raise ValueError(f"to_image takes a float tensor (3, H, W); got {tensor.dtype} {tuple(tensor.shape)}{hint}")
    if tensor.isnan().any():
        raise ValueError("the tensor holds NaN and cannot be shown as an image; look for where the model made it")
    pixels = (tensor.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    return Image.fromarray(pixels.cpu().numpy())


def find_images(path: str | os.PathLike[str]) -> list[Path]:
    """The images in a folder and the folders below it, sorted by path, hidden files left out; a file stands for itself.

    Raises:
        FileNotFoundError: nothing is at `path`.
        ValueError: the folder holds no image.
    """
    root = Path(path)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise FileNotFoundError(f"no file or folder at {root}")
    found = [
        file
        for file in root.rglob("*")
        if file.suffix.lower() in IMAGE_EXTENSIONS and not file.name.startswith(".") and file.is_file()
    ]
    if not found:
        raise ValueError(f"no image in {root} or the folders below it; looked for {' '.join(IMAGE_EXTENSIONS)}")
    return sorted(found)


def _decode_file(file: BinaryIO, name: str) -> Image.Image:
    try:
        image = Image.open(file)
    except UnidentifiedImageError as error:
        raise ValueError(
            f"cannot read {name}: not in an image format that Pillow knows. Convert it to PNG or JPEG, or leave it out."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(_too_large(name, "it")) from error
    except _DECODING_ERRORS as error:
        raise ValueError(_damaged(name, error)) from error
    with image:
        return _decode(image, name)


def _decode(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(_too_large(name, f"{width}x{height}"))
    try:
        with _truncated_files_refused():
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except _DECODING_ERRORS as error:
        raise ValueError(_damaged(f"{name} ({image.format or 'PIL'} {image.mode}, {width}x{height})", error)) from error


def _damaged(name: str, error: Exception) -> str:
    return (
        f"cannot read {name}: {error}. "
        "It is damaged, cut short, or of a rare kind: get it again, convert it to 8-bit RGB PNG, or leave it out."
    )


def _too_large(name: str, size: str) -> str:
    return (
        f"cannot read {name}: {size} has more than {Image.MAX_IMAGE_PIXELS} pixels, which may be an attempt to exhaust "
        "memory. If you trust it, raise PIL.Image.MAX_IMAGE_PIXELS, or scale it down first."
    )


@contextmanager
def _truncated_files_refused() -> Iterator[None]:
    """Turns Pillow's LOAD_TRUNCATED_IMAGES off where other code turned it on: it fills what is missing with grey."""
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        yield
        return
    with _truncation_lock:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = True


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        image = _from_array(np.asarray(image))
    elif image.mode.startswith("I"):  # "I", "I;16" and its byte orders
        image = _from_16_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Mode "I" counts as 16 bit, for Pillow reads 16-bit greys of several formats as such."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its 32-bit values run from {values.min()} to {values.max()}, and not within 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))  # 65535 = 257 * 255, rounded to nearest


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 2, 3, 4) or array.size == 0:
        chw = array.ndim == 3 and array.shape[0] in (1, 2, 3, 4)
        hint = "; channels come last: np.moveaxis(array, 0, -1)" if chw else ""
        raise ValueError(f"an image array is (H, W) or (H, W, C) with C = 1, 2, 3 or 4; got {array.shape}{hint}")
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):  # NaN fails both
            raise ValueError(
                f"a float image must lie in [0, 1]; got values from {array.min():.4g} to {array.max():.4g}. "
                "Divide by 255, clip, or replace NaN first."
            )
        array = (array.astype(np.float32) * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"an image array is uint8, or float in [0, 1]; got {array.dtype}. Scale it to [0, 1].")
    return Image.fromarray(array.squeeze(2) if array.shape[2:] == (1,) else array)


class _Taps(NamedTuple):
    """Where each pixel of a resized line comes from: two neighbours, and the second one's share of FIXED_ONE."""

    neighbours: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    shares: npt.NDArray[np.int64]


def _linear_taps(length: int, resized: int, first: int, count: int) -> _Taps:
    """For pixels `first` to `first + count` of a line of `length` pixels scaled to `resized`."""
    places = ((np.arange(first, first + count) + 0.5) * (length / resized) - 0.5).astype(np.float32)
    whole = np.floor(places)
    shares = np.rint((places - whole) * FIXED_ONE).astype(np.int64)
    shares[(whole < 0) | (whole >= length - 1)] = 0  # at the edges one pixel alone
    left = whole.astype(np.int64).clip(0, length - 1)
    return _Taps((left, (left + 1).clip(max=length - 1)), shares)


def _without_far_ends(image: Image.Image) -> Image.Image:
    """The middle of a long strip: no more of it than can reach the centre square."""
    short = min(image.size)
    width, height = (min(side, 4 * short + (side & 1)) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image if (width, height) == image.size else image.crop((left, top, left + width, top + height))


def _check_square(size: int) -> None:
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel; got {size}")


def _check_rgb(image: Image.Image) -> None:
    if image.mode != "RGB":
        raise ValueError(f"the image must be RGB; got mode {image.mode}. open_image(image) converts it.")
