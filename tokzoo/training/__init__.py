"""The loop, its objectives and recipes. `train(TrainConfig(...))` is `tokzoo train`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokzoo.training.config import LossConfig, OptimizerConfig, TrainConfig
    from tokzoo.training.loop import train

__all__ = ["LossConfig", "OptimizerConfig", "TrainConfig", "train"]


def __getattr__(name: str) -> Any:
    if name == "train":
        from tokzoo.training.loop import train

        return train
    if name in __all__:
        from tokzoo.training import config

        return getattr(config, name)
    raise AttributeError(f"module 'tokzoo.training' has no attribute {name!r}")
