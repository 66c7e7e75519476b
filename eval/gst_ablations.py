"""What each part of a Gaussian is worth to a GST of few tokens, on generated scenes.

usage: python -m eval.gst_ablations --work FOLDER [--steps N] [--seeds N] [--scenes N] [--held-out N] [--out FILE]

Trains `gst_nano_16` as it is and with one part changed at a time, all alike on the same scenes (stopped, it goes on
when started again), and asks of scenes that none of them saw:

1. the mean error of the logs of the depth that the camera sees of the tokens: `full`; `no_offset`, whose Gaussians stay
   on the points of their patches; `isotropic`, whose Gaussians are balls. `noised` and `noised_no_offset` are given
   depth that is wrong in a quarter of its squares, and asked for the depth without;
2. whether opacity is lower where the depth that was given is wrong: per scene the share of pairs of a wrong and a right
   patch of which the wrong one is less opaque (AUC); control: `full`, which has never seen wrong depth;
3. the error in metres of the distance of the centres of two balls, regressed from the features of the 16 tokens while
   the encoder goes on learning, for codes of means in space (`full`) and codes learned for places in the picture
   (`picture`); control: the mean distance of the scenes that were learned from;
4. for a GST that learned depth composited along rays, as in the paper, and one that learned it splatted, errors of the
   logs of both kinds of depth.

Values are means over seeds; intervals hold 95% of bootstraps over scenes, the same ones for all arms.
"""

import copy
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tokzoo
from eval import records
from eval.bootstrap import BOOTSTRAPS, Bootstrap, estimate
from eval.gst_mechanism import BATCH, HELD_OUT_SEED, TRAIN_SEED, train_config
from tokzoo.benchmarks.machine import machine
from tokzoo.data.rgbd import mirror, noised, write_scenes
from tokzoo.data.scenes import PLANES, Rgbd, scenes
from tokzoo.layers.projection import Gaussians3D
from tokzoo.tokenizers.gst.model import Gst
from tokzoo.training.config import DepthConfig
from tokzoo.training.depth_rendering import along_rays
from tokzoo.training.loop import train

MODEL, SIDE = "gst_nano_16", 64
NOISED, NOISE = 0.25, 0.3  # share of the squares of depth, deviation of logs
ARMS: dict[str, tuple[dict, DepthConfig]] = {  # fields of the model's config, and what is asked of depth
    "full": ({}, DepthConfig()),
    "no_offset": ({"offset": False}, DepthConfig()),
    "isotropic": ({"isotropic": True, "rotated": False}, DepthConfig()),
    "picture": ({"code": "picture"}, DepthConfig()),
    "noised": ({}, DepthConfig(noised=NOISED, noise=NOISE)),
    "rays": ({}, DepthConfig(view="rays")),
    "noised_no_offset": ({"offset": False}, DepthConfig(noised=NOISED, noise=NOISE)),
}
LEAST_PIXELS = 12  # of each of the two balls
CHUNK = 256  # scenes that are generated together
REGRESSION_WIDTH, REGRESSION_STEPS, REGRESSION_RATE = 64, 300, 2e-3
LEARNED_SEED = 2  # of the scenes that the regression learns from


def trained(work: Path, arm: str, seed: int, *, steps: int) -> Gst:
    """The GST of one arm and seed."""
    overrides, depth = ARMS[arm]
    out = work / f"{arm}_{seed}"
    told = dict(model=MODEL, overrides=overrides, depth=depth, seed=seed, out=str(out))
    final = out / "final"
    tok = tokzoo.from_pretrained(final if final.is_dir() else train(train_config(work, steps=steps, **told)))
    assert isinstance(tok, Gst)
    return tok.eval()


def in_batches(pictures: Rgbd) -> list[Rgbd]:
    """Pictures, a few at a time."""
    return [Rgbd(*parts) for parts in zip(*(part.split(BATCH) for part in pictures), strict=True)]


def log_errors(depth: Tensor, wanted: Tensor) -> Tensor:
    """Per scene the mean size of the error of logs, depth (B, H, W) -> (B,)."""
    return (depth.clamp_min(1e-3).log() - wanted.log()).abs().mean((1, 2))


