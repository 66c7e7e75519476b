"""What each part of a Gaussian is worth to a GST of few tokens, on generated scenes.

usage: python -m eval.gst_ablations --work FOLDER [--steps N] [--seeds N] [--out FILE]
"""

import argparse
from pathlib import Path

import tokzoo
from eval.gst_mechanism import train_config
from tokzoo.data.rgbd import write_scenes
from tokzoo.tokenizers.gst.model import Gst
from tokzoo.training.config import DepthConfig, TrainConfig
from tokzoo.training.loop import train

MODEL = "gst_nano_16"
NOISED = 0.25  # share of the squares of depth
TRAIN_SEED, HELD_OUT_SEED = 0, 1
ARMS: dict[str, tuple[dict, DepthConfig]] = {  # fields of the model's config, and what is asked of depth
    "full": ({}, DepthConfig()),
    "no_offset": ({"offset": False}, DepthConfig()),
    "isotropic": ({"isotropic": True, "rotated": False}, DepthConfig()),
    "picture": ({"code": "picture"}, DepthConfig()),
    "noised": ({}, DepthConfig(noised=NOISED)),
    "noised_no_offset": ({"offset": False}, DepthConfig(noised=NOISED)),
    "rays": ({}, DepthConfig(view="rays")),
}


def trained(work: Path, arm: str, seed: int, *, steps: int) -> Gst:
    """The GST of one arm and seed; stopped, its training goes on where it was."""
    overrides, depth = ARMS[arm]
    out = str(work / f"{arm}_{seed}")
    config: TrainConfig = train_config(
        work, steps=steps, model=MODEL, overrides=overrides, depth=depth, seed=seed, out=out
    )
    final = Path(out) / "final"
    tok = tokzoo.from_pretrained(final if final.is_dir() else train(config))
    assert isinstance(tok, Gst)
    return tok.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    write_scenes(given.work / "scenes", 256, seed=TRAIN_SEED, image_size=64)
    for seed in range(given.seeds):
        for arm in ARMS:
            trained(given.work, arm, seed, steps=given.steps)
