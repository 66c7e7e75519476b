"""What quantizing a continuous tokenizer after training costs, on photos: PSNR at several levels, beside JPEG.

usage: python -m eval.post_training taef2.flux2 --file WEIGHTS --photos KODAK_FOLDER [--out eval/results/....json]

Scored on 256x256 centre crops of kodim01, 03, 05, 07, 09 and 11; calibrated on those of 13, 15, 17, 19, 21 and 23.
"""

import argparse
import io
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import tokzoo
from tokzoo import images as photos
from tokzoo._files import write_atomically
from tokzoo.tokenizers.post_training.model import calibrate

SIZE = 256
SCORED, CALIBRATED = (1, 3, 5, 7, 9, 11), (13, 15, 17, 19, 21, 23)
LEVELS = (8, 16, 32, 64)
JPEG_QUALITIES = (5, 10, 20, 30, 50, 75, 90)


def square(path: Path) -> Image.Image:
    """The middle SIZE x SIZE pixels, as they are."""
    photo = photos.open_image(path)
    left, top = (photo.width - SIZE) // 2, (photo.height - SIZE) // 2
    return photo.crop((left, top, left + SIZE, top + SIZE))


def psnr(images: Tensor, others: Tensor) -> float:
    """Mean over images, in dB."""
    errors = (images - others).square().flatten(1).mean(1)
    return float((-10 * errors.log10()).mean())


@torch.inference_mode()
def row(name: str, tok: tokzoo.VisualTokenizer, images: Tensor) -> dict[str, Any]:
    """PSNR and bits per pixel of one tokenizer."""
    tokens = tok.encode(images)
    bits = tokens.bits()
    per_pixel = None if bits is None else bits.double().mean().item() / SIZE**2
    return {"name": name, "psnr": round(psnr(tok.decode(tokens), images), 3), "bits_per_pixel": per_pixel}


def jpeg(quality: int, images: Tensor) -> dict[str, Any]:
    """PSNR and bits per pixel of Pillow's JPEG."""
    decoded, size = [], 0
    for image in images:
        file = io.BytesIO()
        photo = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())
        photo.save(file, "JPEG", quality=quality)
        size += file.tell()
        decoded.append(photos.to_tensor(Image.open(file).convert("RGB")))
    per_pixel = 8 * size / len(images) / SIZE**2
    return {
        "name": f"jpeg_q{quality}",
        "psnr": round(psnr(torch.stack(decoded), images), 3),
        "bits_per_pixel": per_pixel,
    }


def measure(tok: tokzoo.VisualTokenizer, images: Tensor, photos_to_fit: Tensor) -> list[dict[str, Any]]:
    """A row for each way of quantizing."""
    channels = tok.token_spec.channels
    calibration = calibrate(tok, photos_to_fit)
    rows = [row("continuous", tok, images)]
    for levels in LEVELS:
        bits = channels * (levels.bit_length() - 1)
        ways: dict[str, dict[str, Any]] = {
            "published": dict(),
            "uniform": dict(bins="uniform"),
            "published_calibrated": dict(calibration=calibration),
            "lloyd_max": dict(bins="lloyd_max", calibration=calibration),
            "lloyd_max_allocated": dict(bins="lloyd_max", calibration=calibration, bits_per_token=bits),
        }
        for name, way in ways.items():
            rows.append(row(f"{name}_{levels}", tokzoo.quantize(tok, levels, **way), images))
            print(rows[-1], file=sys.stderr, flush=True)
    return rows + [jpeg(quality, images) for quality in JPEG_QUALITIES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    tok = tokzoo.from_pretrained(options.name, file=options.file)
    scored, calibration = (
        torch.stack([photos.to_tensor(square(options.photos / f"kodim{number:02}.png")) for number in numbers])
        for numbers in (SCORED, CALIBRATED)
    )
    rows = measure(tok, scored, calibration)
    for line in rows:
        rate = "" if line["bits_per_pixel"] is None else f"{line['bits_per_pixel']:.3f}"
        print(f"{line['name']:28} {line['psnr']:7.3f} dB {rate:>8} bits per pixel")
    if options.out is not None:
        report = {
            "what": "mean PSNR of 256x256 centre crops of six Kodak photos, calibrated on six others",
            "tokenizer": tok.name,
            "rows": rows,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
        }
        write_atomically(options.out, json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
