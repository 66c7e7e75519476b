"""What a flow decoder makes of few tokens, beside a decoder that was trained on pixel errors, on held-out photos.

usage: python -m eval.flextok_mechanism FLOW REGRESSION --photos photos64.zip [--out FILE]

Both are ordered tokenizers, by name or folder. For 1, 2, 4, ... tokens of each: the squared error of pixels,
the cosine of features (EfficientNet-Lite0) with the photo's own, and the kernel distance of the features to those of
the photos (arXiv:1801.01401's polynomial kernel, over pairs of different photos). The flow starts from noise of its own
for each photo, the same for all lengths. Intervals hold 95% of bootstraps over photos, the same ones for all numbers.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

import tokzoo
from eval import records
from eval.bootstrap import BOOTSTRAPS, Bootstrap, estimate
from tokzoo.benchmarks.machine import machine
from tokzoo.data.batches import evaluation_images
from tokzoo.data.readers import ImageFolder
from tokzoo.metrics.extractors import Extractor, build_extractor

BATCH = 64
FEW = 4  # tokens


@dataclass(frozen=True)
class Reconstructions:
    """Of all photos from their first tokens: `errors` (N,), `features` (N, D)."""

    errors: Tensor
    features: Tensor


@torch.no_grad()
def features_of(extractor: Extractor, images: Tensor) -> Tensor:
    """Images (N, 3, S, S) in [0, 1] -> (N, D)."""
    return torch.cat([extractor(part).features for part in images.split(BATCH)])


@torch.no_grad()
def reconstruct(tok: tokzoo.VisualTokenizer, photos: Tensor, extractor: Extractor) -> dict[int, Reconstructions]:
    """Photos (N, 3, S, S) in [0, 1], from their first 1, 2, 4, ... tokens."""
    made: dict[int, list[Tensor]] = {1 << power: [] for power in range(tok.token_spec.lengths[1].bit_length())}
    for number, part in enumerate(photos.split(BATCH)):
        tokens = tok.encode(part)
        for length, images in made.items():
            images.append(tok.decode(tokens[:, :length], generator=torch.Generator().manual_seed(number)))
    whole = {length: torch.cat(images) for length, images in made.items()}
    return {
        length: Reconstructions((images - photos).square().flatten(1).mean(1), features_of(extractor, images))
        for length, images in whole.items()
    }


def main(arguments: list[str] | None = None) -> None:
    """Parses, measures, prints, writes."""
    parser = records.held_out_parser(__doc__, "flextok_mechanism.json")
    parser.add_argument("flow")
    parser.add_argument("regression")
    parser.add_argument("--side", type=int, default=128, help="pixels that the extractor sees")
    given = parser.parse_args(arguments)
    toks = {role: tokzoo.from_pretrained(getattr(given, role)) for role in ("flow", "regression")}
    held_out = ImageFolder(given.photos, split="val")
    photos = evaluation_images(held_out, toks["flow"].image_size, limit=given.limit).float() / 255
    extractor, bootstrap = build_extractor("effnet_lite0", side=given.side), Bootstrap(len(photos))
    wanted = features_of(extractor, photos)
    tables: dict[str, list[dict]] = {}
    gaps, cosines_of_few, falls = {}, {}, {}
    for role, tok in toks.items():
        made = reconstruct(tok, photos, extractor)
        errors = {length: bootstrap.mean(each.errors) for length, each in made.items()}
        cosines = {length: bootstrap.mean(F.cosine_similarity(each.features, wanted)) for length, each in made.items()}
        distances = {length: bootstrap.kernel_distance(each.features, wanted) for length, each in made.items()}
        tables[role] = [
            {
                "tokens": length,
                "mse": asdict(estimate(errors[length])),
                "cosine": asdict(estimate(cosines[length])),
                "kernel_distance": asdict(estimate(distances[length])),
            }
            for length in made
        ]
        falls[role] = [
            {"tokens": [few, more], "change_of_mse": asdict(estimate(errors[more] - errors[few]))}
            for few, more in pairwise(made)
        ]
        gaps[role] = distances[FEW] - distances[max(made)]
        cosines_of_few[role] = cosines[FEW]
        print(tok.name)
        for row in tables[role]:
            numbers = (f"{name} {row[name]['value']:8.5f}" for name in ("mse", "cosine", "kernel_distance"))
            print(f"{row['tokens']:4} tokens  " + "  ".join(numbers))
    gap = estimate(gaps["flow"].abs() - gaps["regression"].abs())
    ahead = estimate(cosines_of_few["flow"] - cosines_of_few["regression"])
    claims = {
        "the error falls with every longer prefix": all(row["change_of_mse"]["high"] < 0 for row in falls["flow"]),
        f"the kernel distance at {FEW} tokens is nearer to that at all than the regression's": gap.high < 0,
        f"the cosine at {FEW} tokens is above the regression's": ahead.low > 0,
    }
    records.print_claims(claims)
    result = {
        "what": "prefixes of a tokenizer with a flow decoder and of one trained on pixel errors, on held-out photos",
        "command": records.command("flextok_mechanism", arguments),
        "machine": machine(),
        "photos": {"file": given.photos.name, "split": "val", "count": len(photos)},
        "extractor": {"name": extractor.name, "side": given.side, "weights_sha256": extractor.weights_sha256},
        "intervals": f"95% of {BOOTSTRAPS} bootstraps over photos",
        "claims": claims,
        "kernel_distance_gap": {role: asdict(estimate(gap_of)) for role, gap_of in gaps.items()},
        "gap_of_flow_less_gap_of_regression": asdict(gap),
        "cosine_of_flow_less_cosine_of_regression": asdict(ahead),
        "falls": falls,
        "tokenizers": {
            role: {"name": tok.name, "config": asdict(tok.config), "prefixes": tables[role]}
            for role, tok in toks.items()
        },
    }
    records.write_record(given.out, result)


if __name__ == "__main__":
    main()
