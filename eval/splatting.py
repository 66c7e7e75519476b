"""Painting with Gaussians and cutting pictures, timed on the partitions of photos; what of `encode` is the partition.

usage: python -m eval.splatting --photos kodak24 [--rounds 5] [--out eval/results/splatting.json]
"""

from pathlib import Path

import torch

from eval import records
from tokzoo.benchmarks import splatting
from tokzoo.benchmarks.machine import machine
from tokzoo.benchmarks.micro import describe
from tokzoo.images import find_images

PUBLISHED = ("gpstoken_s64", "gpstoken_m128", "gpstoken_l256")


def main() -> None:
    parser = records.parser(__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = find_images(options.photos)
    found = splatting.compare(rounds=options.rounds, files=files)
    found += [splatting.partition_in_encode(name, files[0], rounds=options.rounds) for name in PUBLISHED]
    told = {
        "micro": "splatting",
        "what": f"medians of {options.rounds} rounds in turn; one thread",
        "device": "cpu",
        "comparisons": [comparison.as_data() for comparison in found],
        "command": f"python -m eval.splatting --photos kodak24 --rounds {options.rounds}",
        "machine": machine(),
    }
    print("\n".join(describe(told)))
    if options.out is not None:
        records.write_record(options.out, told)


if __name__ == "__main__":
    main()
