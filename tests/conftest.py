"""Options of the test suite."""

from pathlib import Path

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=Path(__file__).parent / "golden" / "cases",
        help="folder of golden cases (.json + .npz) to run; default: those in tests/golden/cases",
    )


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    """Every family compiles the same `encode`: each test begins with none of the graphs of those before it."""
    torch.compiler.reset()
