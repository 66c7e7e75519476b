"""Held-out error of ordered tokenizers after their first k tokens; k = 0 is the mean training image.

usage: python -m eval.prefixes NAME_OR_FOLDER [ANOTHER ...] --photos photos64.zip [--out eval/results/prefixes.json]

Says for each whether the error falls with every longer prefix, and which share of the whole reduction, from no token to
all of them, the first quarter of the tokens carries. Give a model trained with tail token drop and one without.
"""

import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise

import torch
from torch import Tensor

import tokzoo
from eval import records
from tokzoo.data.batches import Chosen, Photos, evaluation_images
from tokzoo.data.readers import ImageFolder
from tokzoo.losses.reconstruction import psnr

BATCH = 64


@dataclass(frozen=True)
class PrefixCurve:
    """Errors of one tokenizer, means over photos: `mse` of pixels in [0, 1], `psnr` in dB, one of each per length."""

    tokenizer: str
    lengths: list[int]
    mse: list[float]
    psnr: list[float]

    @property
    def falls(self) -> bool:
        """Whether every longer prefix has a smaller error."""
        return all(later < earlier for earlier, later in pairwise(self.mse))

    @property
    def first_quarter(self) -> float | None:
        """Share of the reduction from no token to all that the first quarter carries; None where nothing is reduced."""
        if self.mse[-1] >= self.mse[0]:
            return None
        quarter = self.mse[self.lengths.index(self.lengths[-1] // 4)]
        return (self.mse[0] - quarter) / (self.mse[0] - self.mse[-1])


def prefix_lengths(num_tokens: int) -> list[int]:
    """0, the powers of two, a quarter and all of them."""
    powers = [1 << power for power in range(num_tokens.bit_length())]
    return sorted({0, *powers, num_tokens // 4, num_tokens})


@torch.no_grad()
def mean_image(photos: Photos, image_size: int) -> Tensor:
    """The mean (3, S, S) of the centre squares of all photos, in [0, 1]."""
    total = torch.zeros(3, image_size, image_size, dtype=torch.float64)
    for start in range(0, len(photos), 1024):
        part = Chosen(photos, range(start, min(start + 1024, len(photos))))
        total += evaluation_images(part, image_size).sum(0, dtype=torch.float64)
    return (total / len(photos) / 255).float()


@torch.no_grad()
def measure(tok: tokzoo.VisualTokenizer, held_out: Tensor, mean: Tensor) -> PrefixCurve:
    """Encodes uint8 images (N, 3, S, S) once, decodes every prefix.

    Raises:
        ValueError: a tokenizer of which prefixes do not decode.
    """
    if not tok.token_spec.ordered:
        raise ValueError(f"{tok.name}: prefixes of its tokens do not decode (token_spec.ordered is False)")
    lengths = prefix_lengths(tok.token_spec.lengths[1])
    errors: dict[int, list[Tensor]] = {length: [] for length in lengths}
    for part in held_out.split(BATCH):
        images = part.float() / 255
        tokens = tok.encode(images)
        for length in lengths:
            made = tok.decode(tokens[:, :length]) if length else mean.expand_as(images)
            errors[length].append(torch.stack([(made - images).square().flatten(1).mean(1), psnr(made, images)]))
    mse, decibels = zip(*(torch.cat(errors[length], dim=1).mean(1).tolist() for length in lengths), strict=True)
    return PrefixCurve(str(tok.name), lengths, list(mse), list(decibels))


def report(curve: PrefixCurve) -> str:
    """A table, and what it says."""
    rows = zip(curve.lengths, curve.mse, curve.psnr, strict=True)
    lines = [f"{curve.tokenizer}", *(f"{length:6} tokens  mse {mse:.5f}  {psnr:6.2f} dB" for length, mse, psnr in rows)]
    course = "falls with every longer prefix" if curve.falls else "does not fall with every longer prefix"
    if curve.first_quarter is None:
        return "\n".join([*lines, f"the error {course}; all tokens together are no better than the mean image"])
    return "\n".join([*lines, f"the error {course}; the first quarter carries {curve.first_quarter:.1%} of its fall"])


def main(arguments: list[str] | None = None) -> None:
    """Parses, measures, prints, writes."""
    parser = records.held_out_parser(__doc__, "prefixes.json")
    parser.add_argument("tokenizers", nargs="+")
    given = parser.parse_args(arguments)
    train, val = (ImageFolder(given.photos, split=split) for split in ("train", "val"))
    curves = []
    means: dict[int, Tensor] = {}
    for name in given.tokenizers:
        tok = tokzoo.from_pretrained(name)
        side = tok.image_size
        if side not in means:
            means[side] = mean_image(train, side)
        tok.name = name  # of two runs of one architecture
        curves.append(measure(tok, evaluation_images(val, side, limit=given.limit), means[side]))
        print(report(curves[-1]))
    result = {
        "what": "error on held-out photos after the first k tokens; k = 0 is the mean training image",
        "command": records.command("prefixes", arguments),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("tokzoo", "torch")}},
        "photos": {"file": given.photos.name, "train": len(train), "val": min(given.limit or len(val), len(val))},
        "curves": [
            {**asdict(curve), "falls": curve.falls, "first_quarter_share": curve.first_quarter} for curve in curves
        ],
    }
    records.write_record(given.out, result)


if __name__ == "__main__":
    main()
