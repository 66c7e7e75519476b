"""Checkpoints of a run: a folder per step, written whole or not at all."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

PREFIX = "step_"


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on: `step` is the next one, `stage` its stage; the rest are state dicts."""

    step: int
    stage: int
    seconds: float
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    objective: dict[str, Tensor]
    optimizers: list[dict[str, Any]]


def save(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Writes `folder/step_N`, then drops all but the newest `keep`."""
    final = folder / f"{PREFIX}{checkpoint.step:08d}"
    temporary = folder / f".{final.name}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name in ("model", "ema", "objective"):
        state = {key: value.detach().cpu().contiguous() for key, value in getattr(checkpoint, name).items()}
        save_file(state, temporary / f"{name}.safetensors")
    torch.save(checkpoint.optimizers, temporary / "optimizers.pt")
    about = {"step": checkpoint.step, "stage": checkpoint.stage, "seconds": checkpoint.seconds}
    (temporary / "state.json").write_text(json.dumps(about))
    for file in temporary.iterdir():
        _sync(file)
    _sync(temporary)
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)
    _sync(folder)
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def load_newest(folder: Path, *, step: int | None = None) -> Checkpoint | None:
    """The newest checkpoint of a run, or that of a step; None if there is none."""
    found = [path for path in _all(folder) if step is None or path.name == f"{PREFIX}{step:08d}"]
    if not found:
        return None
    newest = found[-1]
    about = json.loads((newest / "state.json").read_text())
    states = {name: load_file(newest / f"{name}.safetensors") for name in ("model", "ema", "objective")}
    optimizers = torch.load(newest / "optimizers.pt", map_location="cpu", weights_only=True)
    return Checkpoint(**about, **states, optimizers=optimizers)


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{PREFIX}*") if (path / "state.json").is_file())


def _sync(path: Path) -> None:
    """Flushes a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
