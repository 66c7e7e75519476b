"""The commands that check and measure: verify, doctor, bench, export."""

import json
from pathlib import Path
from typing import Any, Literal

Dtype = Literal["float32", "bfloat16", "float16"]


def verify(
    name: str,
    device: str = "cpu",
    dtype: Dtype = "float32",
    file: str | None = None,
    image: str | None = None,
    caption: str | None = None,
) -> None:
    """Check a model on this device: golden cases, its weights if they are at hand, known answers. Downloads nothing.

    Args:
        name: a registered name, with or without its tag.
        device: torch device.
        dtype: precision; golden cases are held to their tolerance in float32, to looser bounds in half precision.
        file: the published weights, where they are in no cache.
        image: the picture whose tokens the authors published; without it only their decoding is checked.
        caption: of the packaged photo, for a tokenizer that reads text; what reads it is fetched if need be.
    """
    import torch

    from tokzoo.verify import verify as check

    report = check(name, device=device, dtype=getattr(torch, dtype), file=file, image=image, caption=caption)
    print(report)
    if report.failed:
        raise RuntimeError(f"{len(report.failed)} checks of {report.name} failed: {report.failed[0].what}")


def doctor(device: str = "cpu") -> None:
    """Show versions, device, cache and extras, and whether the device computes rightly in three precisions.

    Args:
        device: torch device to examine.
    """
    from tokzoo.doctor import diagnose, summary

    findings = diagnose(device)
    print("\n".join(map(str, findings)))
    if any(finding.level == "wrong" for finding in findings):
        raise RuntimeError(summary(findings))
    print(summary(findings))


def bench(
    names: list[str] | None = None,
    micro: list[str] | None = None,
    batches: list[str] | None = None,
    device: str = "cpu",
    dtype: Dtype = "float32",
    compiled: bool = False,
    rounds: int = 5,
    threads: int | None = None,
    out: str = "eval/results",
) -> None:
    """Time encode and decode of models beside a plain ViT, or single parts (--micro); write JSON.

    Args:
        names: registered names or folders.
        micro: micro-benchmarks instead of models, such as nearest; `all` runs every one.
        batches: batch sizes, by default 1 and 8.
        device: torch device.
        dtype: precision of the models.
        compiled: time torch.compile too.
        rounds: how often each is timed, in turns.
        threads: of the CPU; by default as many as torch takes.
        out: folder for the JSON.
    """
    import torch

    from tokzoo.benchmarks import micro as parts
    from tokzoo.benchmarks import models

    if not names and not micro:
        raise ValueError(f"name a model, or a part: --micro {' '.join(sorted(parts.MICRO))}")
    if threads is not None:
        torch.set_num_threads(threads)
    for name in names or ():
        report = models.bench(
            name,
            batches=[int(batch) for batch in batches or ("1", "8")],
            device=device,
            dtype=getattr(torch, dtype),
            compiled=compiled,
            rounds=rounds,
        )
        _report(models.describe(report), report, Path(out) / f"bench_{Path(name).name}.json")
    for part in sorted(parts.MICRO) if micro == ["all"] else micro or ():
        report = parts.run_micro(part, device=device, rounds=rounds)
        _report(parts.describe(report), report, Path(out) / f"micro_{part}.json")


def export(name: str, out: str = "onnx", file: str | None = None, opset: int = 20) -> None:
    """Write a tokenizer's encoder and decoder as ONNX and compare both with torch. Needs tokzoo[export].

    Args:
        name: a registered name, hub repository or folder.
        out: folder to write to.
        file: the published weights, where they are in no cache.
        opset: ONNX operator set.
    """
    from tokzoo import hub
    from tokzoo.export import export_onnx

    written = export_onnx(hub.from_pretrained(name, file=file), Path(out), opset=opset)
    print("\n".join(map(str, written)))
    wrong = [str(half.half) for half in written if not half.ok]
    if wrong:
        raise RuntimeError(f"onnxruntime gives other numbers than torch: {', '.join(wrong)}")


def _report(lines: list[str], report: dict[str, Any], file: Path) -> None:
    from tokzoo._files import write_atomically

    print("\n".join(lines))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(report, indent=2) + "\n")
    print(f"written to {file}")
