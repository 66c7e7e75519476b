"""Keeps the table of protocols in docs/evaluation.md equal to eval/protocols. `python -m tests.protocols --write`."""

import re
import sys
from pathlib import Path

from tokzoo.evaluation.protocol import Protocol, list_protocols, load_protocol
from tokzoo.evaluation.published import protocols_of
from tokzoo.registry import find, list_models

PAGE = Path(__file__).parents[1] / "docs" / "evaluation.md"
BEGIN, END = "<!-- protocols: made by `make readme` -->", "<!-- end of protocols -->"


def protocol_table() -> str:
    """A markdown table of all shipped protocols, and how many registered scores each is of."""
    counts: dict[str, int] = {}
    for name in list_models(pretrained=True):
        for score in find(name)[1].scores:
            for protocol in protocols_of(score):
                counts[protocol] = counts.get(protocol, 0) + 1
    lines = ["| name | what | measures | published scores |", "| --- | --- | --- | --- |"]
    for name in list_protocols():
        protocol = load_protocol(name)
        measures = ", ".join(protocol.label(metric) for metric in protocol.metrics) or "nothing here"
        lines.append(f"| `{name}` | {protocol.about} | {measures} | {_published(protocol, counts.get(name, 0))} |")
    return "\n".join(lines)


def _published(protocol: Protocol, count: int) -> str:
    if not count:
        return "-"
    held_back = [
        f"{', '.join(entry.scores)} not comparable: {'; '.join(entry.unknown)}"
        for entry in protocol.published
        if entry.unknown
    ]
    return "; ".join([str(count), *held_back])


def with_table(text: str) -> str:
    """`text` with the table between its marks."""
    table = f"{BEGIN}\n{protocol_table()}\n{END}"
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda match: table, text, flags=re.DOTALL)


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(with_table(PAGE.read_text()))
