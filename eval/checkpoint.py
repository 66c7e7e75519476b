"""Exports a run's averaged weights as a shipped checkpoint, scores it on held-out photos, writes its model card.

usage: python -m eval.checkpoint RUN NAME --photos photos64.zip [--command "tokzoo train ..."] [--begun "sentence"]
"""

import argparse
import csv
import io
import json
import platform
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

import tokzoo
from eval import records
from eval.prefixes import mean_image, measure
from tokzoo import verify
from tokzoo._files import write_atomically
from tokzoo.data.batches import evaluation_images
from tokzoo.data.readers import ImageFolder
from tokzoo.losses.perceptual import EfficientNetLite0Features
from tokzoo.losses.reconstruction import psnr
from tokzoo.tokens import Gaussians
from tokzoo.training.export import averaged_model

LEAST_PER_LABEL, MOST_PER_LABEL = 100, 150
GEOMETRY = 5  # numbers of a Gaussian
FEATURE_SIDE = 128  # pixels that the extractor sees
DECAY = 1e-3  # of the probe's weights


@torch.no_grad()
def features(extractor: EfficientNetLite0Features, images: Tensor) -> Tensor:
    """Images (N, 3, S, S) float in [0, 1] -> pooled last features (N, 1280)."""
    pooled = []
    for part in images.split(128):
        enlarged = F.interpolate(part, (FEATURE_SIDE, FEATURE_SIDE), mode="bicubic", antialias=True).clamp(0, 1)
        pooled.append(
            extractor.network.forward_head(extractor.network.forward_features(enlarged * 2 - 1), pre_logits=True)
        )
    return torch.cat(pooled)


def fit_probe(points: Tensor, labels: Tensor, classes: int) -> torch.nn.Module:
    """A linear classifier on standardised features, by L-BFGS."""
    mean, std = points.mean(0), points.std(0).clamp_min(1e-6)
    linear = torch.nn.Linear(points.shape[1], classes)
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=100, line_search_fn="strong_wolfe")
    standard = (points - mean) / std

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(linear(standard), labels) + DECAY * linear.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return lambda new: linear((new - mean) / std)


