"""Times TiTok's encode and decode beside the authors' code with the same weights, and beside a plain timm ViT.

usage: python -m eval.authors_speed CHECKOUT [--batches 1 4] [--threads 1] [--rounds 9]

CHECKOUT is a clone of bytedance/1d-tokenizer; omegaconf and accelerate must be importable. Weights are the authors'
random initialisation: times do not depend on them, and equal indices show that both sides do the same work.
"""

import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

import tokzoo
from eval import records
from tokzoo import _torchvision
from tokzoo.benchmarks.machine import machine
from tokzoo.benchmarks.models import plain_vit
from tokzoo.benchmarks.timing import cpu_speedup, interleaved, speedup


def authors_model(checkout: Path, size: str) -> torch.nn.Module:
    """The authors' TiTok of their own configuration."""
    _torchvision.import_with_torchvision("torchvision")
    sys.path.insert(0, str(checkout))
    from modeling.titok import TiTok
    from omegaconf import OmegaConf

    torch.manual_seed(0)
    return TiTok(OmegaConf.load(checkout / f"configs/infer/TiTok/titok_{size}.yaml")).eval()


def main() -> None:
    """Parses, builds three models, times, writes eval/results."""
    parser = records.parser(__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--size", default="s128")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    theirs = authors_model(arguments.checkout, arguments.size)
    ours = tokzoo.create_model(f"titok_{arguments.size}").eval()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "authors.pt")
        torch.save(theirs.state_dict(), file)
        tokzoo.load_weights(ours, file)
    vit = plain_vit(ours)
    commit = subprocess.run(  # noqa: S603
        ["git", "-C", str(arguments.checkout), "rev-parse", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    rows = []
    with torch.inference_mode():
        for batch in arguments.batches:
            images = torch.rand(batch, 3, 256, 256, generator=torch.Generator().manual_seed(batch))
            tokens = ours.encode(images)
            indices = theirs.encode(images)[1]["min_encoding_indices"]
            equal = float((tokens.indices == indices.flatten(1)).float().mean())
            encode = interleaved(
                {
                    "tokzoo": lambda images=images: ours.encode(images),
                    "authors": lambda images=images: theirs.encode(images),
                    "timm_vit": lambda images=images: vit(images),
                },
                rounds=arguments.rounds,
            )
            row = {
                "batch": batch,
                "equal_indices": equal,
                "encode": {name: asdict(timing) for name, timing in encode.items()},
            }
            for other in ("authors", "timm_vit"):
                row[f"encode_over_{other}"] = speedup(encode, "tokzoo", other)
                row[f"encode_over_{other}_cpu_time"] = cpu_speedup(encode, "tokzoo", other)
            rows.append(row)
            print(
                f"batch {batch}: encode {row['encode_over_authors_cpu_time']:.2f}x the authors', "
                f"{row['encode_over_timm_vit_cpu_time']:.2f}x a timm ViT's speed by processor time; "
                f"{row['encode_over_authors']:.2f}x and {row['encode_over_timm_vit']:.2f}x by the clock; "
                f"{equal:.1%} of the indices equal",
                flush=True,
            )
            if batch > 1:
                continue
            decode = interleaved(
                {
                    "tokzoo": lambda tokens=tokens: ours.decode(tokens),
                    "authors": lambda indices=indices: theirs.decode_tokens(indices),
                },
                rounds=max(3, arguments.rounds // 3),
            )
            row["decode"] = {name: asdict(timing) for name, timing in decode.items()}
            row["decode_over_authors"] = speedup(decode, "tokzoo", "authors")
            row["decode_over_authors_cpu_time"] = cpu_speedup(decode, "tokzoo", "authors")
            print(f"batch {batch}: decode {row['decode_over_authors_cpu_time']:.2f}x the authors' by processor time")
    report = {
        "what": f"titok_{arguments.size}, inference mode, float32, medians of rounds in turn",
        "note": "cpu_time is the measure where other work shares the machine",
        "authors": f"bytedance/1d-tokenizer {commit}",
        "machine": machine(),
        "rows": rows,
    }
    out = Path("eval/results") / f"titok_{arguments.size}_speed.json"
    records.write_record(out, report)


if __name__ == "__main__":
    main()
