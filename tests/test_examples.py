"""The examples run as they are, only shorter."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("name", ["new_quantizer", "new_tokenizer"])
def test_something_new_is_trained_scored_saved_and_loaded(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "2", str(tmp_path)]
    done = subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.fullmatch(r"\d+ bits, \d+\.\d\d dB\n", done.stdout)


def test_a_quantizer_takes_less_than_forty_lines() -> None:
    assert len((EXAMPLES / "new_quantizer.py").read_text().splitlines()) < 40


def test_classes_are_drawn_and_a_photo_is_completed(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "generate.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"28 images in .*; the photo's tokens take \d+ bits\n", done.stdout)
