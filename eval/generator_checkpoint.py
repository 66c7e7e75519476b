"""Exports a run's averaged weights as a shipped generator, measures whether its classes are recognised, writes a card.

usage: python -m eval.generator_checkpoint RUN NAME --photos labelled64/train.zip [--guidance 1 2 3] [--step N]

The probe is linear, on features of EfficientNet-Lite0, and learns from real photos. It is asked of held-out photos, of
their reconstructions by the generator's tokenizer, and of as many samples of each class at every guidance; where
prefixes decode, of the first tokens of samples too.
"""

import argparse
import csv
import io
import json
import platform
import shlex
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
import yaml
from torch import Tensor

from eval import records
from eval.checkpoint import features, fit_probe, round_trip
from tokzoo import hub, verify
from tokzoo._files import write_atomically
from tokzoo.data.batches import Chosen, evaluation_images
from tokzoo.data.readers import ImageFolder
from tokzoo.data.tokens import split
from tokzoo.generation import Pipeline, pipeline
from tokzoo.losses.perceptual import EfficientNetLite0Features
from tokzoo.training.export import averaged_model

LICENCES = ("CC0-1.0", "CC-BY-2.0", "MIT", "CC-BY-4.0 (dataset grant)")
MOST_PER_CLASS = 100  # photos that the probe learns from
SHIPPED, RESULTS = Path("checkpoints"), Path("eval/results")


class Judge:
    """A probe that learned the classes from real photos.

    Args:
        photos: with labels; those that training held out are not learned from.
        classes: names, in the order of the generator's labels.
        size: pixels of a side.
    """

    def __init__(self, photos: ImageFolder, classes: tuple[str, ...], size: int):
        if photos.labels is None:
            raise ValueError(
                f"{photos.path} has no labels: a probe learns from the columns file and label of a manifest.csv"
            )
        self.extractor = EfficientNetLite0Features()
        self.classes = classes
        learned, self.kept = split(photos.labels, 0.05, 0)
        seen: Counter[str] = Counter()
        rows = []
        for index in torch.randperm(len(learned), generator=torch.Generator().manual_seed(0)).tolist():
            label = photos.labels[learned[index]]
            seen[label] += 1
            if seen[label] <= MOST_PER_CLASS:
                rows.append(learned[index])
        points = features(self.extractor, evaluation_images(Chosen(photos, rows), size).float() / 255)
        self.classify = fit_probe(points, self.numbers([photos.labels[row] for row in rows]), len(classes))
        self.held_out = evaluation_images(Chosen(photos, self.kept), size).float() / 255
        self.truth = self.numbers([photos.labels[row] for row in self.kept])

    def numbers(self, names: list[str]) -> Tensor:
        return torch.tensor([self.classes.index(name) for name in names])

    @torch.no_grad()
    def recognised(self, images: Tensor, truth: Tensor) -> Tensor:
        """Share of each class that is named right, (classes,)."""
        right = (self.classify(features(self.extractor, images)).argmax(1) == truth).float()
        sums = torch.zeros(len(self.classes)).index_add(0, truth, right)
        return sums / torch.bincount(truth, minlength=len(self.classes))


def measure(pipe: Pipeline, photos: ImageFolder, guidances: list[float], per_class: int) -> dict[str, Any]:
    """Mean over classes of the share recognised, and the shares, for originals, reconstructions and samples."""
    judge = Judge(photos, pipe.classes, pipe.tokenizer.image_size)
    rebuilt = round_trip(pipe.tokenizer, judge.held_out)[0]
    shares = {
        "originals": judge.recognised(judge.held_out, judge.truth),
        "reconstructions": judge.recognised(rebuilt, judge.truth),
    }
    labels = torch.arange(len(pipe.classes))
    for guidance in guidances:
        images = pipe(labels, num_samples=per_class, guidance=guidance, seed=0)
        shares[f"guidance {guidance:g}"] = judge.recognised(images, labels.repeat_interleave(per_class))
    prefixes = {}
    if pipe.tokenizer.token_spec.ordered:
        truth = labels.repeat_interleave(per_class)
        prefixes = {
            str(length): float(judge.recognised(images, truth).mean())
            for length, images in beginnings(pipe, labels, per_class)
        }
    return {
        "held_out_photos": len(judge.kept),
        "samples_per_class": per_class,
        "mean": {name: float(share.mean()) for name, share in shares.items()},
        "of_reconstructions": {
            name: float(share.mean() / shares["reconstructions"].mean())
            for name, share in shares.items()
            if name.startswith("guidance")
        },
        **({"first_tokens": prefixes} if prefixes else {}),
        "classes": {
            name: {kind: round(float(share[number]), 3) for kind, share in shares.items()}
            for number, name in enumerate(pipe.classes)
        },
    }


@torch.no_grad()
def beginnings(pipe: Pipeline, labels: Tensor, per_class: int) -> Iterator[tuple[int, Tensor]]:
    """Samples as the generator makes them by default, of their first 1, 2, 4, ... tokens: how many, and the images."""
    tokens = pipe.tokens(labels, num_samples=per_class, seed=0)
    for length in (2**power for power in range(tokens.num_tokens.bit_length())):
        rows = range(0, len(tokens), 64)
        yield length, torch.cat([pipe.tokenizer.decode(tokens[row : row + 64, :length]) for row in rows])


def attribution(archive: Path) -> str:
    """Photos by source and licence, as a table."""
    with ZipFile(archive) as opened:
        rows = list(csv.DictReader(io.StringIO(opened.read("manifest.csv").decode())))
    counts = Counter((row["source"], row["licence"]) for row in rows if row["licence"] in LICENCES)
    lines = [f"| {source} | {licence} | {count:,} |" for (source, licence), count in sorted(counts.items())]
    return "\n".join(["| source | licence | photos |", "| --- | --- | ---: |", *lines])


