"""Resize and crop by name: what is done to a photo before a tokenizer sees it."""

from collections.abc import Callable
from functools import partial

from PIL import Image

from tokzoo.images import PROTOCOLS as PUBLISHED_CROPS
from tokzoo.images import resize_and_crop

__all__ = ["CROPS"]


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """The centre square as it is, nothing resized. ValueError where the image is smaller."""
    if min(image.size) < size:
        raise ValueError(f"a centre crop of {size} pixels does not fit an image of {image.width}x{image.height}")
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def padded_centre_crop(image: Image.Image, size: int) -> Image.Image:
    """torchvision's CenterCrop: the centre square as it is, with black around an image that is smaller."""
    left, top = (-((size - side) // 2) if side < size else round((side - size) / 2) for side in image.size)
    return image.crop((left, top, left + size, top + size))


CROPS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    **PUBLISHED_CROPS,
    "centre": centre_crop,
    "padded_centre": padded_centre_crop,
    "lanczos": partial(resize_and_crop, resample="lanczos"),
}
