"""Codec curves count what a reader would count with `ls`."""

import io

import numpy as np
import pytest
from PIL import Image

from tokzoo.metrics.rate_distortion import ARCHIVE, Codec, codec_curve, encode_as, header_bytes, psnr_of


def photo(seed: int) -> Image.Image:
    """A smooth picture with a little noise, 64x64."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((64, 64), Image.BICUBIC)
    return Image.fromarray((np.asarray(coarse) * 0.9 + generator.integers(0, 25, (64, 64, 3))).astype(np.uint8))


@pytest.mark.parametrize("codec", ["JPEG", "WebP"])
def test_more_quality_costs_more_bytes_and_gives_more_decibels(codec: Codec) -> None:
    curve = codec_curve([photo(0), photo(1)], codec, (5, 30, 80))
    for values in zip(*((point.file_bytes, point.archive_bytes, point.psnr) for point in curve), strict=True):
        assert list(values) == sorted(values)


@pytest.mark.parametrize("quality", [5, 75])
def test_a_jpeg_header_is_the_same_for_every_image_of_a_size_and_the_rest_is_not(quality: int) -> None:
    one, two = (encode_as(photo(seed), "JPEG", quality) for seed in (0, 1))
    length = header_bytes(one, "JPEG") - 2  # the end marker stands behind the scan
    assert one[:length] == two[:length] and one[length:] != two[length:]
    assert one[-2:] == two[-2:] == b"\xff\xd9"


def test_a_webp_header_names_only_containers_and_size() -> None:
    streams = [encode_as(photo(seed), "WebP", 50) for seed in (0, 1)]
    size = header_bytes(streams[0], "WebP")
    for stream in streams:
        assert stream[:4] == b"RIFF" and stream[8:16] == b"WEBPVP8 " and stream[23:26] == b"\x9d\x01\x2a"
        assert int.from_bytes(stream[size - 4 : size - 2], "little") == 64


def test_an_archive_stores_the_header_once() -> None:
    (point,) = codec_curve([photo(0)], "JPEG", (50,))
    stream = encode_as(photo(0), "JPEG", 50)
    header = header_bytes(stream, "JPEG")
    assert point.file_bytes == len(stream)
    assert point.archive_bytes == pytest.approx(len(stream) - header + header / ARCHIVE)
    assert point.psnr == psnr_of(Image.open(io.BytesIO(stream)).convert("RGB"), photo(0))


def test_images_of_several_sizes_share_no_header() -> None:
    with pytest.raises(ValueError, match=r"one size; got \[\(32, 32\), \(64, 64\)\]"):
        codec_curve([photo(0), photo(0).resize((32, 32))], "JPEG")