def main() -> None:
    """Parses, exports, scores, writes."""
    parser = records.parser(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0, 4.0])
    parser.add_argument("--sampling", default="{}", help="what `sample` is called with by default, as JSON")
    parser.add_argument("--per_class", type=int, default=50)
    parser.add_argument("--step", type=int, help="of the checkpoint; by default the newest")
    parser.add_argument("--command", default="")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="elsewhere, eval/results stays as it is")
    arguments = parser.parse_args()
    photos = ImageFolder(arguments.photos, where={"licence": LICENCES}, label_column="class")
    model, checkpoint = averaged_model(arguments.run, step=arguments.step)
    model.name, model.sampling = arguments.name, json.loads(arguments.sampling)
    folder = model.save_pretrained(arguments.out / arguments.name, dtype=torch.float16)
    verify.record(folder)
    pipe = pipeline(folder)
    config = yaml.safe_load((arguments.run / "config.yaml").read_text())
    rows = [json.loads(line) for line in (arguments.run / "metrics.jsonl").read_text().splitlines()]
    held_out = {row["step"]: row["val_loss"] for row in rows if "val_loss" in row}
    about = {
        "command": command_of(arguments),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()} CPU, torch {torch.__version__}",
        "steps": checkpoint.step,
        "seconds": round(checkpoint.seconds),
        "held_out_loss": round(held_out[checkpoint.step], 4),
        "recognised": measure(pipe, photos, arguments.guidance, arguments.per_class),
    }
    records.write_record(folder / "scores.json", about)
    if arguments.out == SHIPPED:
        records.write_record(RESULTS / f"recognition_{arguments.name}.json", about)
    write_atomically(folder / "README.md", card(pipe, arguments, about, config))
    print(json.dumps(about["recognised"]["mean"] | about["recognised"]["of_reconstructions"], indent=2))


def first_tokens(pipe: Pipeline, shares: dict[str, float]) -> str:
    """What the first of a sample's tokens tell, in words."""
    knobs = ", ".join(f"{name} {value:g}" for name, value in pipe.generator.sampling.items())
    told = ", ".join(f"{share:.1%} after {length}" for length, share in shares.items())
    return f"Tokens are ordered: of samples as it makes them by default ({knobs}) recognised are {told} tokens."


def command_of(arguments: argparse.Namespace) -> str:
    """The command that was run, with the photos' name alone."""
    words = [word for word in sys.argv[1:] if word not in ("--command", arguments.command)]
    return "python -m eval.generator_checkpoint " + shlex.join(
        arguments.photos.name if word == str(arguments.photos) else word for word in words
    )


def card(pipe: Pipeline, arguments: argparse.Namespace, about: dict, config: dict) -> str:
    """The model card."""
    model, shares = pipe.generator, about["recognised"]
    architecture = hub.architecture_of(model)
    size, side = sum(value.numel() for value in model.parameters()), pipe.tokenizer.image_size
    table = "\n".join(f"| {name} | {share:.1%} |" for name, share in shares["mean"].items())
    shorter = ""
    if "first_tokens" in shares:
        table += f"\n\n{textwrap.fill(first_tokens(pipe, shares['first_tokens']), 120)}"
        shorter = "\nfirst = pipe(0, num_tokens=4, seed=0)  # any number of first tokens decodes"
    what = (
        f"A small {architecture.published_as} (arXiv:{architecture.paper}), trained by tokzoo: it makes the "
        f"{model.config.num_tokens} tokens of `{model.tokenizer}`, which decodes them to {side}x{side} photos, of "
        f"{len(pipe.classes)} classes. "
        f"{size / 1e6:.2f}M parameters, stored in half precision."
    )
    unit = "" if model.levels is None else " nats a token"
    begun = f"Begun as `{config['init']}`, of which it took all but the codes. " if config["init"] else ""
    told = (
        f"{begun}{about['steps']:,} steps of {config['batch_size']} photos, each in one of several crops; "
        f"{about['seconds']:,} s on one thread of a CPU, next to other work. These are its averaged (EMA) weights; its "
        f"loss on held-out photos is {about['held_out_loss']:.3f}{unit}. Being trained on a CPU for minutes, it "
        "is a working example, not the best that this size can do."
    )
    how = (
        "Share of images whose class a probe names right, mean over classes; `python -m eval.generator_checkpoint`. "
        "The probe is linear, on features of EfficientNet-Lite0, and learned from real photos. "
        f"{shares['held_out_photos']:,} held-out photos; {shares['samples_per_class']} samples a class:"
    )
    return f"""---
library_name: tokzoo
license: apache-2.0
tags: [visual-generator]
---

# {arguments.name}

{textwrap.fill(what, 120)}

```python
import tokzoo

pipe = tokzoo.pipeline("{arguments.name}")
images = pipe(["{pipe.classes[6]}", "{pipe.classes[16]}"], num_samples=4, seed=0){shorter}
```

{textwrap.fill(f"Classes: {', '.join(pipe.classes)}.", 120)}

## Training

```
{arguments.command}
```

{textwrap.fill(told, 120)}

## Scores

{textwrap.fill(how, 120)}

| images | recognised |
| --- | ---: |
{table}

Frechet distances on features of the same network (never FID) are in `eval/README.md`, under the name of the protocol.

## Data and licences

labelled64, the rows under these licences. The Caltech-101 pictures were collected from the web by its authors and
licensed as a set. The tokenizer's card has a table of its own.

{attribution(arguments.photos)}

Weights: Apache-2.0. What it is not for: pictures of anything real, persons least of all; it was never tested for any
use beyond trying generators.
"""


if __name__ == "__main__":
    main()
