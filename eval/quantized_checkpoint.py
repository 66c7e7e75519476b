"""Quantizes a shipped continuous checkpoint after training, ships the result, and writes its model card.

usage: python -m eval.quantized_checkpoint vit_kl_nano.photos64 tokenbridge_nano.photos64 --photos photos64.zip

Scored on the held-out photos: PSNR, SSIM, and the Frechet distance to the originals in features of EfficientNet-Lite0.
Tables are fitted to training photos. `one scale` is the published way: the same bins for every channel, over 5 standard
deviations of all latents; `calibrated` has each channel's own mean and deviation; `allocated` gives bits to the channels
where they lower the error of the decoded photo most, the sum unchanged, with bins of least error.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tokzoo
from eval.checkpoint import attribution
from tokzoo import verify
from tokzoo._files import write_atomically
from tokzoo.benchmarks.machine import machine
from tokzoo.data.batches import evaluation_images
from tokzoo.data.readers import ImageFolder
from tokzoo.losses.reconstruction import psnr
from tokzoo.metrics.extractors import build_extractor
from tokzoo.metrics.frechet import frechet_of_features
from tokzoo.metrics.ssim import ssim
from tokzoo.tokenizers.post_training.model import calibrate

SHIPPED, OTHER = 64, 16  # levels
CALIBRATED = 512  # training photos
SIDE = 128  # pixels that the extractor sees


@torch.no_grad()
def score(tok: tokzoo.VisualTokenizer, images: Tensor, extractor: Any, reference: Tensor) -> dict[str, Any]:
    """Means over images (N, 3, H, W), the distance, and bits of a photo."""
    tokens = [tok.encode(part) for part in images.split(64)]
    made = torch.cat([tok.decode(part) for part in tokens])
    bits = tokens[0].bits()
    features = torch.cat([extractor(part).features for part in made.split(64)])
    return {
        "psnr": float(psnr(made, images).mean()),
        "ssim": float(ssim(made, images).mean()),
        "fd_effnet_lite0": frechet_of_features(features, reference),
        "bits": None if bits is None else int(bits[0]),
    }


def ways(base: tokzoo.VisualTokenizer, calibration: Any, levels: int) -> dict[str, tokzoo.VisualTokenizer]:
    """The same tokenizer quantized in three ways."""
    reach = 5 * float(calibration.samples.std())
    per_token = calibration.samples.shape[1] * (levels.bit_length() - 1)
    return {
        "one scale": tokzoo.quantize(base, levels, low=-reach, high=reach),
        "calibrated": tokzoo.quantize(base, levels, calibration=calibration),
        "allocated": tokzoo.quantize(base, bins="lloyd_max", calibration=calibration, bits_per_token=per_token),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("name")
    parser.add_argument("--photos", type=Path, required=True)
    options = parser.parse_args()
    base = tokzoo.from_pretrained(options.base)
    train, val = (ImageFolder(options.photos, split=split) for split in ("train", "val"))
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:CALIBRATED].tolist()
    fitted = evaluation_images([train[index] for index in chosen], base.image_size).float() / 255
    calibration = calibrate(base, fitted)
    folder = Path("checkpoints") / options.name
    shipped = ways(base, calibration, SHIPPED)["allocated"]
    shipped.name = options.name
    shipped.save_pretrained(folder, dtype=torch.float16, base=options.base)
    verify.record(folder)
    loaded = tokzoo.from_pretrained(folder)
    images = evaluation_images(val, base.image_size).float() / 255
    extractor = build_extractor("effnet_lite0", side=SIDE)
    reference = torch.cat([extractor(part).features for part in images.split(64)])
    rows = {"continuous": score(base, images, extractor, reference)}
    for levels in (SHIPPED, OTHER):
        for way, tok in ways(base, calibration, levels).items():
            rows[f"{levels} levels, {way}"] = score(tok, images, extractor, reference)
            print(f"{levels} levels, {way}: {rows[f'{levels} levels, {way}']}", flush=True)
    rows["as shipped"] = score(loaded, images, extractor, reference)
    about = {
        "command": f"python -m eval.quantized_checkpoint {options.base} {options.name} --photos {options.photos.name}",
        "photos": len(val),
        "calibration_photos": CALIBRATED,
        "scores": rows,
        "machine": machine("cpu"),
    }
    write_atomically(folder / "scores.json", json.dumps(about, indent=2) + "\n")
    write_atomically(folder / "README.md", card(loaded, options, about))
    print(json.dumps(rows, indent=2), file=sys.stderr)


def card(tok: tokzoo.VisualTokenizer, options: argparse.Namespace, about: dict[str, Any]) -> str:
    """The model card."""
    spec = tok.token_spec
    bits = spec.layout.num_tokens * round(spec.bits_per_token or 0)
    lines = [
        f"| {name} | {'' if row['bits'] is None else format(row['bits'], ',')} | {row['psnr']:.2f} dB | {row['ssim']:.4f} "
        f"| {row['fd_effnet_lite0']:.1f} |"
        for name, row in about["scores"].items()
    ]
    table = "\n".join(["| tokens | bits | PSNR | SSIM | distance |", "| --- | ---: | ---: | ---: | ---: |", *lines])
    return f"""---
library_name: tokzoo
license: apache-2.0
tags: [visual-tokenizer]
---

# {options.name}

`{options.base}` made discrete after training, as TokenBridge does (arXiv:{tokzoo.registry.find(options.name)[0].paper}):
nothing was trained. {tok.image_size}x{tok.image_size} photos to {spec.layout.num_tokens} tokens of {spec.channels} channels ({bits:,} bits, {tok.image_size**2 * 24 / bits:.0f}x smaller than raw). A token has as many bits
as {SHIPPED} levels for each channel take; they went to the channels where they lower the photo's error most:
{", ".join(str(count) for count in spec.levels)} levels.

```python
import tokzoo

tok = tokzoo.from_pretrained("{options.name}")
tokens = tok.encode(tok.preprocess("photo.jpg"))  # indices (1, {spec.layout.num_tokens}, {spec.channels})
images = tok.decode(tokens)

even = tokzoo.quantize(tok, levels={SHIPPED})  # the same network with the published bins, or {OTHER} levels: no photos needed
```

## Scores

On the {about["photos"]:,} photos of photos64's `val` part (shorter side to {tok.image_size} bicubic, centre crop), float32,
`python -m eval.quantized_checkpoint`; the distance is Frechet's in features of EfficientNet-Lite0 at {SIDE} pixels, to
the originals; so few photos bias it upwards, rows compare with each other only. Tables were fitted to {CALIBRATED} training photos.

{table}

One scale: the same bins for every channel, over 5 deviations of all latents, as published. Calibrated: each channel's own
mean and deviation. Allocated: bits go to the channels where they lower the photo's error most, with bins of least error.

## Data and licences

photos64, `train` part. The Caltech-101 pictures were collected from the web by its authors and licensed as a set.

{attribution(options.photos)}

Weights: Apache-2.0. What it is not for: faithful storage of photos, faces, text; it was never tested for any use beyond
trying tokenizers.
"""


if __name__ == "__main__":
    main()
