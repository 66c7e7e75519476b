"""Quantizes a shipped continuous checkpoint after training, ships the results, and writes their model cards.

usage: python -m eval.quantized_checkpoint vit_kl_nano.photos64 --photos photos64.zip \\
           64=tokenbridge_nano.photos64 16=tokenbridge_nano_16.photos64

Each is given as LEVELS=NAME. A folder that is there keeps its tables: it is scored anew, and its card is written anew.

Scored on the held-out photos: PSNR, SSIM, and the Frechet distance to the originals in features of EfficientNet-Lite0.
Tables are fitted to training photos. `published` bins are the same for every channel; `calibrated` ones have each
channel's own mean and deviation, `uniform` ones its own too; those of `least error` are Lloyd's and Max's, an error
costing what the decoder makes of it; `allocated` gives bits to the channels where they lower that most, their sum
unchanged. What is shipped is allocated.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tokzoo
from eval import records
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
from tokzoo.tokenizers.post_training.calibration import Calibration, calibrate
from tokzoo.tokenizers.post_training.model import PostTraining
from tokzoo.tokens import Tokens

CALIBRATED = 512  # training photos
BATCH = 64
SIDE = 128  # pixels that the extractor sees


class Scores:
    """Scores on images (N, 3, H, W), which `base` encodes once: the quantized ones share its encoder."""

    def __init__(self, base: tokzoo.VisualTokenizer, images: Tensor):
        self.base, self.images = base, images
        self.extractor: Any = build_extractor("effnet_lite0", side=SIDE)
        self.tokens = [base.encode(part) for part in images.split(BATCH)]
        self.reference = self.features(images)

    def features(self, images: Tensor) -> Tensor:
        return torch.cat([self.extractor(part).features for part in images.split(BATCH)])

    def of(self, tok: tokzoo.VisualTokenizer) -> dict[str, Any]:
        """Means over the images, the distance, and bits of a photo."""
        tokens = [discrete(tok, part) for part in self.tokens] if isinstance(tok, PostTraining) else self.tokens
        made = torch.cat([tok.decode(part) for part in tokens])
        bits = tokens[0].bits()
        return {
            "psnr": float(psnr(made, self.images).mean()),
            "ssim": float(ssim(made, self.images).mean()),
            "fd_effnet_lite0": frechet_of_features(self.features(made), self.reference),
            "bits": None if bits is None else int(bits[0]),
        }


def discrete(tok: PostTraining, tokens: Tokens) -> Tokens:
    """Continuous tokens of the base of `tok`, as its own."""
    indices = tok.quantizer.index(tok.base.codes(tokens))
    return replace(tokens, latents=None, indices=indices, levels=tok.quantizer.levels)


def ways(base: tokzoo.VisualTokenizer, calibration: Calibration, levels: int) -> dict[str, PostTraining]:
    """The same tokenizer quantized in several ways, at equal bits."""
    per_token = base.token_spec.channels * (levels.bit_length() - 1)
    return {
        "published": tokzoo.quantize(base, levels),
        "calibrated": tokzoo.quantize(base, levels, bins="normal", calibration=calibration),
        "uniform": tokzoo.quantize(base, levels, bins="uniform", calibration=calibration),
        "least error": tokzoo.quantize(base, levels, calibration=calibration),
        "allocated": tokzoo.quantize(base, calibration=calibration, bits_per_token=per_token),
    }


@torch.no_grad()
def main() -> None:
    parser = records.parser(__doc__)
    parser.add_argument("base")
    parser.add_argument("shipped", nargs="+", metavar="LEVELS=NAME")
    parser.add_argument("--photos", type=Path, required=True)
    options = parser.parse_args()
    names = {int(levels): name for levels, name in (each.split("=") for each in options.shipped)}
    base = tokzoo.from_pretrained(options.base)
    train, val = (ImageFolder(options.photos, split=split) for split in ("train", "val"))
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:CALIBRATED].tolist()
    calibration = calibrate(base, evaluation_images([train[index] for index in chosen], base.image_size).float() / 255)
    scores = Scores(base, evaluation_images(val, base.image_size).float() / 255)
    rows = {"continuous": scores.of(base)}
    loaded = {}
    for levels, name in names.items():
        made = ways(base, calibration, levels)
        loaded[name] = shipped(name, made["allocated"], options.base)
        for way, tok in {**made, "as shipped": loaded[name]}.items():
            rows[f"{levels} levels, {way}"] = scores.of(tok)
            print(f"{levels} levels, {way}: {rows[f'{levels} levels, {way}']}", file=sys.stderr, flush=True)
    about = {
        "command": " ".join(
            ["python -m eval.quantized_checkpoint", options.base, *options.shipped, "--photos", options.photos.name]
        ),
        "photos": len(val),
        "calibration_photos": CALIBRATED,
        "scores": rows,
        "machine": machine("cpu"),
    }
    for levels, name in names.items():
        folder = Path("checkpoints") / name
        records.write_record(folder / "scores.json", about)
        write_atomically(folder / "README.md", card(name, levels, loaded[name], options, about))


def shipped(name: str, tok: PostTraining, base: str) -> PostTraining:
    """What its folder holds; where there is none, `tok` is written there first."""
    folder = Path("checkpoints") / name
    if not folder.is_dir():
        tok.name = name
        tok.save_pretrained(folder, dtype=torch.float16, base=base)
        verify.record(folder)
    loaded = tokzoo.from_pretrained(folder)
    assert isinstance(loaded, PostTraining)
    return loaded


def card(
    name: str, levels: int, tok: tokzoo.VisualTokenizer, options: argparse.Namespace, about: dict[str, Any]
) -> str:
    """The model card."""
    spec = tok.token_spec
    bits = spec.layout.num_tokens * round(spec.bits_per_token or 0)
    whole = about["scores"]["continuous"]["psnr"]
    lines = [
        f"| {way} | {'' if row['bits'] is None else format(row['bits'], ',')} | {row['psnr']:.2f} dB "
        f"| {'' if row['bits'] is None else format(whole - row['psnr'], '.3f') + ' dB'} | {row['ssim']:.4f} "
        f"| {row['fd_effnet_lite0']:.1f} |"
        for way, row in about["scores"].items()
    ]
    table = "\n".join(
        ["| tokens | bits | PSNR | lost | SSIM | distance |", "| --- | ---: | ---: | ---: | ---: | ---: |", *lines]
    )
    return f"""---
