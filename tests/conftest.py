"""Options of the test suite."""

import os
from pathlib import Path

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:  # there are as many workers as cores: threads would be in each other's way
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
    torch.set_num_threads(1)


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


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What commands keep for the next time stays out of the user's folder, and out of other tests' runs."""
    os.environ["TOKZOO_CACHE"] = str(tmp_path_factory.mktemp("cache"))
