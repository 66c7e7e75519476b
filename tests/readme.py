"""Keeps the README's model table equal to the registry. `python -m tests.readme --write` writes it."""

import re
import sys
from pathlib import Path

from tokzoo import registry

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- models: made by `make readme` -->", "<!-- end of models -->"


def model_table() -> str:
    """A markdown table of all weights."""
    lines = [
        "| name | tokens | weights | licence | published score | checked |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in registry.list_models(pretrained=True):
        architecture, weights = registry.find(name)
        where = f"`{weights.sources[0].repo}`" if weights.sources else "shipped" if weights.shipped else "by hand"
        first = {score.metric: score.value for score in reversed(weights.scores)}  # of each metric; `info` tells all
        scores = ", ".join(f"{metric} {value:g}" for metric, value in reversed(first.items()))
        scores = scores or ("see its card" if weights.shipped else "-")
        lines.append(
            f"| `{name}` | {architecture.token_type} | {where} | {weights.licence} | {scores} | {weights.checked} |"
        )
    return "\n".join(lines)


def with_table(text: str) -> str:
    """`text` with the table between its marks."""
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", f"{BEGIN}\n{model_table()}\n{END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    if "--write" in sys.argv:
        README.write_text(with_table(README.read_text()))
