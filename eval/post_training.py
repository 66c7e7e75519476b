"""What quantizing a continuous tokenizer after training costs, on photos: PSNR at several levels, beside JPEG.

usage: python -m eval.post_training taef2.flux2 --file WEIGHTS --photos KODAK_FOLDER [--out eval/results/....json]
       python -m eval.post_training --plot eval/results/....json    # beside JPEG, to eval/....png

Scored on 256x256 centre crops of kodim01, 03, 05, 07, 09 and 11; tables are fitted to all of 13, 15 .. 23,
in tiles of that size.
"""

import argparse
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import tokzoo
from tokzoo import images as photos
from tokzoo._files import replace_atomically, write_atomically
from tokzoo.benchmarks.machine import machine
from tokzoo.tokenizers.post_training.calibration import calibrate
from tokzoo.tokens import Tokens

SIZE = 256
SCORED, CALIBRATED = (1, 3, 5, 7, 9, 11), (13, 15, 17, 19, 21, 23)
LEVELS, COMPARED = (64, 16, 32, 8), 16  # all ways are compared at one of them
JPEG_QUALITIES = (5, 10, 20, 30, 50, 75, 90)


def square(path: Path, side: int) -> Image.Image:
    """The middle side x side pixels, as they are."""
    photo = photos.open_image(path)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.crop((left, top, left + side, top + side))


def tiles(path: Path, side: int) -> Tensor:
    """The whole photo, cut up (N, 3, side, side)."""
    photo = photos.to_tensor(photos.open_image(path))
    return photo.unfold(1, side, side).unfold(2, side, side).flatten(1, 2).transpose(0, 1)


def psnr(images: Tensor, others: Tensor) -> float:
    """Mean over images, in dB."""
    errors = (images - others).square().flatten(1).mean(1)
    return float((-10 * errors.log10()).mean())


@torch.no_grad()
def row(name: str, tok: tokzoo.VisualTokenizer, tokens: Tokens, images: Tensor) -> dict[str, Any]:
    """PSNR and bits per pixel of one tokenizer, which made `tokens` of `images`."""
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


@torch.no_grad()
def measure(tok: tokzoo.VisualTokenizer, images: Tensor, photos_to_fit: Tensor) -> Iterator[dict[str, Any]]:
    """A row for each way of quantizing: the image is encoded once."""
    channels = tok.token_spec.channels
    tokens = tok.encode(images)
    yield row("continuous", tok, tokens, images)
    calibration = calibrate(tok, photos_to_fit)
    for levels in LEVELS:
        bits = channels * (levels.bit_length() - 1)
        ways: dict[str, dict[str, Any]] = {
            "published": dict(),
            "allocated": dict(bins="lloyd_max", calibration=calibration, bits_per_token=bits),
        }
        if levels == COMPARED:
            ways |= {"uniform": dict(bins="uniform"), "lloyd_max": dict(bins="lloyd_max", calibration=calibration)}
        for name, way in ways.items():
            made = tokzoo.quantize(tok, levels, **way)
            indices = made.quantizer.index(tok.codes(tokens))
            discrete = replace(tokens, latents=None, indices=indices, levels=made.quantizer.levels)
            yield row(f"{name}_{levels}", made, discrete, images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.plot is not None:
        return plot(json.loads(options.plot.read_text()), Path("eval") / f"{options.plot.stem}.png")
    if options.name is None or options.photos is None:
        parser.error("give the name of a tokenizer and --photos, or --plot")
    tok = tokzoo.from_pretrained(options.name, file=options.file)
    files = {number: options.photos / f"kodim{number:02}.png" for number in (*SCORED, *CALIBRATED)}
    scored = torch.stack([photos.to_tensor(square(files[number], SIZE)) for number in SCORED])
    fitted = torch.cat([tiles(files[number], SIZE) for number in CALIBRATED])
    rows = [jpeg(quality, scored) for quality in JPEG_QUALITIES]
    for line in measure(tok, scored, fitted):
        rows.append(line)
        rate = "" if line["bits_per_pixel"] is None else f"{line['bits_per_pixel']:.3f}"
        print(f"{line['name']:28} {line['psnr']:7.3f} dB {rate:>8} bits per pixel", flush=True)
        if options.out is not None:
            write_atomically(options.out, json.dumps(report(tok, rows), indent=2) + "\n")


def plot(told: dict[str, Any], file: Path) -> None:
    """PSNR over bits per pixel of each way and of JPEG; the continuous tokenizer as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.6), facecolor="white")
    axes = figure.add_subplot()
    axes.grid(visible=True, color="#e4e4e7", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    labels = {
        "published": ("published bins", "#1d4fb8"),
        "allocated": ("bits allocated to channels", "#15803d"),
        "uniform": ("uniform bins", "#c2410c"),
        "lloyd_max": ("bins of least error", "#7e22ce"),
        "jpeg": ("JPEG", "#52525b"),
    }
    for way, (label, colour) in labels.items():
        rows = [row for row in told["rows"] if row["name"].rsplit("_", 1)[0] == way]
        places = sorted((row["bits_per_pixel"], row["psnr"]) for row in rows)
        rates, quality = zip(*places, strict=True)
        axes.plot(rates, quality, "o-", color=colour, label=label, markersize=5)
    (line,) = (row for row in told["rows"] if row["bits_per_pixel"] is None)
    axes.axhline(line["psnr"], color="#1d4fb8", linestyle=":", label=f"{told['tokenizer']}, continuous")
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel("PSNR, dB")
    axes.set_title(f"{told['tokenizer']} quantized after training, six Kodak photos", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    with replace_atomically(file) as temporary:
        figure.savefig(temporary, format="png", dpi=144, bbox_inches="tight")


def report(tok: tokzoo.VisualTokenizer, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """For JSON; it is written after each row, so that a run that is cut short keeps what it has."""
    return {
        "what": "mean PSNR of 256x256 centre crops of six Kodak photos; tables fitted to six other photos",
        "tokenizer": tok.name,
        "rows": rows,
        "command": f"python -m eval.post_training {tok.name} --file WEIGHTS --photos kodak24",
        "machine": machine("cpu"),
    }


if __name__ == "__main__":
    main()
