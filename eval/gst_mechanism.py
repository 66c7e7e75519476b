"""Do the tokens of a GST lie on surfaces, as surfaces do, and say more of depth than patches that are averaged?

usage: python -m eval.gst_mechanism --work FOLDER [--steps N] [--scenes N] [--held-out N] [--out FILE]

Generates scenes, trains `gst_nano` on them (stopped, it goes on when started again), and asks of scenes that it never
saw, whose surfaces are known exactly:

1. how far the mean of each token lies from the surface behind its place, as a share of the scene's mean depth;
   control: the same means and the surfaces of another scene;
2. the angle between the direction in which each token is thinnest and the normal of that surface;
   controls: directions drawn at random, the normals of another scene, and the model before training;
3. the error of depth that is read from the tokens: by one network of one size, trained alike on each of three kinds of
   128 tokens, of the same scenes; and as seen by the camera, with nothing to be learned. Of the three, `gst` is what
   `encode` gives; `averaged_patches` are the features of patches, two side by side averaged, with the mean of their
   points; `averaged_gaussians` are the Gaussian tokens before pooling, averaged in the same way.

Intervals hold 95% of bootstraps over scenes, the same ones for all numbers.
"""

from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tokzoo
from eval import records
from eval.bootstrap import BOOTSTRAPS, Bootstrap, Estimate, estimate
from tokzoo.benchmarks.machine import machine
from tokzoo.data.rgbd import RgbdFolder, write_scenes
from tokzoo.data.scenes import Rgbd, Scenes, scenes
from tokzoo.layers.camera import lift
from tokzoo.layers.patches import to_tokens
from tokzoo.layers.projection import Gaussians3D, mixtures, normals
from tokzoo.tokenizers.gst.model import Gst
from tokzoo.tokens import Features, Gaussians
from tokzoo.training.config import LossConfig, OptimizerConfig, TrainConfig
from tokzoo.training.loop import train

BATCH = 16
TRAIN_SEED, HELD_OUT_SEED = 0, 1
READOUT_WIDTH, READOUT_STEPS, READOUT_RATE = 64, 600, 3e-3


def train_config(work: Path, *, steps: int, **changes: object) -> TrainConfig:
    """The run: `examples/train/gst_nano.yaml`, shorter."""
    told: dict = dict(
        data=str(work / "scenes"),
        out=str(work / "run"),
        model="gst_nano",
        recipe="gst",
        steps=steps,
        batch_size=8,
        loss=LossConfig(perceptual=0.0),
        optimizer=OptimizerConfig(lr=2e-3, min_lr=2e-5, warmup=30),
        ema=0.99,
        precision="float32",
        device="cpu",
        workers=1,
        eval_every=steps,
        eval_images=32,
        save_every=50,
        log_every=25,
    )
    return TrainConfig(**(told | changes))


# --- where tokens lie ------------------------------------------------------------------------------------------------


def encoded(tok: Gst, pictures: Rgbd) -> Gaussians3D:
    """The Gaussians of the tokens of pictures, in small batches."""
    parts = zip(*(part.split(BATCH) for part in pictures), strict=True)
    made = [tok.encode(images, depth=depth, intrinsics=camera).geometry for images, depth, camera in parts]
    return Gaussians3D.unpack(torch.cat(made))


def distances(means: Tensor, made: Scenes, depth: Tensor) -> Tensor:
    """How far means (B, N, 3) lie before or behind the surface at their place, as shares of the mean depth: (B, N)."""
    hit = made.cast(means / means[..., 2:])
    return (means[..., 2] - hit.depth).abs() / depth.mean((1, 2)).unsqueeze(1)


def angles(directions: Tensor, means: Tensor, made: Scenes) -> Tensor:
    """Degrees between directions (B, N, 3), of either sign, and the normals of the surfaces at the means' places."""
    hit = made.cast(means / means[..., 2:])
    return (directions * hit.normal).sum(-1).abs().clamp(max=1).acos().rad2deg()


def median_of_scenes(bootstrap: Bootstrap, values: Tensor) -> Estimate:
    """The mean over scenes of the median over their tokens, values (B, N)."""
    return estimate(bootstrap.mean(values.median(1).values))


def next_scene(values: Tensor) -> Tensor:
    """Each scene's values where the scene before it had its own."""
    return values.roll(1, 0)


# --- what is read from tokens ----------------------------------------------------------------------------------------


