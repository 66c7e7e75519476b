"""docs/generators.md is true: its code runs."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "generators.md"


def test_the_code_of_the_page_runs_as_it_is_written() -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    scope: dict[str, object] = {}
    for block in blocks:
        exec(block, scope)
