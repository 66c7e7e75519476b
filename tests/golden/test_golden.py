"""Our numbers are the authors': every case of a family that the zoo lists, at the case's tolerance."""

import json
from pathlib import Path

import pytest
import torch

from tests.golden.adapters import ADAPTERS
from tests.golden.cases import read_case
from tokzoo.registry import architectures


def listed_families() -> set[str]:
    return {architecture.family for architecture in architectures().values()}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder: Path = metafunc.config.getoption("--golden-dir")
    cases = [path for path in sorted(folder.rglob("*.json")) if _family(path) in listed_families()]
    if not cases:
        raise pytest.UsageError(f"no golden case of a listed family in {folder}")
    metafunc.parametrize("path", cases, ids=[path.stem for path in cases])


def _family(path: Path) -> str | None:
    about = json.loads(path.read_text())
    return about.get("family") if isinstance(about, dict) and "arrays" in about else None


@torch.no_grad()
def test_numbers_equal_the_recorded_ones(path: Path, tmp_path: Path) -> None:
    case = read_case(path)
    assert case.family in ADAPTERS, f"family {case.family!r} is in the registry, but no adapter builds its cases"
    ours = ADAPTERS[case.family](case, tmp_path)
    missing = sorted(set(case.recorded) - set(ours))
    assert not missing, f"{case.name} records {missing}, which the adapter does not give"
    misfits = [line for name in case.recorded if (line := case.misfit(name, ours[name]))]
    assert not misfits, f"{case.name}: " + "; ".join(misfits)