@torch.no_grad()
def round_trip(tok: tokzoo.VisualTokenizer, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Images -> reconstructions, and all indices, None where tokens are continuous."""
    made, indices = [], []
    for part in images.split(64):
        tokens = tok.encode(part)
        made.append(tok.decode(tokens))
        indices.append(tokens.indices)
    return torch.cat(made), None if indices[0] is None else torch.cat(indices)


@torch.no_grad()
def of_count(tok: tokzoo.VisualTokenizer, images: Tensor, count: int) -> float:
    """PSNR of images from so many tokens, where `encode` takes their number."""
    made = [tok.decode(tok.encode(part, num_tokens=count)) for part in images.split(64)]
    return float(psnr(torch.cat(made), images).mean())


def code_use(indices: Tensor, num_codes: int) -> dict[str, float]:
    """The share of codes that occur, and exp of their entropy."""
    counts = torch.bincount(indices.flatten(), minlength=num_codes).double()
    shares = counts / counts.sum()
    entropy = -(shares * shares.clamp_min(1e-12).log()).sum()
    return {"code_usage": float((counts > 0).double().mean()), "code_perplexity": float(entropy.exp())}


def probe(tok: tokzoo.VisualTokenizer, archive: Path) -> dict[str, Any]:
    """PSNR (of every prefix too, where they decode), code use, and how much of a classifier's accuracy on originals is left on reconstructions."""
    train, val = ImageFolder(archive, split="train"), ImageFolder(archive, split="val")
    counts = Counter(train.labels)
    names = sorted(label for label, count in counts.items() if count >= LEAST_PER_LABEL)
    chosen: dict[str, list[int]] = {name: [] for name in names}
    for index, label in enumerate(train.labels):
        if label in chosen and len(chosen[label]) < MOST_PER_LABEL:
            chosen[label].append(index)
    order = [index for name in names for index in chosen[name]]
    learned = evaluation_images([train[index] for index in order], tok.image_size).float() / 255
    wanted = torch.tensor([names.index(train.labels[index]) for index in order])
    extractor = EfficientNetLite0Features()
    classify = fit_probe(features(extractor, learned), wanted, len(names))
    held_out = evaluation_images(val, tok.image_size).float() / 255
    made, indices = round_trip(tok, held_out)
    rows = [index for index, label in enumerate(val.labels) if label in chosen]
    truth = torch.tensor([names.index(val.labels[index]) for index in rows])

    def accuracy(images: Tensor) -> float:
        return float((classify(features(extractor, images[rows])).argmax(1) == truth).float().mean())

    before, after = accuracy(held_out), accuracy(made)
    ordered = {}
    if tok.token_spec.ordered:
        curve = measure(tok, evaluation_images(val, tok.image_size), mean_image(train, tok.image_size))
        ordered = {"psnr_of_prefixes": dict(zip(curve.lengths, curve.psnr, strict=True))}
    if counts := getattr(tok.config, "training_lengths", ()):
        ordered = {"psnr_of_counts": {count: of_count(tok, held_out, count) for count in counts}}
    return {
        **ordered,
        "photos": len(val),
        "psnr": float(psnr(made, held_out).mean()),
        **({} if indices is None else code_use(indices, tok.token_spec.levels[0])),
        "probe_classes": len(names),
        "probe_photos": len(rows),
        "probe_accuracy_originals": before,
        "probe_accuracy_reconstructions": after,
        "probe_kept": after / before,
    }


def attribution(archive: Path) -> str:
    """Training photos by source and licence, as a table."""
    with ZipFile(archive) as opened:
        rows = list(csv.DictReader(io.StringIO(opened.read("manifest.csv").decode())))
    counts = Counter((row["source"], row["licence"]) for row in rows if row["split"] == "train")
    lines = [f"| {source} | {licence} | {count:,} |" for (source, licence), count in sorted(counts.items())]
    return "\n".join(["| source | licence | photos |", "| --- | --- | ---: |", *lines])


def main() -> None:
    """Parses, exports, scores, writes."""
    parser = records.parser(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--command", default="")
    parser.add_argument("--begun", default="", help="what the card says of the weights that --init named")
    arguments = parser.parse_args()
    tok, checkpoint = averaged_model(arguments.run)
    tok.name = arguments.name
    folder = Path("checkpoints") / arguments.name
    config = yaml.safe_load((arguments.run / "config.yaml").read_text())
    tok.save_pretrained(folder, dtype=torch.float16, base=config["teacher"] if tok.base_keys else None)
    verify.record(folder)
    tok = tokzoo.from_pretrained(folder)
    scores = probe(tok, arguments.photos)
    count = torch.get_num_threads()
    about = {
        "steps": checkpoint.step,
        "planned_steps": config["steps"],
        "seconds": round(checkpoint.seconds),
        "machine": f"{platform.machine()} CPU, {count} thread{'s' * (count > 1)}, torch {torch.__version__}",
        "scores": scores,
    }
    records.write_record(folder / "scores.json", about)
    write_atomically(folder / "README.md", card(tok, arguments, about, config))
    print(json.dumps(about, indent=2))


def prefixes(scores: dict) -> str:
    """A table of an ordered tokenizer's prefixes, or of the numbers of Gaussians that were learned; nothing of others."""
    said = {
        "psnr_of_prefixes": "Any prefix decodes; 0 tokens are the mean training image:",
        "psnr_of_counts": "`encode` takes the number of tokens; training drew from these:",
    }
    found = [name for name in said if name in scores]
    if not found:
        return ""
    rows = [f"| {count} | {value:.2f} dB |" for count, value in scores[found[0]].items()]
    lines = [
        "",
        said[found[0]],
        "",
        "| tokens | PSNR |",
        "| ---: | ---: |",
    ]
    return "\n".join([*lines, *rows, ""])


def made(tok: tokzoo.VisualTokenizer) -> str:
    """What the tokens of a photo are, in words."""
    spec = tok.token_spec
    if isinstance(spec.layout, Gaussians):
        size = f"{spec.layout.num_tokens * (GEOMETRY + spec.channels):,} floats"
        return f"{spec.layout.num_tokens} Gaussians\nof {GEOMETRY} numbers and {spec.channels} features each ({size})"
    if spec.levels is None:
        return f"{spec.layout.num_tokens} continuous tokens\nof {spec.channels} channels"
    bits = spec.layout.num_tokens * round(spec.bits_per_token)
    ratio = tok.image_size**2 * 24 / bits
    return f"{spec.layout.num_tokens} tokens of a codebook of {spec.levels[0]:,}\n({bits} bits, {ratio:.0f}x smaller than raw)"


def losses(config: dict) -> str:
    """What was minimised, in words."""
    weights = config["loss"]
    if config["recipe"] == "flextok":
        flow = config["flow"]
        repa = (
            ""
            if flow["repa"] is None
            else (
                f", and {flow['repa_weight']:g} times the cosine distance of the decoder's patches to features of "
                f"{flow['repa']} (REPA)"
            )
        )
        return (
            f"squared error of a flow's velocity between latents and noise, lengths drawn by {flow['lengths']}, "
            f"{flow['null_chance']:.0%} of pictures without tokens{repa}"
        )
    if not weights["perceptual"]:
        return "mean squared error"
    start, count = weights["perceptual_start"], weights["perceptual_images"]
    since = f" from step {start:,} on" if start else ""
    part = f" of the first {count} images of a batch" if count else ""
    return (
        f"mean squared error, and{since} {weights['perceptual']:g} times a feature distance on EfficientNet-Lite0{part}"
    )


def card(tok: tokzoo.VisualTokenizer, arguments: argparse.Namespace, about: dict, config: dict) -> str:
    """The model card."""
    unfinished = about["steps"] < about["planned_steps"]
    end = f"was cut short at step {about['steps']:,} of {about['planned_steps']:,}" if unfinished else "ran to its end"
    told = (
        f"{arguments.begun} The run {end}; it took {about['seconds']:,} s on a {about['machine']}, next to other work. "
        f"These are its averaged (EMA) weights. Single stage: {losses(config)}; no adversarial loss. "
        "Being trained on a CPU for about an hour, it is a working example, not the best that this size can do."
    ).strip()
    favour = (
        " The same network gave the\nfeature distance in training, which favours it."
        if (config["flow"]["repa"] if config["recipe"] == "flextok" else config["loss"]["perceptual"])
        else ""
    )
    architecture = tokzoo.registry.find(arguments.name)[0]
    scores, size = about["scores"], sum(value.numel() for value in tok.parameters())
    use = ""
    if "code_usage" in scores:
        use = f"""| codes used at least once | {scores["code_usage"]:.1%} |
| perplexity of the codes | {scores["code_perplexity"]:,.0f} |
"""
    return f"""---
library_name: tokzoo
license: apache-2.0
tags: [visual-tokenizer]
---

# {arguments.name}

A small {architecture.published_as} (arXiv:{architecture.paper}), trained by tokzoo: {tok.image_size}x{tok.image_size} photos to {made(tok)}. {size / 1e6:.2f}M parameters, stored in half precision.

```python
import tokzoo

tok = tokzoo.from_pretrained("{arguments.name}")
tokens = tok.encode(tok.preprocess("photo.jpg"))
images = tok.decode(tokens)
```

## Training

```
{arguments.command}
```

{textwrap.fill(told, 120)}

## Scores

On the {scores["photos"]:,} photos of photos64's `val` part (shorter side to {tok.image_size} bicubic, centre crop), float32, `python -m eval.checkpoint`:

| score | value |
| --- | ---: |
| PSNR, mean over photos | {scores["psnr"]:.2f} dB |
{use}| probe accuracy on originals | {scores["probe_accuracy_originals"]:.1%} |
| probe accuracy on reconstructions | {scores["probe_accuracy_reconstructions"]:.1%} |
| share of the accuracy kept | {scores["probe_kept"]:.1%} |
{prefixes(scores)}
The probe is linear, on pooled features of EfficientNet-Lite0 (ImageNet-1k) at {FEATURE_SIDE} pixels, trained on original training photos of
the {scores["probe_classes"]} labels with at least {LEAST_PER_LABEL} of them (at most {MOST_PER_LABEL} each), scored on {scores["probe_photos"]:,} held-out photos.{favour}

## Data and licences

photos64, `train` part. The Caltech-101 pictures were collected from the web by its authors and licensed as a set.

{attribution(arguments.photos)}

Weights: Apache-2.0. What it is not for: faithful storage of photos, faces, text; it was never tested for any use beyond
trying tokenizers.
"""


if __name__ == "__main__":
    main()
