"""`tokzoo eval`: scores under a named protocol, kept as a result; `tokzoo leaderboard`: the page of all results."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tokzoo.cli.commands import DEFAULT

if TYPE_CHECKING:
    from tokzoo.evaluation.opening import Opened
    from tokzoo.evaluation.results import Result
    from tokzoo.evaluation.scoring import Share

NUM_PROCESSES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")  # torchrun's name, and MPIs'


def evaluate(
    name: str = DEFAULT,
    data: str = "",
    protocol: str = "photos64",
    file: str | None = None,
    caption: str | None = None,
    guidance: float | None = None,
    out: str = "eval/results",
    batch_size: int = 32,
    limit: int | None = None,
    weights: str | None = None,
    reference: str | None = None,
    work: str | None = None,
    device: str = "cpu",
    extrapolate: bool = False,
) -> None:
    """Score a tokenizer on photos, a generator, or a set of samples, by a protocol; write the result.

    It resumes after a kill. Several GPUs: accelerate launch (or torchrun, mpirun) -m tokzoo.cli.main eval ...

    Args:
        name: a name, repository or folder; samples (folder, zip, npz); identity, mean_image, noise, jpeg_q50.
        data: folder, zip or tars of photos; for samples those to compare with, where the protocol needs them.
        protocol: name of a protocol, or a YAML file of one.
        file: the tokenizer's published weights, where they are in no cache.
        caption: of each photo, {} for its label ("A photo of a {}."), for tokenizers that read text; another protocol.
        guidance: of a generator, by default as it was published.
        out: folder for results, one below it per protocol.
        batch_size: images at once.
        limit: only the first so many photos, for a trial.
        weights: file of the extractor's weights, where it cannot find them itself.
        reference: file of reference statistics, for protocols that compare with such.
        work: folder for batches until the result is there; by default below out.
        device: torch device.
        extrapolate: also estimate the Frechet distance of infinitely many images.
    """
    from tokzoo._files import cache_folder, plain_name
    from tokzoo.evaluation import run
    from tokzoo.evaluation.opening import open_evaluation
    from tokzoo.evaluation.protocol import load_protocol
    from tokzoo.evaluation.results import write_result

    share, device = _process(device)
    opened = open_evaluation(
        name, load_protocol(protocol), data=data, file=file, caption=caption, guidance=guidance, device=device
    )
    called = f"{opened.protocol.name}-{opened.protocol.sha256[:8]}-{plain_name(opened.subject.name)}"
    settings = run.Settings(
        work=Path(work) if work else Path(out) / ".work" / called,
        batch_size=batch_size,
        device=device,
        weights=Path(weights) if weights else None,
        reference=Path(reference) if reference else None,
        extrapolate=extrapolate,
        cache=cache_folder("references"),
        share=share,
    )
    result = run.evaluate(
        opened.subject, opened.photos, opened.protocol, settings, limit=limit, reference_set=opened.reference
    )
    if result is None:
        return
    written = write_result(result, Path(out))
    settings.remove_work()
    print("\n".join(_report(result, opened)))
    print(f"written to {written}")


def leaderboard(results: str = "eval/results", out: str = "eval/README.md") -> None:
    """Draw the page of all results: a table for each protocol, and plots.

    Args:
        results: folder that `tokzoo eval` wrote to.
        out: the page; its plots lie beside it.
    """
    from tokzoo.evaluation.leaderboard import write_leaderboard

    print(f"look at {write_leaderboard(Path(results), Path(out))}")


def _report(result: "Result", opened: "Opened") -> Iterator[str]:
    """What is printed of a result, line by line."""
    from tokzoo.evaluation.published import published_lines

    protocol, subject = opened.protocol, opened.subject
    yield f"{result.subject}, protocol {protocol.name} {protocol.sha256[:12]}, {result.images['count']:,} images"
    if result.asked:
        yield f"  {', '.join(f'{name} {value}' for name, value in result.asked.items())}"
    yield f"  behind a value: its bootstrap interval of {protocol.bootstrap.level:.0%}, where it is an estimate"
    for name, score in result.scores.items():
        interval = "" if score.low is None else f"   {score.low:.4g} to {score.high:.4g}"
        yield f"  {name:28} {score.value:10.4f}{interval}"
    yield from (f"  {line}" for line in published_lines(result, protocol, subject.scores, unlike=subject.unlike))
    yield from (f"departs from the protocol: {line}" for line in result.departures)
    yield from (f"mind: {line}" for line in result.notes)


def _process(device: str) -> tuple["Share", str]:
    """This process's share of the batches, and its device."""
    from tokzoo.evaluation.scoring import Share

    if all(os.environ.get(name, "1") == "1" for name in NUM_PROCESSES):
        return Share(), device
    from tokzoo._torchvision import import_with_torchvision

    state = import_with_torchvision("accelerate").PartialState(cpu=device == "cpu")
    share = Share(state.process_index, state.num_processes, state.wait_for_everyone)
    return share, device if device == "cpu" else str(state.device)
