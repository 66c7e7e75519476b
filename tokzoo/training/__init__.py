"""The loop, its objectives and recipes. `train(TrainConfig(...))` is `tokzoo train`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokzoo.training.config import TrainConfig
    from tokzoo.training.loop import train

__all__ = ["TrainConfig", "train"]


def __getattr__(name: str) -> Any:
    if name == "train":
        from tokzoo.training.loop import train

        return train
    if name == "TrainConfig":
        from tokzoo.training.config import TrainConfig

        return TrainConfig
    raise AttributeError(f"module 'tokzoo.training' has no attribute {name!r}")