class DepthReadout(nn.Module):
    """Each patch of the picture asks the tokens for its depth: one attention, one hidden layer.

    Shapes:
        tokens (B, N, C) -> (B, P, pixels of a patch), log metres
    """

    def __init__(self, channels: int, num_patches: int, pixels: int, width: int = READOUT_WIDTH):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.to_key, self.to_value = nn.Linear(channels, width), nn.Linear(channels, width)
        self.queries = nn.Parameter(torch.randn(num_patches, width))
        self.hidden = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU())
        self.out = nn.Linear(2 * width, pixels)

    def forward(self, tokens: Tensor) -> Tensor:
        told = self.norm(tokens)
        queries = self.queries.expand(len(tokens), -1, -1)
        return self.out(self.hidden(F.scaled_dot_product_attention(queries, self.to_key(told), self.to_value(told))))


def in_patches(depth: Tensor, side: int) -> Tensor:
    """Depth (B, H, W) -> logs (B, P, side * side)."""
    return F.unfold(depth.log().unsqueeze(1), side, stride=side).transpose(1, 2)


def side_by_side(values: Tensor, columns: int) -> Tensor:
    """Means of patches 2 i and 2 i + 1 of each row: (B, P, C) -> (B, P / 2, C)."""
    assert columns % 2 == 0
    return values.unflatten(1, (-1, 2)).mean(2)


