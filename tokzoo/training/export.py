"""The averaged weights of a run that was cut short."""

from pathlib import Path

import yaml

from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.training import checkpoints
from tokzoo.training.config import TrainConfig
from tokzoo.training.recipes import build_model


def averaged_model(run: str | Path) -> tuple[VisualTokenizer, checkpoints.Checkpoint]:
    """The model of a single-stage run with the averages (EMA) of its newest checkpoint, and that checkpoint.

    Raises:
        FileNotFoundError: no checkpoint there. ValueError: a run of several stages, which ends in `final` by itself.
    """
    run = Path(run)
    checkpoint = checkpoints.load_newest(run)
    if checkpoint is None:
        raise FileNotFoundError(f"{run} holds no checkpoint")
    config = yaml.safe_load((run / "config.yaml").read_text())
    if config["stage_one_steps"]:
        raise ValueError(f"{run} is a run of several stages; let it end, its model is then in {run / 'final'}")
    begun = {name: config.get(name) for name in ("data", "out", "model", "overrides", "init", "tokenizer")}
    tok = build_model(TrainConfig(**begun))
    tok.load_state_dict({**checkpoint.model, **checkpoint.ema})
    return tok.eval(), checkpoint