@torch.no_grad()
def seen_errors(tok: Gst, given: Rgbd, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Errors of the depth (B, H, W) of scenes as splatted and along rays, both (B,); `given` is what is encoded."""
    splats, rays = [], []
    for part in in_batches(given):
        tokens = tok.encode(part.images, depth=part.depth, intrinsics=part.intrinsics)
        splats.append(tok.decode_depth(tokens, intrinsics=part.intrinsics))
        rays.append(along_rays(tokens, part.intrinsics))
    return log_errors(torch.cat(splats), wanted), log_errors(torch.cat(rays), wanted)


@torch.no_grad()
def areas(tok: Gst, given: Rgbd, wrong: Tensor) -> Tensor:
    """Per scene the share of pairs of a wrong and a right patch of which the wrong one is less opaque, (B,)."""
    parts = [tok.gaussians(part.images, depth=part.depth, intrinsics=part.intrinsics) for part in in_batches(given)]
    opacity = torch.cat([Gaussians3D.unpack(part.geometry).opacity for part in parts if part.geometry is not None])
    of_patch = F.avg_pool2d(wrong.float().unsqueeze(1), tok.config.patch_size).flatten(1) > 0.5  # (B, P)
    less = opacity.unsqueeze(2) < opacity.unsqueeze(1)  # (B, P, P)
    pairs = of_patch.unsqueeze(2) & ~of_patch.unsqueeze(1)
    return (less & pairs).sum((1, 2)) / pairs.sum((1, 2))


class Balls(NamedTuple):
    """Scenes in which both balls are seen, and the distances (B,) of their centres in metres."""

    pictures: Rgbd
    distance: Tensor


def with_two_balls(count: int, *, seed: int) -> Balls:
    """Those of `count` scenes."""
    found: list[Rgbd] = []
    distances = []
    for first in range(0, count, CHUNK):
        made = scenes(list(range(first, min(first + CHUNK, count))), seed=seed, image_size=SIDE)
        thing = made.cast_pixels().thing
        there = torch.stack([(thing == PLANES + ball).sum(1) >= LEAST_PIXELS for ball in range(2)]).all(0)
        found.append(Rgbd(*(part[there] for part in made.render())))
        distances.append((made.balls[:, 0] - made.balls[:, 1]).norm(dim=-1)[there])
    return Balls(Rgbd(*(torch.cat(parts) for parts in zip(*found, strict=True))), torch.cat(distances))


class SetRegression(nn.Module):
    """One number of a set of tokens: a network of each, their mean, a network of that. (B, N, C) -> (B,)."""

    def __init__(self, channels: int, width: int = REGRESSION_WIDTH):
        super().__init__()
        self.of_each = nn.Sequential(nn.Linear(channels, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.of_all = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.of_all(self.of_each(tokens).mean(1)).squeeze(-1)


def regression_errors(tok: Gst, learned: Balls, others: Balls) -> Tensor:
    """The sizes of errors (B,) in metres on `others`; a copy of the encoder learns together with the regression."""
    torch.manual_seed(0)
    encoder, model = copy.deepcopy(tok.encoder), SetRegression(tok.config.width)
    assert encoder is not None
    draw = torch.Generator().manual_seed(0)
    middle, scale = learned.distance.mean(), learned.distance.std()
    parameters = [*encoder.parameters(), *model.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=REGRESSION_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, REGRESSION_RATE, total_steps=REGRESSION_STEPS, pct_start=0.1
    )
    for _ in range(REGRESSION_STEPS):
        rows = torch.randint(len(learned.distance), (BATCH,), generator=draw)
        drawn = mirror(Rgbd(*(part[rows] for part in learned.pictures)), torch.rand(BATCH, generator=draw) < 0.5)
        loss = F.smooth_l1_loss(model(encoder(*drawn).latents), (learned.distance[rows] - middle) / scale)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        made = torch.cat([model(encoder(*part).latents) for part in in_batches(others.pictures)])
    return (made * scale + middle - others.distance).abs()


def mean(values: Iterable[Tensor]) -> Tensor:
    """Over seeds."""
    return torch.stack(list(values)).mean(0)


# --- the whole -------------------------------------------------------------------------------------------------------


def depth_and_opacity(toks: dict[str, list[Gst]], count: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Bootstraps of the errors of depth of all arms, on `count` scenes, and of the areas of two."""
    pictures, bootstrap = scenes(list(range(count)), seed=HELD_OUT_SEED, image_size=SIDE).render(), Bootstrap(count)
    false = noised(pictures.depth, share=NOISED, deviation=NOISE, generator=torch.Generator().manual_seed(0))
    wrong = pictures._replace(depth=false.depth)
    errors: dict[str, Tensor] = {}
    for arm, (_, asked) in ARMS.items():
        given = wrong if asked.noised else pictures
        splats, rays = zip(*(seen_errors(tok, given, pictures.depth) for tok in toks[arm]), strict=True)
        errors[arm] = bootstrap.mean(mean(splats))
        if arm in ("full", "rays"):
            errors[f"{arm}_along_rays"] = bootstrap.mean(mean(rays))
    errors["no_offset_less_full"] = errors["no_offset"] - errors["full"]
    errors["isotropic_less_no_offset"] = errors["isotropic"] - errors["no_offset"]
    errors["noised_no_offset_less_noised"] = errors["noised_no_offset"] - errors["noised"]
    told = {arm: mean(areas(tok, wrong, false.wrong) for tok in toks[arm]) for arm in ("noised", "full")}
    return errors, {arm: bootstrap.mean(area) for arm, area in told.items()}


def distances_of_balls(work: Path, toks: dict[str, list[Gst]], learned: Balls, others: Balls) -> dict[str, Tensor]:
    """Bootstraps of the errors of the distance of two balls, in metres; what is done is kept in `work`."""
    bootstrap = Bootstrap(len(others.distance))
    metres = {"mean_of_all": bootstrap.mean((learned.distance.mean() - others.distance).abs())}
    for arm in ("full", "picture"):
        found = []
        for seed, tok in enumerate(toks[arm]):
            file = work / f"{arm}_{seed}" / "distance_errors.pt"
            if not file.is_file():
                torch.save(regression_errors(tok, learned, others), file)
            found.append(torch.load(file, weights_only=True))
        metres[arm] = bootstrap.mean(mean(found))
    metres["picture_less_full"] = metres["picture"] - metres["full"]
    return metres


def main(arguments: list[str] | None = None) -> dict:
    """Parses, generates, trains, measures, prints, writes."""
    parser = records.parser(__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes and the runs")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--scenes", type=int, default=256, help="that the tokenizers learn from")
    parser.add_argument("--held-out", type=int, default=128)
    parser.add_argument("--balls", type=int, default=2048, help="scenes that those with two balls are picked from")
    parser.add_argument("--out", type=Path, default=records.RESULTS / "gst_ablations.json")
    given = parser.parse_args(arguments)
    write_scenes(given.work / "scenes", given.scenes, seed=TRAIN_SEED, image_size=SIDE)
    toks: dict[str, list[Gst]] = {arm: [] for arm in ARMS}
    for seed in range(given.seeds):
        for arm, of_seeds in toks.items():
            of_seeds.append(trained(given.work, arm, seed, steps=given.steps))
    learned = with_two_balls(given.balls, seed=LEARNED_SEED)
    others = with_two_balls(given.balls // 4, seed=HELD_OUT_SEED)
    errors, areas_of_opacity = depth_and_opacity(toks, given.held_out)
    metres = distances_of_balls(given.work, toks, learned, others)
    depth, area, distance = (
        {name: estimate(value) for name, value in part.items()} for part in (errors, areas_of_opacity, metres)
    )
    claims = {
        "depth is worse without offsets": depth["no_offset_less_full"].low > 0,
        "depth of balls is worse than without offsets": depth["isotropic_less_no_offset"].low > 0,
        "depth is worse without offsets where that given is wrong": depth["noised_no_offset_less_noised"].low > 0,
        "patches of wrong depth are less opaque: the area is above 0.7": area["noised"].low > 0.7,
        "codes in space say more of the distance of two balls": distance["picture_less_full"].low > 0,
    }
    for what, values in (("depth", depth), ("opacity", area), ("distance", distance)):
        for name, value in values.items():
            print(f"{what:8} {name:28} {value.value:9.4f}  ({value.low:.4f} to {value.high:.4f})")
    records.print_claims(claims)
    result = {
        "what": "a small GST with parts of its Gaussians left out, on scenes that it never saw",
        "command": records.command("gst_ablations", arguments),
        "machine": machine(),
        "model": MODEL,
        "training": {"steps": given.steps, "batch_size": 8, "scenes": given.scenes, "seeds": given.seeds},
        "noise": {"share": NOISED, "deviation": NOISE},
        "held_out": given.held_out,
        "balls": {"learned_from": len(learned.distance), "held_out": len(others.distance), "steps": REGRESSION_STEPS},
        "intervals": f"95% of {BOOTSTRAPS} bootstraps over scenes, of means over seeds",
        "claims": claims,
        "depth_log_error": {name: asdict(value) for name, value in depth.items()},
        "opacity_area": {name: asdict(value) for name, value in area.items()},
        "distance_error_metres": {name: asdict(value) for name, value in distance.items()},
    }
    records.write_record(given.out, result)
    return result


if __name__ == "__main__":
    main()
