"""Small runs of what some quantizers are for; results to eval/results/quantizer_runs.json.

`python -m eval.quantizer_runs --data photos64.zip --split train --val-split val [--seeds 3]`

Codebook use: the same small autoencoder with a plain codebook, and with one of moving averages whose dead codes are
revived. Latent perturbation (arXiv:2503.08354): with and without it, the error of decoding from indices that were
replaced by near ones, at several strengths. A run that was stopped goes on: runs that are in the file are not repeated.
"""

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import tokzoo
from tokzoo.benchmarks.machine import machine
from tokzoo.data.batches import Chosen, evaluation_images
from tokzoo.data.readers import ImageFolder
from tokzoo.quantizers.perturbation import PerturbedQuantizer, annealed_strength, choose
from tokzoo.quantizers.usage import code_usage
from tokzoo.quantizers.wrapped import unwrapped
from tokzoo.training.config import OptimizerConfig
from tokzoo.training.loop import training_attention
from tokzoo.training.optimizers import build_optimizers

SIZE, CODES, DIM = 32, 1024, 8
VIT = dict(name="vit", patch_size=8, width=64, depth=2, num_heads=2)
REVIVED = dict(name="revived", every=20, inner=dict(name="vq_ema", codebook_size=CODES, code_dim=DIM))
ARMS: dict[str, dict[str, Any]] = {
    "vq_ema_revived": REVIVED,
    # the published share of the codes, 100 of 4096, and annealing; of more images: batches are small
    "perturbed": dict(name="perturbed", tokens=1.0, images=0.25, neighbours=25, inner=REVIVED),
    "vq": dict(name="vq", codebook_size=CODES, code_dim=DIM),
}
WEIGHTS = {"commitment_loss": 0.25, "codebook_loss": 1.0}
OPTIMIZER = OptimizerConfig(lr=1e-3, muon_lr=6e-3, warmup=50)
EPOCHS = 200  # of the published run, on which the schedule of the perturbation is stretched over ours
CORRUPTIONS = tuple((share, nearest) for nearest in (8, 25, 100) for share in (0.5, 1.0))


def train(described: dict[str, Any], photos: Tensor, *, seed: int, steps: int, batch: int) -> Any:
    """A small ViT autoencoder on pixels alone; `photos` uint8 (N, 3, SIZE, SIZE)."""
    torch.manual_seed(seed)
    tok = tokzoo.create_model("grid", image_size=SIZE, encoder=VIT, quantizer=described, decoder=VIT).train()
    optimizers = build_optimizers(tok, OPTIMIZER)
    generator = torch.Generator().manual_seed(seed)
    with training_attention(torch.device("cpu")):
        for step in range(steps):
            rate = min(1.0, (step + 1) / OPTIMIZER.warmup) * (0.01 + 0.495 * (1 + math.cos(math.pi * step / steps)))
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = OPTIMIZER.lr * group["share"] * rate
            if isinstance(tok.quantizer, PerturbedQuantizer):
                tok.quantizer.strength = annealed_strength(step / steps * EPOCHS)
            chosen = photos[torch.randint(len(photos), (batch,), generator=generator)]
            loss_of(tok, chosen.float() / 255, generator).backward()
            torch.nn.utils.clip_grad_norm_(tok.parameters(), OPTIMIZER.clip)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
    return tok.eval()


def loss_of(tok: Any, images: Tensor, generator: torch.Generator) -> Tensor:
    """Mean square error, and what the quantizer asks for."""
    output = tok(images, sample=tok.quantizer.draws, generator=generator)
    terms = (WEIGHTS[name] * value for name, value in output.losses.items() if name in WEIGHTS)
    return F.mse_loss(output.reconstruction, images) + sum(terms)


