"""Whether tokens that place themselves keep more of held-out photos, and whether what a token paints moves with it.

usage: python -m eval.gpstoken_mechanism gpstoken_nano.photos64 --photos photos64.zip [--out FILE]

One model codes each photo twice with the same number of tokens: by its own partition, and by a uniform grid of regions.
Both squared errors, the first less the second, and over the second, of all photos and of quarters of them, by how
unevenly detail is spread: the standard deviation of the entropies of 8x8 equal regions.

Then one Gaussian of each photo, drawn by chance, goes half a unit (a quarter of the picture) towards the centre. What
it paints is the squared difference of the decoded picture with and without it; its centroid is taken before and after.
The share is the centroid's way along the Gaussian's, over the Gaussian's: 1 if content moves along, 0 if it stays.

Intervals hold 95% of bootstraps over photos.
"""

from dataclasses import asdict, replace
from typing import NamedTuple

import torch
from torch import Tensor

import tokzoo
from eval import records
from eval.bootstrap import BOOTSTRAPS, Bootstrap, estimate
from eval.flextok_mechanism import BATCH
from tokzoo.benchmarks.machine import machine
from tokzoo.data.batches import evaluation_images
from tokzoo.data.readers import ImageFolder
from tokzoo.layers.partition import complexity
from tokzoo.tokenizers.gpstoken.model import LUMA
from tokzoo.tokens import Tokens

GRIDS = {16: (4, 4), 32: (4, 8), 64: (8, 8)}  # number of tokens: rows, columns
STEP = 0.5  # of the Gaussian that is moved
QUARTERS = 4


def grid_regions(side: int, rows: int, columns: int) -> Tensor:
    """Equal regions (rows * columns, 4) of a square: left, top, right, bottom pixel."""
    top, left = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    high, wide = side // rows, side // columns
    corner = torch.stack([left * wide, top * high], dim=-1).flatten(0, 1)
    return torch.cat([corner, corner + torch.tensor([wide, high]) - 1], dim=1)


def spread_of_detail(tok: tokzoo.VisualTokenizer, photos: Tensor) -> Tensor:
    """Standard deviation (N,) of the entropies of 8x8 equal regions, in bits."""
    grey = (photos * torch.tensor(LUMA)[:, None, None]).sum(1)
    regions = grid_regions(photos.shape[2], 8, 8)
    area = float((regions[0, 2:] - regions[0, :2] + 1).prod())
    image = torch.arange(len(photos)).repeat_interleave(len(regions))
    boxes = regions.repeat(len(photos), 1)
    found = complexity(grey, image, boxes, power=1.0, looked_side=tok.config.looked_side) / area
    return found.view(len(photos), -1).std(1)


@torch.no_grad()
def errors(tok: tokzoo.VisualTokenizer, photos: Tensor, count: int, *, uniform: bool) -> Tensor:
    """Squared error (N,) of photos from so many tokens."""
    found = []
    for part in photos.split(BATCH):
        if uniform:
            given = {"regions": grid_regions(tok.image_size, *GRIDS[count]).repeat(len(part), 1, 1)}
        else:
            given = tok.prepare(part, num_tokens=count)
        found.append((tok.decode(tok.encode(part, **given)) - part).square().flatten(1).mean(1))
    return torch.cat(found)


class Ways(NamedTuple):
    """From where to where the Gaussians (N, 2) and the centroids of what they paint (N, 2) went."""

    gaussians: Tensor
    centroids: Tensor


@torch.no_grad()
def moved(tok: tokzoo.VisualTokenizer, photos: Tensor) -> Ways:
    """Moves one Gaussian of each photo."""
    generator, ways = torch.Generator().manual_seed(0), []
    for part in photos.split(BATCH):
        tokens = tok.encode(part)
        row = torch.arange(len(part))
        chosen = torch.randint(tokens.num_tokens, (len(part),), generator=generator)
        mean = tokens.geometry[row, chosen, 3:]
        way = -mean / mean.norm(dim=1, keepdim=True).clamp_min(1e-6) * STEP
        geometry = tokens.geometry.clone()
        geometry[row, chosen, 3:] += way
        silent = tokens.latents.clone()
        silent[row, chosen] = 0
        without = tok.decode(replace(tokens, latents=silent), clamp=False)
        before, after = (centroids(tok, each, without) for each in (tokens, replace(tokens, geometry=geometry)))
        ways.append(Ways(way, after - before))
    return Ways(*(torch.cat(each) for each in zip(*ways, strict=True)))


