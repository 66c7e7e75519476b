"""Whether an adaptive tokenizer spends more tokens on detailed photos: tokens used against JPEG size.

usage: python -m eval.adaptive_length NAME_OR_FOLDER --photos photos64.zip [--out eval/results/adaptive_length.json]
       NAME_OR_FOLDER may also be the folder of a run that has not ended: its averaged weights are taken.

Every held-out photo is asked for at the same errors, one after another. For each: how many tokens the photos took, what
error came of it, and Spearman's rank correlation of the tokens with the bytes of the photo as a JPEG of quality 75.
The target that counts is chosen before any correlation is seen: the least one that half of the photos can reach, i.e.
the median error where the whole budget is spent, rounded up to the next error that the model has a word for.
"""

import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

import tokzoo
from eval import records
from tokzoo.data.batches import evaluation_images
from tokzoo.data.readers import ImageFolder
from tokzoo.encoders.halting_query import ERRORS
from tokzoo.images import to_image
from tokzoo.metrics.rate_distortion import encode_as
from tokzoo.training.export import averaged_model

BATCH = 64
QUALITY = 75


@dataclass(frozen=True)
class Asked:
    """What came of one target error, over the held-out photos: means, and the rank correlation with JPEG bytes."""

    max_error: float
    tokens: float
    tokens_deciles: list[float]
    error: float
    reached: float  # share of photos whose error is at most the target
    spearman: float
    p_value: float


@torch.no_grad()
def tokens_and_errors(tok: tokzoo.VisualTokenizer, photos: Tensor, **asked: float) -> tuple[np.ndarray, np.ndarray]:
    """Tokens used and mean absolute error of each of uint8 photos (N, 3, S, S)."""
    counts, errors = [], []
    for part in photos.split(BATCH):
        images = part.float() / 255
        tokens = tok.encode(images, **asked)  # type: ignore[arg-type]
        counts.append(tokens.lengths)
        errors.append((tok.decode(tokens) - images).abs().flatten(1).mean(1))
    return torch.cat(counts).numpy(), torch.cat(errors).numpy()


def measure(tok: tokzoo.VisualTokenizer, photos: Tensor, bytes_: np.ndarray, max_error: float) -> Asked:
    """One target error over all photos."""
    counts, errors = tokens_and_errors(tok, photos, max_error=max_error)
    same = bool((counts == counts[0]).all())  # no ranks
    rank = None if same else spearmanr(counts, bytes_)
    return Asked(
        max_error=max_error,
        tokens=float(counts.mean()),
        tokens_deciles=[float(value) for value in np.quantile(counts, np.linspace(0, 1, 11))],
        error=float(errors.mean()),
        reached=float((errors <= max_error).mean()),
        spearman=0.0 if rank is None else float(rank.statistic),
        p_value=1.0 if rank is None else float(rank.pvalue),
    )


def main(arguments: list[str] | None = None) -> None:
    """Parses, measures, prints, writes."""
    parser = records.held_out_parser(__doc__, "adaptive_length.json")
    parser.add_argument("tokenizer")
    given = parser.parse_args(arguments)
    tok, steps = load(given.tokenizer)
    photos = evaluation_images(ImageFolder(given.photos, split="val"), tok.image_size, limit=given.limit)
    bytes_ = np.array([len(encode_as(to_image(photo.float() / 255), "JPEG", QUALITY)) for photo in photos])
    _, spent = tokens_and_errors(tok, photos, num_tokens=tok.config.num_tokens)
    target = next(error for error in ERRORS if error >= np.median(spent))
    rows = [measure(tok, photos, bytes_, error) for error in ERRORS]
    for row in rows:
        mark = "  <- the target" if row.max_error == target else ""
        came = f"{row.tokens:6.2f} tokens, error {row.error:.4f}, reached by {row.reached:4.0%}"
        print(f"asked {row.max_error:5.3f}: {came}, Spearman {row.spearman:+.3f}{mark}")
    result = {
        "what": "tokens that an adaptive tokenizer spends on held-out photos at equal target error, against JPEG bytes",
        "command": records.command("adaptive_length", arguments),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("tokzoo", "torch")}},
        "photos": {"file": given.photos.name, "split": "val", "count": len(photos)},
        "tokenizer": {"name": tok.name, "steps": steps, "config": asdict(tok.config)},
        "jpeg": {"quality": QUALITY, "mean_bytes": float(bytes_.mean())},
        "error_with_whole_budget": {"mean": float(spent.mean()), "median": float(np.median(spent))},
        "target": asdict(next(row for row in rows if row.max_error == target)),
        "asked": [asdict(row) for row in rows],
    }
    records.write_record(given.out, result)


def load(name: str) -> tuple[tokzoo.VisualTokenizer, int | None]:
    """A model, and the training steps of the run that it is taken from."""
    if (Path(name) / "metrics.jsonl").is_file():
        tok, checkpoint = averaged_model(name)
        return tok, checkpoint.step
    return tokzoo.from_pretrained(name), None


if __name__ == "__main__":
    main()