@torch.no_grad()
def score(tok: Any, held_out: Tensor) -> dict[str, float]:
    """Codebook use and errors on held-out images; `mse_S_of_N`: a share S of the indices became one of N near codes."""
    tokens = tok.encode(held_out)
    use = code_usage(tokens.indices, tok.token_spec.levels)[0]
    scores = {"used": use.share, "perplexity": use.perplexity, "mse": error(tok, tokens, held_out)}
    most = max(nearest for _, nearest in CORRUPTIONS)
    near = PerturbedQuantizer(unwrapped(tok.quantizer), neighbours=most).nearest(tok.features(held_out), most)
    for share, nearest in CORRUPTIONS:
        generator = torch.Generator().manual_seed(0)
        chance = torch.rand(len(near), generator=generator)
        rank = torch.randint(nearest, (len(near),), generator=generator)
        corrupted = choose(near, chance, rank, share).view(tokens.indices.shape)
        wrong = tokzoo.Tokens(tokens.layout, corrupted, levels=tokens.levels)
        scores[f"mse_{share}_of_{nearest}"] = error(tok, wrong, held_out)
    return scores


def error(tok: Any, tokens: tokzoo.Tokens, images: Tensor) -> float:
    """Mean square error of what is decoded."""
    return float(F.mse_loss(tok.decode(tokens), images))


def summary(runs: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over seeds."""
    columns = {key: [run[key] for run in runs] for key in runs[0]}
    return {
        key: {"mean": statistics.mean(values), "spread": statistics.stdev(values) if len(values) > 1 else 0.0}
        for key, values in columns.items()
    }


def report(protocol: str, arms: dict[str, Any]) -> dict[str, Any]:
    """What is written: the runs, and in how many seeds each of the two claims holds."""
    plain, revived, perturbed = (arms.get(name, {"runs": []})["runs"] for name in ("vq", "vq_ema_revived", "perturbed"))
    errors = [f"mse_{share}_of_{nearest}" for share, nearest in CORRUPTIONS]
    claims = {
        "revival uses more codes than plain": lower(plain, revived, "used"),
        **{f"perturbation lowers {key}": lower(perturbed, revived, key) for key in ("mse", *errors)},
    }
    return {"protocol": protocol, "holds_in_seeds": claims, "arms": arms, "machine": machine("cpu")}


def lower(these: list[dict[str, float]], those: list[dict[str, float]], key: str) -> str:
    """In how many seeds `key` of these runs is below that of those."""
    pairs = list(zip(these, those, strict=False))  # a run that was stopped has more of one
    return f"{sum(one[key] < other[key] for one, other in pairs)} of {len(pairs)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder or zip of photos")
    parser.add_argument("--split", default=None, help="of its manifest.csv, to learn from")
    parser.add_argument("--val-split", default=None, help="of its manifest.csv, to score on")
    parser.add_argument("--photos", type=int, default=20000)
    parser.add_argument("--steps", type=int, default=625)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="eval/results/quantizer_runs.json")
    options = parser.parse_args()
    learned = ImageFolder(options.data, split=options.split)
    held_out = ImageFolder(options.data, split=options.val_split) if options.val_split else learned
    photos = evaluation_images(Chosen(learned, range(min(options.photos, len(learned)))), SIZE)
    scored = evaluation_images(held_out, SIZE, limit=512).float() / 255
    protocol = (
        f"{SIZE} px, tokens of 8 x 8 px, ViT 2 + 2 blocks of width 64, {CODES} codes of {DIM}, pixels alone (MSE), "
        f"Muon {OPTIMIZER.muon_lr} and AdamW {OPTIMIZER.lr}, {options.steps} steps of {options.batch} from "
        f"{len(photos)} photos, {len(scored)} held-out photos; mse_S_of_N: each index with chance S "
        "replaced by one of the N codes nearest to its latent"
    )
    file = Path(options.out)
    before = json.loads(file.read_text()) if file.exists() else {}
    arms: dict[str, Any] = before["arms"] if before.get("protocol") == protocol else {}
    for seed in range(options.seeds):
        for name, described in ARMS.items():
            arm = arms.get(name, {})
            if arm.get("quantizer") != described:
                arm = arms[name] = {"quantizer": described, "runs": []}
            if seed < len(arm["runs"]):
                continue
            tok = train(described, photos, seed=seed, steps=options.steps, batch=options.batch)
            arm["runs"].append(score(tok, scored))
            arm["summary"] = summary(arm["runs"])
            print(f"seed {seed} {name}: {arm['runs'][-1]}", flush=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(report(protocol, arms), indent=1) + "\n")


if __name__ == "__main__":
    main()
