"""What a tokenizer quantized after training is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PostTrainingConfig:
    """A continuous tokenizer, and levels for its channels.

    Args:
        base: registered name of the continuous tokenizer's architecture.
        base_config: the fields of its config, nested ones as mappings; lists are kept as tuples.
        levels: values per channel.
        means, spreads: of the channels over the photos that the tables were fitted to, if they were fitted.
    """

    base: str
    base_config: Mapping[str, Any] = field(default_factory=dict)
    levels: tuple[int, ...] = ()
    means: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_config", _tuples(self.base_config))


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


TINY = PostTrainingConfig(
    base="taesd",
    base_config=dict(image_size=16, width=8, num_blocks=(1, 1, 2), code_dim=4, pooled=True),
    levels=(4, 4, 4, 4),
)
