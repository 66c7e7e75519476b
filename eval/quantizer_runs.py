"""Small runs of what some quantizers are for; results to eval/results/quantizer_runs.json.

`python -m eval.quantizer_runs --data photos64.zip [--photos 20000] [--steps 300] [--seeds 3]`

Codebook use: the same small autoencoder with a plain codebook, with moving averages, and with moving averages and
revival. Latent perturbation (arXiv:2503.08354): with and without it, the error of decoding when indices are replaced by
near ones, and when they are not.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import tokzoo
from tokzoo.benchmarks.machine import machine
from tokzoo.data.batches import Chosen, TrainingImages, evaluation_images
from tokzoo.data.readers import ImageFolder
from tokzoo.quantizers.perturbation import PerturbedQuantizer, choose
from tokzoo.quantizers.usage import code_usage
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.quantizers.wrapped import WrappedQuantizer

SIZE, CODES, DIM = 32, 512, 8
VIT = dict(patch_size=4, width=64, depth=2, num_heads=2)
VQ = dict(name="vq", codebook_size=CODES, code_dim=DIM)
EMA = dict(name="vq_ema", codebook_size=CODES, code_dim=DIM)
ARMS: dict[str, dict[str, Any]] = {
    "vq": VQ,
    "vq_ema": EMA,
    "vq_ema_revived": dict(name="revived", every=20, inner=EMA),
    "perturbed": dict(
        name="perturbed", tokens=1.0, images=0.25, neighbours=16, inner=dict(name="revived", every=20, inner=EMA)
    ),
}


def train(described: dict[str, Any], images: TrainingImages, *, seed: int, steps: int, batch: int) -> Any:
    """A small ViT autoencoder on pixels alone."""
    torch.manual_seed(seed)
    parts = dict(encoder=dict(name="vit", **VIT), quantizer=described, decoder=dict(name="vit", **VIT))
    tok = tokzoo.create_model("grid", image_size=SIZE, **parts).train()
    optimizer = torch.optim.AdamW(tok.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, (step + 1) / 30) * (1 - 0.9 * step / steps)
        pixels = shrunk(images.batch(step, seed=seed, batch_size=batch))
        output = tok(pixels, sample=tok.quantizer.draws, generator=generator)
        losses = {"commitment_loss": 0.25, "codebook_loss": 1.0}
        loss = F.mse_loss(output.reconstruction, pixels)
        loss = loss + sum(weight * output.losses[name] for name, weight in losses.items() if name in output.losses)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tok.parameters(), 1.0)
        optimizer.step()
    return tok.eval()


@torch.no_grad()
def score(tok: Any, held_out: Tensor) -> dict[str, float]:
    """Codebook use and errors on held-out images; corrupted: half of the indices replaced by one of the 16 nearest."""
    tokens = tok.encode(held_out)
    use = code_usage(tokens.indices, tok.token_spec.levels)[0]
    codebook = tok.quantizer
    while isinstance(codebook, WrappedQuantizer):
        codebook = codebook.inner
    assert isinstance(codebook, VectorQuantizer)
    nearest = PerturbedQuantizer(codebook, neighbours=16).nearest(tok.features(held_out), 16)
    generator = torch.Generator().manual_seed(0)
    chance, rank = (
        torch.rand(len(nearest), generator=generator),
        torch.randint(16, (len(nearest),), generator=generator),
    )
    corrupted = choose(nearest, chance, rank, 0.5).view(tokens.indices.shape)
    clean, wrong = tok.decode(tokens), tok.decode(tokzoo.Tokens(tokens.layout, corrupted, levels=tokens.levels))
    return {
        "used": use.share,
        "perplexity": use.perplexity,
        "mse": float(F.mse_loss(clean, held_out)),
        "mse_corrupted": float(F.mse_loss(wrong, held_out)),
    }


def shrunk(batch: Tensor) -> Tensor:
    """uint8 (B, 3, s, s) -> float (B, 3, SIZE, SIZE)."""
    images = batch.float() / 255
    return F.interpolate(images, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder or zip of photos")
    parser.add_argument("--split", default=None, help="of its manifest.csv, to learn from")
    parser.add_argument("--val-split", default=None, help="of its manifest.csv, to score on")
    parser.add_argument("--photos", type=int, default=20000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="eval/results/quantizer_runs.json")
    options = parser.parse_args()
    learned = ImageFolder(options.data, split=options.split)
    held_out = ImageFolder(options.data, split=options.val_split) if options.val_split else learned
    photos = TrainingImages(Chosen(learned, list(range(min(options.photos, len(learned))))), SIZE)
    scored = shrunk(evaluation_images(held_out, SIZE, limit=256))
    arms: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    for seed in range(options.seeds):
        for name, described in ARMS.items():
            tok = train(described, photos, seed=seed, steps=options.steps, batch=options.batch)
            arms[name].append(score(tok, scored))
            print(f"seed {seed} {name}: {arms[name][-1]}", flush=True)
    means = {name: {key: statistics.mean(run[key] for run in runs) for key in runs[0]} for name, runs in arms.items()}
    protocol = (
        f"{SIZE} px, ViT 2 + 2 blocks of width 64, {CODES} codes of {DIM}, pixels alone (MSE), AdamW 2e-3, "
        f"{options.steps} steps of {options.batch} from {len(photos)} photos, {options.seeds} seeds, 256 held-out "
        "photos; corrupted: each index with chance 1/2 replaced by one of its latent's 16 nearest codes"
    )
    result = {"protocol": protocol, "means": means, "runs": arms, "machine": machine("cpu")}
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
