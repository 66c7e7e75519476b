"""Bytes against distortion: tokenizers beside JPEG and WebP. Pictures are RGB, `Image.Image`."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
from PIL import Image

Codec = Literal["JPEG", "WebP"]

ARCHIVE = 256  # images that share one set of headers where they are amortised
QUALITIES = (1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90)
WEBP_FRAME = 12 + 8 + 10  # RIFF header, chunk header, frame tag with start code and size: RFC 6386 section 9.1


@dataclass(frozen=True, kw_only=True)
class RatePoint:
    """One setting of a coder, averaged over images.

    Args:
        setting: quality of a codec, or tokens of a tokenizer.
        file_bytes: of a file that holds one image.
        archive_bytes: per image of an archive of `ARCHIVE` images, what is the same in all of them stored once.
        psnr: mean over images, in dB.
    """

    setting: int
    file_bytes: float
    archive_bytes: float
    psnr: float


def codec_curve(images: Sequence[Image.Image], codec: Codec, qualities: Sequence[int] = QUALITIES) -> list[RatePoint]:
    """Pillow's encoder at each quality, with its standard Huffman tables (JPEG) and without metadata.

    Raises:
        ValueError: no images, or images of several sizes, which would not share their headers.
    """
    if len({image.size for image in images}) != 1:
        raise ValueError(f"a curve needs images of one size; got {sorted({image.size for image in images})}")
    return [_point(images, codec, quality) for quality in qualities]


def _point(images: Sequence[Image.Image], codec: Codec, quality: int) -> RatePoint:
    files, bodies, scores = [], [], []
    for image in images:
        stream = encode_as(image, codec, quality)
        files.append(len(stream))
        bodies.append(len(stream) - header_bytes(stream, codec))
        scores.append(psnr_of(Image.open(io.BytesIO(stream)).convert("RGB"), image))
    header = fmean(files) - fmean(bodies)
    return RatePoint(
        setting=quality, file_bytes=fmean(files), archive_bytes=fmean(bodies) + header / ARCHIVE, psnr=fmean(scores)
    )


def encode_as(image: Image.Image, codec: Codec, quality: int) -> bytes:
    """The file that Pillow writes."""
    stream = io.BytesIO()
    if codec == "JPEG":
        image.save(stream, "JPEG", quality=quality)
    else:
        image.save(stream, "WEBP", quality=quality, method=6)
    return stream.getvalue()


def header_bytes(stream: bytes, codec: Codec) -> int:
    """How much of a file is the same for every image of its size and quality.

    JPEG: all before the entropy-coded scan, and the end marker. WebP: containers and frame tag; the coder's own
    probabilities are part of the image.

    Raises:
        ValueError: no scan in a JPEG stream.
    """
    if codec == "WebP":
        return WEBP_FRAME
    position = 2  # behind the start marker
    while position + 4 <= len(stream):
        marker, length = stream[position + 1], int.from_bytes(stream[position + 2 : position + 4], "big")
        position += 2 + length
        if marker == 0xDA:  # start of scan: the entropy-coded bytes follow
            return position + 2
    raise ValueError("this JPEG stream holds no scan")


def psnr_of(image: Image.Image, reference: Image.Image) -> float:
    """PSNR in dB of two 8-bit pictures; infinite where they are equal."""
    ours, theirs = (np.asarray(picture, dtype=np.float64) for picture in (image, reference))
    error = float(np.square(ours - theirs).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
