"""What a composed tokenizer is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

Part = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ComposedConfig:
    """Three parts by name, each `dict(name=..., **options)`; `image_size` is pixels per side.

    Widths need not be given: the encoder is made as wide as the quantizer takes, the decoder as it gives. Where
    `code_dim` of a part says another width, the model is refused. Names and options are those of `grid.parts` for
    encoders and decoders, of `tokzoo.shelf` for quantizers.
    """

    image_size: int = 64
    encoder: Part = field(default_factory=lambda: dict(name="cnn", width=32, multipliers=(1, 2, 2, 4)))
    quantizer: Part = field(default_factory=lambda: dict(name="fsq", levels=(8, 8, 8, 5, 5, 5)))
    decoder: Part = field(default_factory=lambda: dict(name="cnn", width=32, multipliers=(1, 2, 2, 4)))

    def __post_init__(self) -> None:
        for entry in fields(self):
            object.__setattr__(self, entry.name, plain(getattr(self, entry.name)))


def plain(value: Any) -> Any:
    """The same with tuples for lists, as which JSON and YAML give them, so that equal configs compare equal."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return tuple(plain(item) for item in value) if isinstance(value, list | tuple) else value


GRID = ComposedConfig()
VIT_KL_NANO = ComposedConfig(  # ours: 64x64 photos to 8x8 continuous tokens of 16 channels
    encoder=dict(name="vit", patch_size=8, width=128, depth=3, num_heads=4),
    quantizer=dict(name="kl", code_dim=16),
    decoder=dict(name="vit", patch_size=8, width=128, depth=4, num_heads=4),
)
TINY = ComposedConfig(
    image_size=16,
    encoder=dict(name="cnn", width=32, multipliers=(1, 1, 1)),
    quantizer=dict(name="fsq", levels=(8, 5, 5)),
    decoder=dict(name="cnn", width=32, multipliers=(1, 1, 1)),
)
