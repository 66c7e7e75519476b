"""Our numbers are the authors': every case of a family or part that the zoo lists, at the case's tolerance."""

import json
from pathlib import Path

import pytest

from tokzoo.golden import COMPONENTS, misfits, read_case
from tokzoo.registry import architectures


def listed_families() -> set[str]:
    return {architecture.family for architecture in architectures().values()} | set(COMPONENTS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder: Path = metafunc.config.getoption("--golden-dir")
    listed = listed_families()
    cases = [path for path in sorted(folder.rglob("*.json")) if path.stem in listed or _family(path) in listed]
    if not cases:
        raise pytest.UsageError(f"no golden case of a listed family in {folder}")
    metafunc.parametrize("path", cases, ids=[path.stem for path in cases])


def _family(path: Path) -> str | None:
    about = json.loads(path.read_text())
    return about.get("family") if isinstance(about, dict) and "arrays" in about else None


def test_numbers_equal_the_recorded_ones(path: Path) -> None:
    try:
        case = read_case(path)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert not misfits(case), f"{case.name}: " + "; ".join(misfits(case))
