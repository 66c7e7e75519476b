"""Times GPT's sampling at LlamaGen's shapes, and writes each part into eval/results/generator_speed.json.

usage: LLAMAGEN=FOLDER python -m eval.generator_speed batch_1|batch_1_bf16|batch_4|late_b|late_l [--rounds 3]

FOLDER holds FoundationVision/LlamaGen at ce98ec4, whose sampler runs on the same tensors. Weights are random, on which
times do not depend. One thread; the processor's time is the measure.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from tokzoo._files import write_atomically
from tokzoo.benchmarks import generators
from tokzoo.benchmarks.machine import machine
from tokzoo.generators.gpt.config import on_grid

OUT = Path("eval/results/generator_speed.json")
PARTS = {
    "batch_1": lambda rounds: generators.sampling(_small(), 1, device="cpu", rounds=rounds),
    "batch_1_bf16": lambda rounds: generators.sampling(_small().bfloat16(), 1, device="cpu", rounds=rounds),
    "batch_4": lambda rounds: generators.sampling(_small(), 4, device="cpu", rounds=rounds),
    "late_b": lambda rounds: generators.lateness("b", device="cpu", rounds=rounds),
    "late_l": lambda rounds: generators.lateness("l", device="cpu", rounds=rounds),
}


def _small() -> generators.Gpt:
    return generators.speaking(on_grid("b", generators.SIDE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        comparison = PARTS[arguments.part](arguments.rounds)
    report = json.loads(OUT.read_text()) if OUT.exists() else {}
    report["what"] = "GPT at LlamaGen's shapes, float32 unless bf16 is said, one thread; medians of rounds in turn"
    report[arguments.part] = {
        "command": " ".join(["LLAMAGEN=LlamaGen", "python", "-m", "eval.generator_speed", *sys.argv[1:]]),
        "machine": machine(),
        **comparison.as_data(),
    }
    write_atomically(OUT, json.dumps(report, indent=2) + "\n")
    print(comparison.note)


if __name__ == "__main__":
    main()
