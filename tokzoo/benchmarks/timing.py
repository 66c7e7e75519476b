"""Times of several ways to do one thing, taken in turns, so that their ratio holds on a machine that others use too."""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """What one call costs, over several rounds.

    Args:
        seconds, least: by the clock: median and least.
        cpu_seconds: median of the process's own processor time, all threads together; others' work is not in it.
        peak_bytes: what `peak_bytes()` gives.
    """

    seconds: float
    least: float
    cpu_seconds: float
    rounds: int
    peak_bytes: int | None = None


def interleaved(
    calls: Mapping[str, Call], *, rounds: int = 7, device: torch.device | str = "cpu", memory: bool = True
) -> dict[str, Timing]:
    """Times each call `rounds` times: one of each, then one of each again, every round beginning with another one.

    Each is called before, once for its memory and once to warm up, outside of the times.

    Raises:
        ValueError: no calls, or no rounds.
    """
    if not calls or rounds < 1:
        raise ValueError(f"timing needs at least one call and one round; got {len(calls)} calls, {rounds} rounds")
    device, names = torch.device(device), list(calls)
    for call in calls.values():
        call()
    peaks = {name: peak_bytes(call, device) if memory else None for name, call in calls.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(_seconds(calls[name], device))
    return {name: _timing(pairs, peaks[name]) for name, pairs in taken.items()}


def speedup(timings: Mapping[str, Timing], of: str, over: str) -> float:
    """How many times as fast `of` is as `over`, by medians of the clock; above 1, `of` is the faster."""
    return timings[over].seconds / timings[of].seconds


def cpu_speedup(timings: Mapping[str, Timing], of: str, over: str) -> float:
    """The same by processor time: the ratio to trust for one thread on a CPU that is shared with others."""
    return timings[over].cpu_seconds / timings[of].cpu_seconds


def is_alone(device: torch.device | str) -> bool:
    """Whether one thread of this processor does all the work, so that its own time says what the work costs."""
    return torch.device(device).type == "cpu" and torch.get_num_threads() == 1


def trusted(timing: Timing, device: torch.device | str) -> float:
    """Seconds that a call takes: of the processor where one thread does all, else by the clock."""
    return timing.cpu_seconds if is_alone(device) else timing.seconds


def peak_bytes(call: Call, device: torch.device | str = "cpu") -> int | None:
    """Most bytes of tensors alive at once during a call, beyond those before it; None where it cannot be told.

    On a CPU it counts what torch's allocator gives out; scratch memory inside a library is not in it.
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        call()
        return None
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
            call()
        file = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text())["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    alive = most = 0
    for _, change in changes:
        alive += change
        most = max(most, alive)
    return most


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what was asked of it."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _seconds(call: Call, device: torch.device) -> tuple[float, float]:
    """By the clock, and of the processor."""
    synchronize(device)
    began, worked = time.perf_counter(), time.process_time()
    call()
    synchronize(device)
    return time.perf_counter() - began, time.process_time() - worked


def _timing(pairs: list[tuple[float, float]], peak: int | None) -> Timing:
    clock, processor = zip(*pairs, strict=True)
    return Timing(statistics.median(clock), min(clock), statistics.median(processor), len(pairs), peak)


@contextmanager
def _quiet() -> Iterator[None]:
    """While open, nothing reaches the process's error stream: torch's profiler reports its start and stop there."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