def centroids(tok: tokzoo.VisualTokenizer, tokens: Tokens, without: Tensor) -> Tensor:
    """Of the squared change (N, 2) that a token makes of the picture: x, y, corner pixels at -1 and 1."""
    change = (tok.decode(tokens, clamp=False) - without).square().sum(1)  # (N, H, W)
    places = torch.linspace(-1, 1, change.shape[-1])
    total = change.sum((1, 2)).clamp_min(1e-12)  # a token that paints nothing stays where it is
    return torch.stack([(change.sum(1) @ places) / total, (change.sum(2) @ places) / total], dim=1)


def main(arguments: list[str] | None = None) -> None:
    """Parses, measures, prints, writes."""
    parser = records.held_out_parser(__doc__, "gpstoken_mechanism.json")
    parser.add_argument("tokenizer")
    given = parser.parse_args(arguments)
    tok = tokzoo.from_pretrained(given.tokenizer)
    held_out = ImageFolder(given.photos, split="val")
    photos = evaluation_images(held_out, tok.image_size, limit=given.limit).float() / 255
    bootstrap, spread = Bootstrap(len(photos)), spread_of_detail(tok, photos)
    quarters = spread.argsort().tensor_split(QUARTERS)
    table, claims = [], {}
    for count in GRIDS:
        own, even = (errors(tok, photos, count, uniform=uniform) for uniform in (False, True))
        less = bootstrap.mean(own - even)
        by_quarter = [bootstrap.mean(own - even, quarter) for quarter in quarters]
        relative = [bootstrap.mean(own, quarter) / bootstrap.mean(even, quarter) for quarter in quarters]
        table.append(
            {
                "tokens": count,
                "mse": asdict(estimate(bootstrap.mean(own))),
                "mse_of_grid": asdict(estimate(bootstrap.mean(even))),
                "difference": asdict(estimate(less)),
                "difference_by_quarter": [asdict(estimate(each)) for each in by_quarter],
                "ratio_by_quarter": [asdict(estimate(each)) for each in relative],
                "ratio_of_last_less_first_quarter": asdict(estimate(relative[-1] - relative[0])),
            }
        )
        claims[f"{count} tokens: the partition's error is below the grid's"] = estimate(less).high < 0
        gap = estimate(relative[-1] - relative[0])
        claims[f"{count} tokens: by a larger share where detail is least even than where it is most"] = gap.high < 0
        ratios = " ".join(f"{each['value']:.3f}" for each in table[-1]["ratio_by_quarter"])
        print(f"{count:3} tokens  mse {own.mean():.5f}  of a grid {even.mean():.5f}  their ratio by quarter {ratios}")
    ways = moved(tok, photos)
    shares = (ways.centroids * ways.gaussians).sum(1) / ways.gaussians.square().sum(1)
    share = estimate(bootstrap.mean(shares))
    claims["what a Gaussian paints goes at least half of its way"] = share.low > 0.5
    print(f"moved Gaussians take what they paint {share.value:.3f} of their way")
    records.print_claims(claims)
    result = {
        "what": "one tokenizer's own partition beside a uniform grid of regions, on held-out photos; Gaussians moved",
        "command": records.command("gpstoken_mechanism", arguments),
        "machine": machine(),
        "photos": {"file": given.photos.name, "split": "val", "count": len(photos)},
        "intervals": f"95% of {BOOTSTRAPS} bootstraps over photos",
        "tokenizer": {"name": tok.name, "config": asdict(tok.config)},
        "claims": claims,
        "spread_of_quarters": [[float(spread[each].min()), float(spread[each].max())] for each in quarters],
        "by_tokens": table,
        "share_of_the_way": asdict(share),
    }
    records.write_record(given.out, result)


if __name__ == "__main__":
    main()