@torch.no_grad()
def three_kinds(tok: Gst, pictures: Rgbd) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tokens (B, 128, C) of pictures by kind, and depth (B, H, W) as seen of those that are Gaussians."""
    side = tok.config.patch_size
    columns = tok.image_size // side
    kept: dict[str, list[Tensor]] = {}
    seen: dict[str, list[Tensor]] = {}
    encoder, decoder = tok.encoder, tok.decoder
    assert encoder is not None and decoder is not None and encoder.features is not None
    known: list[Tensor] = []
    watch = encoder.features.register_forward_hook(lambda _module, _given, made: known.append(made))
    for images, depth, camera in zip(*(part.split(BATCH) for part in pictures), strict=True):
        tokens = tok.encode(images, depth=depth, intrinsics=camera)
        raw = tok.gaussians(images, depth=depth, intrinsics=camera)
        points = to_tokens(F.avg_pool2d(lift(depth, camera), side))
        pairs = torch.eye(raw.latents.shape[1]).unflatten(0, (-1, 2)).mean(1).expand(len(images), -1, -1)
        averaged = mixtures(pairs, Gaussians3D.unpack(raw.geometry)).pack()
        latents = side_by_side(raw.latents, columns)
        made = {
            "gst": torch.cat([tokens.latents, tokens.geometry], dim=-1),
            "averaged_patches": side_by_side(torch.cat([known[-1], points], dim=-1), columns),
            "averaged_gaussians": torch.cat([latents, averaged], dim=-1),
        }
        placed = Features(latents, Gaussians(latents.shape[1]), averaged, extent=tokens.extent)
        views = {
            "gst": tok.decode_depth(tokens, intrinsics=camera),
            "averaged_gaussians": decoder.view(placed, camera).depth,
        }
        for target, source in ((kept, made), (seen, views)):
            for name, value in source.items():
                target.setdefault(name, []).append(value)
    watch.remove()
    joined = {name: torch.cat(parts) for name, parts in kept.items()}
    most = max(tokens.shape[2] for tokens in joined.values())  # so that all are read by a network of one size
    padded = {name: F.pad(tokens, (0, most - tokens.shape[2])) for name, tokens in joined.items()}
    return padded, {name: torch.cat(parts) for name, parts in seen.items()}


def learn_readout(tokens: Tensor, depth: Tensor, side: int, *, steps: int, seed: int = 0) -> DepthReadout:
    """A readout of tokens (B, N, C) of scenes, trained on their depth (B, H, W)."""
    torch.manual_seed(seed)
    wanted = in_patches(depth, side)
    readout = DepthReadout(tokens.shape[2], wanted.shape[1], wanted.shape[2])
    optimizer = torch.optim.AdamW(readout.parameters(), lr=READOUT_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, READOUT_RATE, total_steps=steps, pct_start=0.1)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(tokens), (BATCH,), generator=draw)
        loss = F.l1_loss(readout(tokens[rows]), wanted[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return readout


@torch.no_grad()
def readout_errors(readout: DepthReadout, tokens: Tensor, depth: Tensor, side: int) -> Tensor:
    """Of each scene (B,) the mean error of depth, as a share of it."""
    made = torch.cat([readout(part) for part in tokens.split(BATCH)])
    return (made - in_patches(depth, side)).expm1().abs().mean((1, 2))


# --- the whole -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def geometry(tok: Gst, untrained: Gst, made: Scenes, pictures: Rgbd, bootstrap: Bootstrap) -> dict[str, Estimate]:
    """Distances and angles, and their controls."""
    gaussians = encoded(tok, pictures)
    means, directions = gaussians.mean, normals(gaussians.covariance)
    first = encoded(untrained, pictures)
    drawn = torch.randn(directions.shape, generator=torch.Generator().manual_seed(0))
    values = {
        "distance": distances(means, made, pictures.depth),
        "distance_to_another_scene": distances(next_scene(means), made, pictures.depth),
        "distance_untrained": distances(first.mean, made, pictures.depth),
        "angle": angles(directions, means, made),
        "angle_at_random": angles(F.normalize(drawn, dim=-1), means, made),
        "angle_in_another_scene": angles(next_scene(directions), means, made),
        "angle_untrained": angles(normals(first.covariance), first.mean, made),
    }
    return {name: median_of_scenes(bootstrap, value) for name, value in values.items()}


def main(arguments: list[str] | None = None) -> dict:
    """Parses, generates, trains, measures, prints, writes."""
    parser = records.parser(__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes and the run")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--scenes", type=int, default=256)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--readout-steps", type=int, default=READOUT_STEPS)
    parser.add_argument("--out", type=Path, default=records.RESULTS / "gst_mechanism.json")
    given = parser.parse_args(arguments)
    config = train_config(given.work, steps=given.steps)
    torch.manual_seed(config.seed)
    untrained = tokzoo.create_model("gst_nano").eval()
    side = untrained.config.patch_size
    write_scenes(given.work / "scenes", given.scenes, seed=TRAIN_SEED, image_size=untrained.image_size)
    tok = tokzoo.from_pretrained(train(config))
    made = scenes(list(range(given.held_out)), seed=HELD_OUT_SEED, image_size=tok.image_size)
    pictures, bootstrap = made.render(), Bootstrap(given.held_out)
    lie = geometry(tok, untrained, made, pictures, bootstrap)
    learned = RgbdFolder(given.work / "scenes", tok.image_size)
    shown = learned.chosen(range(len(learned)))
    tokens, _ = three_kinds(tok, shown)
    held_out, seen = three_kinds(tok, pictures)
    errors: dict[str, Tensor] = {}
    for kind, of_kind in tokens.items():
        readout = learn_readout(of_kind, shown.depth, side, steps=given.readout_steps)
        errors[f"{kind}_read"] = bootstrap.mean(readout_errors(readout, held_out[kind], pictures.depth, side))
    for kind, depth in seen.items():
        wrong = ((depth - pictures.depth).abs() / pictures.depth).mean((1, 2))
        errors[f"{kind}_seen"] = bootstrap.mean(wrong)
    ahead = {
        "read_less_averaged_patches": errors["gst_read"] - errors["averaged_patches_read"],
        "read_less_averaged_gaussians": errors["gst_read"] - errors["averaged_gaussians_read"],
        "seen_less_averaged_gaussians": errors["gst_seen"] - errors["averaged_gaussians_seen"],
    }
    depth = {name: estimate(value) for name, value in {**errors, **ahead}.items()}
    claims = {
        "means lie on surfaces: the median distance is below 5% of the depth": lie["distance"].high < 0.05,
        "the thinnest direction is the normal's, to less than half of the angle at random": lie["angle"].high
        < lie["angle_at_random"].low / 2,
        "128 tokens say more of depth than 128 averaged patches": depth["read_less_averaged_patches"].high < 0,
    }
    stricter = {
        "nor do 128 averaged Gaussians say as much": depth["read_less_averaged_gaussians"].high < 0,
        "nor are those seen as near to it": depth["seen_less_averaged_gaussians"].high < 0,
    }
    for name, value in {**lie, **depth}.items():
        print(f"{name:32} {value.value:9.4f}  ({value.low:.4f} to {value.high:.4f})")
    records.print_claims({**claims, **stricter})
    result = {
        "what": "tokens of a small GST on scenes that it never saw, of which surfaces are known",
        "command": records.command("gst_mechanism", arguments),
        "machine": machine(),
        "scenes": {"trained_on": given.scenes, "held_out": given.held_out, "generator": "tokzoo.data.scenes"},
        "training": {"steps": given.steps, "batch_size": config.batch_size, "config": asdict(tok.config)},
        "readout": {"steps": given.readout_steps, "batch_size": BATCH, "width": READOUT_WIDTH},
        "intervals": f"95% of {BOOTSTRAPS} bootstraps over scenes; angles in degrees, distances and errors as shares",
        "claims": claims,
        "stricter": stricter,
        "geometry": {name: asdict(value) for name, value in lie.items()},
        "depth": {name: asdict(value) for name, value in depth.items()},
    }
    records.write_record(given.out, result)
    return result


if __name__ == "__main__":
    main()
