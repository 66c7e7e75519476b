"""Times FlexTok at the shape of flextok_d12_d12: encoding by batch, decoding beside its matrix products alone.

usage: python -m eval.flextok_speed encode|decode [--batch 8] [--steps 2] [--rounds 3] [--threads 1] [--device cpu]

Weights are random, on which times do not depend. `encode`: a batch at once beside one image after another, the
autoencoder's convolutions and the transformer apart. `decode`: the flow of one image with guidance, its two velocities
in one batch, beside the products of its steps on operands of the same shapes; every step does the same work, so that
the ratio of few steps is that of many. On one thread of a processor its own time is the measure, else the clock. Both
write into eval/results/flextok_speed.json.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

import tokzoo
from eval import records
from tokzoo._memory import keep_freed_memory
from tokzoo.benchmarks.machine import machine
from tokzoo.benchmarks.timing import Call, cpu_speedup, interleaved, is_alone, speedup
from tokzoo.layers.normed_transformer import swiglu_width
from tokzoo.tokenizers.flextok.model import Flextok

OUT = Path("eval/results/flextok_speed.json")
KEPT = (
    "Of the registers' keys and values nothing is kept across steps: time modulates registers in every block, and they "
    "read the patches, so that all but their embedding changes. Kept are that embedding, and the modulation of all "
    "moments, made in one product before the first step."
)

BATCHED = (
    "One picture of 256x256 leaves a processor nothing idle for a batch to use; the activations of a batch are larger "
    "than its caches."
)


def encode_calls(tok: Flextok, images: torch.Tensor, part: str) -> dict[str, Call]:
    """Ways to encode `images`: all at once, and one by one."""
    latents = torch.randn(len(images), 16, 32, 32)
    work: Callable[[torch.Tensor], object]
    work, given = {
        "autoencoder": (tok.encoder.latent_map, images),
        "transformer": (lambda chosen: tok.quantizer(tok.encoder.tokenize(chosen).latents), latents),
    }[part]
    return {
        "batch": lambda: work(given),
        "one_by_one": lambda: [work(given[row : row + 1]) for row in range(len(given))],
    }


def products(tok: Flextok, steps: int, rows: int = 2) -> Call:
    """All matrix products of `steps` steps for `rows` velocities at once, without what is between them."""
    config = tok.config
    width, heads, depth = config.decoder.width, config.decoder.num_heads, config.decoder.depth
    patches = (config.image_size // tok.patch_side) ** 2
    length, values, inner = patches + config.num_registers, tok.decoder.channels * config.patch_size**2, width * 8 // 3
    assert inner == swiglu_width(width)
    hidden, wide = torch.randn(rows * length, width), torch.randn(rows * length, inner)
    noisy, seen = torch.randn(rows * patches, values), torch.randn(rows * patches, width)
    query = torch.randn(rows * heads, length, width // heads)
    scores = torch.randn(rows * heads, length, length)
    weights = {
        "qkv": torch.randn(width, 3 * width),
        "proj": torch.randn(width, width),
        "up": torch.randn(width, inner),
        "down": torch.randn(inner, width),
        "patch_in": torch.randn(values, width),
        "patch_out": torch.randn(width, values),
    }

    def call() -> None:
        for _ in range(steps):
            noisy @ weights["patch_in"]
            for _ in range(depth):
                hidden @ weights["qkv"]
                query @ query.transpose(1, 2)
                scores @ query
                hidden @ weights["proj"]
                hidden @ weights["up"]
                hidden @ weights["up"]
                wide @ weights["down"]
            seen @ weights["patch_out"]

    return call


def main() -> None:
    """Parses, builds, times, writes."""
    parser = records.parser(__doc__)
    parser.add_argument("what", choices=("encode", "decode"))
    parser.add_argument("--part", choices=("autoencoder", "transformer"), default="transformer")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(given.threads)
    alone = is_alone(given.device)
    torch.manual_seed(0)
    tok: Flextok = tokzoo.create_model("flextok_d12_d12", device=given.device).eval()
    with torch.inference_mode(), torch.device(given.device):
        if given.what == "encode":
            name, fast, slow = f"encode_{given.part}", "batch", "one_by_one"
            calls = encode_calls(tok, torch.rand(given.batch, 3, 256, 256), given.part)
            about = {"batch": given.batch, "why": BATCHED}
        else:
            tokens = tok.encode(torch.rand(1, 3, 64, 64))
            codes = tok._placed(tokens)._replace(extent=(256, 256))
            plan = tok.decoder.plan._replace(steps=given.steps)
            name, fast, slow = "decode", "products", "flow"
            calls = {"flow": lambda: tok.decoder.sample(codes, plan=plan), "products": products(tok, given.steps)}
            about = {"steps": given.steps, "guidance": plan.guidance, "kept_across_steps": KEPT}
        timings = interleaved(calls, rounds=given.rounds, device=given.device, memory=False)
    ratio, measure = (cpu_speedup if alone else speedup)(timings, fast, slow), "cpu_time" if alone else "time"
    print(f"{name}: {slow} takes {ratio:.2f}x the {'processor ' if alone else ''}time of {fast}")
    name += "" if alone else f"_{given.device}" if given.device != "cpu" else f"_{given.threads}_threads"
    report = json.loads(OUT.read_text()) if OUT.is_file() else {}
    report["what"] = "flextok_d12_d12's shape, float32, inference mode; medians of rounds in turn"
    report[name] = {
        "command": records.command("flextok_speed"),
        "machine": machine(),
        **about,
        "timings": {key: asdict(timing) for key, timing in timings.items()},
        f"{slow}_over_{fast}_{measure}": ratio,
    }
    records.write_record(OUT, report)


if __name__ == "__main__":
    main()
