"""What quantizing a continuous tokenizer after training costs, on photos: PSNR at several levels, beside JPEG.

usage: python -m eval.post_training taef2.flux2 --file WEIGHTS --photos KODAK_FOLDER [--scored PHOTOS] [--out JSON]
       python -m eval.post_training --plot eval/results/....json    # beside JPEG, to eval/....png

Scored on 256x256 centre crops of kodim01, 03, 05, 07, 09 and 11, or on those of other photos, a folder, zip or tar;
tables are fitted to all of kodim13, 15 .. 23, in tiles of that size. Rows that the JSON has already are not made again,
so that a run may be stopped and go on.
"""

import io
import json
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import tokzoo
from eval import records
from tokzoo import images as photos
from tokzoo._files import replace_atomically
from tokzoo.benchmarks.machine import machine
from tokzoo.data.readers import ImageFolder
from tokzoo.tokenizers.post_training.calibration import Calibration, calibrate
from tokzoo.tokenizers.post_training.model import PostTraining

SIZE = 256
SCORED, CALIBRATED = (1, 3, 5, 7, 9, 11), (13, 15, 17, 19, 21, 23)
LEVELS, COMPARED = (64, 16, 32, 8), 16  # all ways are compared at one of them
BATCH = 4
JPEG_QUALITIES = (5, 10, 20, 30, 50, 75, 90)


def square(photo: Tensor, side: int) -> Tensor:
    """The middle side x side pixels of (3, H, W), as they are."""
    top, left = ((edge - side) // 2 for edge in photo.shape[1:])
    return photo[:, top : top + side, left : left + side]


def tiles(photo: Tensor, side: int) -> Tensor:
    """The whole photo (3, H, W), cut up (N, 3, side, side)."""
    return photo.unfold(1, side, side).unfold(2, side, side).flatten(1, 2).transpose(0, 1)


def psnr(images: Tensor, others: Tensor) -> list[float]:
    """Of each image, in dB."""
    return (-10 * (images - others).square().flatten(1).mean(1).log10()).tolist()


def jpeg(quality: int, images: Tensor) -> dict[str, Any]:
    """PSNR and bits per pixel of Pillow's JPEG."""
    found, size = list[float](), 0
    for image in images:
        file = io.BytesIO()
        Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        size += file.tell()
        found += psnr(photos.to_tensor(Image.open(file).convert("RGB"))[None], image[None])
    return row(f"jpeg_q{quality}", found, 8 * size / len(images))


def row(name: str, found: list[float], bits: float | None) -> dict[str, Any]:
    """Mean PSNR and bits per pixel of one way, of `bits` per photo."""
    return {
        "name": name,
        "psnr": round(statistics.fmean(found), 3),
        "bits_per_pixel": None if bits is None else bits / SIZE**2,
    }


def ways(tok: tokzoo.VisualTokenizer, calibration: Calibration) -> dict[str, PostTraining]:
    """`tok` quantized in each way."""
    found = {}
    for levels in LEVELS:
        bits = tok.token_spec.channels * (levels.bit_length() - 1)
        found[f"published_{levels}"] = tokzoo.quantize(tok, levels)
        found[f"uniform_{levels}"] = tokzoo.quantize(tok, levels, bins="uniform")
        found[f"allocated_{levels}"] = tokzoo.quantize(tok, calibration=calibration, bits_per_token=bits)
        if levels == COMPARED:
            found[f"lloyd_max_{levels}"] = tokzoo.quantize(tok, levels, calibration=calibration)
    return found


def measure(
    tok: tokzoo.VisualTokenizer, images: Tensor, photos_to_fit: Tensor, done: set[str]
) -> Iterator[dict[str, Any]]:
    """A row for each way that is not done: images are encoded once."""
    for quality in JPEG_QUALITIES:
        if f"jpeg_q{quality}" not in done:
            yield jpeg(quality, images)
    parts = images.split(BATCH)
    tokens = [tok.encode(part) for part in parts]
    if "continuous" not in done:
        yield row(
            "continuous",
            [one for part, of in zip(parts, tokens, strict=True) for one in psnr(tok.decode(of), part)],
            None,
        )
    for name, made in ways(tok, calibrate(tok, photos_to_fit)).items():
        if name in done:
            continue
        found = list[float]()
        for part, continuous in zip(parts, tokens, strict=True):
            indices = made.quantizer.index(tok.codes(continuous))
            discrete = replace(continuous, latents=None, indices=indices, levels=made.quantizer.levels)
            found += psnr(made.decode(discrete), part)
        bits = discrete.bits()
        assert bits is not None
        yield row(name, found, float(bits[0]))


@torch.no_grad()
def main() -> None:
    parser = records.parser(__doc__)
    parser.add_argument("name", nargs="?")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--scored", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.plot is not None:
        return plot(json.loads(options.plot.read_text()), Path("eval") / f"{options.plot.stem}.png")
    if options.name is None or options.photos is None:
        parser.error("give the name of a tokenizer and --photos, or --plot")
    tok = tokzoo.from_pretrained(options.name, file=options.file).to(memory_format=torch.channels_last)  # faster
    kodak = {
        number: photos.to_tensor(photos.open_image(options.photos / f"kodim{number:02}.png"))
        for number in (*SCORED, *CALIBRATED)
    }
    if options.scored is None:
        scored = [kodak[number] for number in SCORED]
    else:
        scored = [torch.from_numpy(photo).permute(2, 0, 1).float() / 255 for photo in ImageFolder(options.scored)]
    images = torch.stack([square(photo, SIZE) for photo in scored])
    command = ["python -m eval.post_training", options.name, "--file WEIGHTS --photos", options.photos.name]
    told = {
        "what": f"mean PSNR of 256x256 centre crops of {len(images)} photos; tables fitted to six of Kodak's",
        "tokenizer": tok.name,
        "photos": "six Kodak photos" if options.scored is None else f"{len(images)} photos of {options.scored.stem}",
        "rows": [],
        "command": " ".join(command + ([] if options.scored is None else ["--scored", options.scored.name])),
        "machine": machine("cpu"),
    }
    if options.out is not None and options.out.is_file():
        before = json.loads(options.out.read_text())
        told["rows"] = before["rows"] if before["command"] == told["command"] else []
    fitted = torch.cat([tiles(kodak[number], SIZE) for number in CALIBRATED])
    for line in measure(tok, images, fitted, {row["name"] for row in told["rows"]}):
        told["rows"].append(line)
        rate = "" if line["bits_per_pixel"] is None else f"{line['bits_per_pixel']:.3f}"
        print(f"{line['name']:28} {line['psnr']:7.3f} dB {rate:>8} bits per pixel", flush=True)
        if options.out is not None:
            records.write_record(options.out, told)


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
        "lloyd_max": ("bins of least error in every channel", "#7e22ce"),
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
    axes.set_title(f"{told['tokenizer']} quantized after training, {told['photos']}", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    with replace_atomically(file) as temporary:
        figure.savefig(temporary, format="png", dpi=144, bbox_inches="tight")


if __name__ == "__main__":
    main()
