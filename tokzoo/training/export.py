"""The averaged weights of a run that was cut short."""

from pathlib import Path
from typing import Any

import yaml

from tokzoo.training import checkpoints
from tokzoo.training.config import TrainConfig
from tokzoo.training.recipes import build_model


def averaged_model(run: str | Path, *, step: int | None = None) -> tuple[Any, checkpoints.Checkpoint]:
    """The model of a single-stage run with the averages (EMA) of a checkpoint, the newest by default, and that one.

    Raises:
        FileNotFoundError: no checkpoint there. ValueError: a run of several stages, which ends in `final` by itself.
    """
    run = Path(run)
    checkpoint = checkpoints.load_newest(run, step=step)
    if checkpoint is None:
        raise FileNotFoundError(f"{run} holds no checkpoint{'' if step is None else f' of step {step}'}")
    config = yaml.safe_load((run / "config.yaml").read_text())
    if config["stage_one_steps"]:
        raise ValueError(f"{run} is a run of several stages; let it end, its model is then in {run / 'final'}")
    begun = {name: config.get(name) for name in ("data", "out", "model", "overrides", "init", "tokenizer")}
    tok = build_model(TrainConfig(**begun))
    tok.load_state_dict({**checkpoint.model, **checkpoint.ema})
    return tok.eval(), checkpoint
