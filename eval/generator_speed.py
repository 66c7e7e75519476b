"""Times GPT's sampling at LlamaGen's shapes, and writes each part into eval/results/generator_speed.json.

usage: [LLAMAGEN=FOLDER] python -m eval.generator_speed PART [--rounds 3] [--threads 1] [--device cpu]

Of eager steps: batch_1, batch_1_bf16, batch_4, late_b, late_l. Of compiled ones in bfloat16, for a GPU, with weights of
8 bits beside where torchao is: a size and a batch, b_1, b_16, l_1, l_16, xl_1, xl_16. b_int8 is b_1 in float32, on a
CPU.

FOLDER holds FoundationVision/LlamaGen at ce98ec4, whose sampler runs on the same tensors. Weights are random, on which
times do not depend. Of one thread the processor's time is the measure, else the clock.
"""

import json
import os
from functools import partial

import torch

from eval import records
from tokzoo.benchmarks import generators
from tokzoo.benchmarks.machine import machine
from tokzoo.benchmarks.micro import Comparison
from tokzoo.benchmarks.timing import is_alone
from tokzoo.generators.gpt.config import on_grid

OUT = records.RESULTS / "generator_speed.json"
LONG_SIDE = 24  # the published models of size L and above make 24 x 24 tokens


def _forms(size: str, batch: int, device: str, rounds: int) -> Comparison:
    return generators.forms(on_grid(size, LONG_SIDE), batch, device=device, rounds=rounds)


PARTS = {
    "batch_1": lambda device, rounds: generators.sampling(_small(device), 1, device=device, rounds=rounds),
    "batch_1_bf16": lambda device, rounds: generators.sampling(
        _small(device).bfloat16(), 1, device=device, rounds=rounds
    ),
    "batch_4": lambda device, rounds: generators.sampling(_small(device), 4, device=device, rounds=rounds),
    "late_b": lambda device, rounds: generators.lateness("b", device=device, rounds=rounds),
    "late_l": lambda device, rounds: generators.lateness("l", device=device, rounds=rounds),
    "b_int8": lambda device, rounds: generators.forms(
        on_grid("b", generators.SIDE), 1, device=device, rounds=rounds, dtype=torch.float32
    ),
    **{f"{size}_{batch}": partial(_forms, size, batch) for size in ("b", "l", "xl") for batch in (1, 16)},
}


def _small(device: str) -> generators.Gpt:
    return generators.speaking(on_grid("b", generators.SIDE)).to(device)


def main() -> None:
    parser = records.parser(__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with torch.inference_mode():
        comparison = PARTS[arguments.part](arguments.device, arguments.rounds)
    report = json.loads(OUT.read_text()) if OUT.exists() else {}
    report["what"] = "GPT at LlamaGen's shapes, float32 unless bf16 is said; medians of rounds in turn"
    beside = [f"{generators.AUTHORS}=LlamaGen"] if generators.AUTHORS in os.environ else []
    where = f"{arguments.threads}_threads" if arguments.device == "cpu" else arguments.device
    report[arguments.part if is_alone(arguments.device) else f"{arguments.part}_{where}"] = {
        "command": " ".join([*beside, records.command("generator_speed")]),
        "machine": machine(),
        **comparison.as_data(),
    }
    records.write_record(OUT, report)
    print(comparison.note)


if __name__ == "__main__":
    main()
