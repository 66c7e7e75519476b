"""What was measured, with all that made the number: kept as JSON, compared only within one protocol."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tokzoo._files import plain_name, write_atomically
from tokzoo.evaluation.protocol import Protocol
from tokzoo.evaluation.summary import Score

__all__ = ["Result", "check_comparable", "read_result", "read_results", "write_result"]

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Result:
    """One evaluation.

    Args:
        subject, kind: what was evaluated: `tokenizer`, `codec`, `sanity`, `samples`.
        weights: hash of each part's weights.
        protocol, protocol_sha256: by which it was measured.
        asked: what that asks of tokens and sizes, where it is not the usual: `num_tokens`, `judged_size`, ...
        images: count, and the sha256 of their pixels after the crop; of samples also those of the reference set.
        departures: where data or weights were not the protocol's; empty if all were.
        scores: by full name.
        notes: what a reader should mind.
        seconds: of the pass.
        machine, versions, date: where, with what and when.
    """

    subject: str
    kind: str
    weights: dict[str, str]
    protocol: str
    protocol_sha256: str
    images: dict[str, Any]
    departures: list[str]
    scores: dict[str, Score]
    notes: list[str] = field(default_factory=list)
    asked: dict[str, Any] = field(default_factory=dict)
    seconds: float
    machine: str
    versions: dict[str, str]
    date: str

    @property
    def file_name(self) -> str:
        """Where it lies below a folder of results."""
        return f"{self.protocol}/{plain_name(self.subject)}.json"


def write_result(result: Result, folder: Path) -> Path:
    """Writes `folder/PROTOCOL/SUBJECT.json`, infinities as the strings "inf" and "-inf", as JSON has none."""
    file = folder / result.file_name
    file.parent.mkdir(parents=True, exist_ok=True)
    held = {"format": FORMAT, **asdict(result)}
    held["scores"] = {
        name: {key: _plain(value) for key, value in asdict(score).items() if value is not None}
        for name, score in result.scores.items()
    }
    write_atomically(file, json.dumps(held, indent=2, allow_nan=False) + "\n")
    return file


def read_result(file: Path) -> Result:
    """Reads what `write_result` wrote. ValueError for another file."""
    held = json.loads(file.read_text())
    if not _is_result(held):
        raise ValueError(f"{file} is no result of tokzoo eval")
    held.pop("format")
    scores = {
        name: Score(**{key: float(value) for key, value in entry.items()}) for name, entry in held["scores"].items()
    }
    return Result(**{**held, "scores": scores})


def read_results(folder: Path) -> list[Result]:
    """All results below a folder, by protocol and subject; records of other kinds may lie among them."""
    found = []
    for file in sorted(folder.glob("*/*.json")):
        if _is_result(json.loads(file.read_text())):
            found.append(read_result(file))
    return found


def _is_result(held: Any) -> bool:
    return isinstance(held, dict) and held.get("format") == FORMAT and "protocol_sha256" in held


def check_comparable(results: Sequence[Result], protocol: Protocol | None = None) -> None:
    """Raises ValueError unless all were measured by one protocol (`protocol`, if given), on the same images."""
    wanted = protocol.sha256 if protocol is not None else results[0].protocol_sha256
    for result in results:
        if result.protocol_sha256 != wanted:
            raise ValueError(
                f"{result.subject} was measured by protocol {result.protocol} {result.protocol_sha256[:12]}, not by "
                f"{wanted[:12]}: their numbers are not comparable. Evaluate it again by this one."
            )
        if result.departures:
            raise ValueError(f"{result.subject} was not measured as its protocol says: {'; '.join(result.departures)}")
        if compared_images(result) != compared_images(results[0]):
            raise ValueError(f"{result.subject} and {results[0].subject} were measured on different images")


def compared_images(result: Result) -> str:
    """The sha256 of the pixels that two results must share: of the photos, or of samples' reference set."""
    found: str = result.images.get("reference_sha256") or result.images["sha256"]
    return found


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
