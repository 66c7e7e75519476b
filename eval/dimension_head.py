"""Whether a token's codes tell of each other: a dimension-wise head beside the same head that sees no other code.

usage: python -m eval.dimension_head NAME --photos photos64.zip [--seconds 120] [--out eval/results/dimension_head.json]

Both are given a token's place alone, learn the tokens of the same training photos for as many steps, and are scored on
those of all held-out photos: -log p in nats per code, and by channel.
"""

import time
from pathlib import Path

import torch
from torch import Tensor, nn

import tokzoo
from eval import records
from tokzoo.benchmarks.machine import machine
from tokzoo.data.batches import evaluation_images
from tokzoo.data.readers import ImageFolder
from tokzoo.generators.sampling import score
from tokzoo.generators.tokenbridge.head import DimensionHead

PHOTOS, BATCH, RATE = 4000, 512, 2e-3
WIDTH, DEPTH, HEADS = 96, 2, 4


class Placed(nn.Module):
    """p(codes of a token | its place); `independent` ones are told nothing of each other."""

    def __init__(self, places: int, levels: tuple[int, ...], *, independent: bool):
        super().__init__()
        self.places = nn.Embedding(places, WIDTH)
        self.head = DimensionHead(levels, WIDTH, width=WIDTH, depth=DEPTH, num_heads=HEADS)
        self.independent = independent

    def forward(self, places: Tensor, codes: Tensor) -> Tensor:
        """Places (N,) and codes (N, C) -> -log p (N, C), in nats."""
        seen = torch.zeros_like(codes) if self.independent else codes
        return -score(self.head.logits(self.places(places), seen), codes)


@torch.no_grad()
def tokens_of(tok: tokzoo.VisualTokenizer, photos: Tensor) -> Tensor:
    """Codes (N, L, C) of uint8 photos."""
    return torch.cat([tok.encode(part.float() / 255).indices for part in photos.split(64)])


def main() -> None:
    parser = records.parser(__doc__)
    parser.add_argument("name")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=120, help="of processor time, both heads together")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    tok = tokzoo.from_pretrained(options.name)
    train, val = (ImageFolder(options.photos, split=split) for split in ("train", "val"))
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:PHOTOS].tolist()
    learned = tokens_of(tok, evaluation_images([train[index] for index in chosen], tok.image_size))
    held_out = tokens_of(tok, evaluation_images(val, tok.image_size))
    places, levels = learned.shape[1], tok.token_spec.levels
    models, optimizers = {}, {}
    for name in ("dimension-wise", "independent"):
        torch.manual_seed(0)
        model = Placed(places, levels, independent=name == "independent")
        models[name], optimizers[name] = model, torch.optim.AdamW(model.parameters(), lr=RATE)
    noise, began, steps = torch.Generator().manual_seed(1), time.process_time(), 0
    while (share := (time.process_time() - began) / options.seconds) < 1:
        rows = torch.randint(len(learned), (BATCH,), generator=noise)
        where = torch.randint(places, (BATCH,), generator=noise)
        for name, model in models.items():
            for group in optimizers[name].param_groups:
                group["lr"] = RATE * (1 - share)
            optimizers[name].zero_grad()
            model(where, learned[rows, where]).mean().backward()
            optimizers[name].step()
        steps += 1
    where = torch.arange(places).repeat(len(held_out))
    found = {}
    for name, model in models.items():
        with torch.no_grad():
            parts = [
                model(spots, codes)
                for spots, codes in zip(where.split(4096), held_out.flatten(0, 1).split(4096), strict=True)
            ]
        nats = torch.cat(parts).mean(0)
        found[name] = {"nats_per_code": float(nats.mean()), "by_channel": [round(float(value), 4) for value in nats]}
        print(f"{name:16} {found[name]['nats_per_code']:.4f} nats per code")
    report = {
        "what": "-log p per code on held-out photos, of heads that are told a token's place",
        "command": records.command("dimension_head"),
        "tokenizer": tok.name,
        "levels": levels,
        "photos": {"train": len(learned), "val": len(held_out)},
        "steps": steps,
        "batch": BATCH,
        "processor_seconds": round(time.process_time() - began),
        "heads": found,
        "machine": machine("cpu"),
    }
    if options.out is not None:
        records.write_record(options.out, report)


if __name__ == "__main__":
    main()
