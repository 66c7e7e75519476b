"""Micro-benchmarks of single parts, ours beside baselines. A new one is a function and a line in `MICRO`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from tokzoo import registry
from tokzoo.benchmarks.machine import machine
from tokzoo.benchmarks.timing import Timing, cpu_speedup, speedup

OURS = "tokzoo"  # the name of our own way in every comparison; the others are baselines

MICRO = {  # name -> "module:function", called as function(device=..., rounds=...), which gives Comparisons
    "dimension_head": "tokzoo.benchmarks.dimension_head:compare",
    "dimension_wise": "tokzoo.benchmarks.dimension_wise:compare",
    "generators": "tokzoo.benchmarks.generators:compare",
    "metrics": "tokzoo.benchmarks.metrics:compare",
    "nearest": "tokzoo.benchmarks.nearest:compare",
    "quantizers": "tokzoo.benchmarks.quantizers:compare",
    "splatting": "tokzoo.benchmarks.splatting:compare",
}


@dataclass(frozen=True)
class Comparison:
    """Several ways to do one thing, `OURS` among them, timed in turns in one run. `note`: what else was seen."""

    setting: str
    timings: Mapping[str, Timing]
    note: str = ""

    def __post_init__(self) -> None:
        if OURS not in self.timings:
            raise ValueError(f"a comparison has {OURS!r} among its ways; got {', '.join(self.timings)}")

    def as_data(self) -> dict[str, Any]:
        """For JSON: times and bytes of every way, and how many times as fast ours is as each baseline."""
        return {
            "setting": self.setting,
            "note": self.note,
            "timings": {name: asdict(timing) for name, timing in self.timings.items()},
            "times_as_fast_as": {
                name: {"clock": speedup(self.timings, OURS, name), "cpu_time": cpu_speedup(self.timings, OURS, name)}
                for name in self.timings
                if name != OURS
            },
        }


def run_micro(name: str, *, device: str = "cpu", rounds: int = 5) -> dict[str, Any]:
    """Runs the micro-benchmark `name`; a report that goes to JSON.

    Raises:
        KeyError: no such micro-benchmark.
    """
    if name not in MICRO:
        raise KeyError(f"no micro-benchmark is called {name!r}; there are: {', '.join(sorted(MICRO))}")
    with torch.inference_mode():
        comparisons: list[Comparison] = registry.load_object(MICRO[name])(device=device, rounds=rounds)
    return {
        "micro": name,
        "what": f"medians of {rounds} rounds in turn",
        "device": device,
        "comparisons": [comparison.as_data() for comparison in comparisons],
        "machine": machine(device),
    }


def describe(report: Mapping[str, Any]) -> list[str]:
    """A report as lines to print."""
    lines = [f"{report['micro']}: {report['what']}, {report['device']}, {report['machine']['threads']} threads"]
    for comparison in report["comparisons"]:
        lines.append(
            f"  {comparison['setting']}; {comparison['note']}" if comparison["note"] else comparison["setting"]
        )
        for name, timing in comparison["timings"].items():
            peak = "" if timing["peak_bytes"] is None else f"{timing['peak_bytes'] / 2**20:10.1f} MiB at most"
            faster = comparison["times_as_fast_as"].get(name)
            versus = "" if faster is None else f"  ours is {faster['clock']:.2f}x as fast ({faster['cpu_time']:.2f}x)"
            lines.append(f"    {name:24} {timing['seconds'] * 1e3:10.2f} ms {peak}{versus}")
    return lines