library_name: tokzoo
license: apache-2.0
tags: [visual-tokenizer]
---

# {name}

`{options.base}` made discrete after training, as TokenBridge does (arXiv:{tokzoo.registry.find(name)[0].paper}):
nothing was trained. {tok.image_size}x{tok.image_size} photos to {spec.layout.num_tokens} tokens of {spec.channels} channels ({bits:,} bits, {tok.image_size**2 * 24 / bits:.0f}x smaller than raw). A token has as many bits
as {levels} levels for each channel take; they went to the channels where they lower the photo's error most:
{", ".join(str(count) for count in spec.levels)} levels. The folder holds these tables; the networks are read from `{options.base}`.

```python
import tokzoo

tok = tokzoo.from_pretrained("{name}")
tokens = tok.encode(tok.preprocess("photo.jpg"))  # indices (1, {spec.layout.num_tokens}, {spec.channels})
images = tok.decode(tokens)
```

Other tables for the same networks, of any number of levels, are made in a moment:

```python
base = tokzoo.from_pretrained("{options.base}")
plain = tokzoo.quantize(base, levels={levels})  # the published bins: no photos needed
fitted = tokzoo.quantize(base, levels={levels}, calibration="folder_of_photos")  # of least error in such photos
```

## Scores

On the {about["photos"]:,} photos of photos64's `val` part (shorter side to {tok.image_size} bicubic, centre crop), float32,
`python -m eval.quantized_checkpoint`; the distance is Frechet's in features of EfficientNet-Lite0 at {SIDE} pixels, to
the originals; so few photos bias it upwards, rows compare with each other only. Tables were fitted to {CALIBRATED} training photos.

{table}

Lost: against continuous tokens. Published: the same bins for every channel, `quantize(base, levels)`. Calibrated: the same
bins around each channel's own mean, by its own deviation; uniform: equal bins over 5 deviations. Least error: Lloyd's and
Max's bins, an error costing what the decoder makes of it, `quantize(base, levels, calibration=photos)`. Allocated: the
same bins, bits going to the channels where they lower the photo's error most, `bits_per_token=`. As shipped: read from the
folder.

## Data and licences

photos64, `train` part. The Caltech-101 pictures were collected from the web by its authors and licensed as a set.

{attribution(options.photos)}

Weights: Apache-2.0. What it is not for: faithful storage of photos, faces, text; it was never tested for any use beyond
trying tokenizers.
"""


if __name__ == "__main__":
    main()
