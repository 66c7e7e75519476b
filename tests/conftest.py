"""Options of the test suite."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=Path(__file__).parent / "golden" / "cases",
        help="folder of golden cases (.json + .npz) to run; default: those in tests/golden/cases",
    )
