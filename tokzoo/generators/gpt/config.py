"""Sizes of the published LlamaGen models; numbers only."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class GptConfig:
    """Sizes of one GPT over tokens.

    Args:
        codebook_size, num_tokens, grid: what it makes: codes, in a row, or on a grid of (height, width), of video
            (frames, height, width).
        num_classes: that the class condition has; text-conditional ones have none.
        null_class: whether "no class" is a class of its own.
        text_tokens, text_dim: condition tokens and their width where it reads text; 0 where it reads a class.
        slots: values of each code of a token, where tokens have several: `codebook_size`, `num_tokens` and `grid` are
            then of words (tokzoo.generators.words).
        planes: (height, width) of each, where tokens lie on planes of growing size; they are said as one row.
        multiple_of: the width of the MLP, 8/3 of `width`, is rounded up to a multiple of it.
        positions: `rotary`: heads turn with row and column; `learned`: a vector per place.
    """

    codebook_size: int = 16384
    num_tokens: int = 256
    grid: tuple[int, ...] | None = (16, 16)
    num_classes: int = 1000
    null_class: bool = True
    text_tokens: int = 0
    text_dim: int = 2048
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    multiple_of: int = 256
    positions: Literal["rotary", "learned"] = "rotary"
    slots: tuple[int, ...] = ()
    planes: tuple[tuple[int, int], ...] = ()

    @property
    def mlp_dim(self) -> int:
        """Width inside of the MLP."""
        hidden = int(8 * self.width / 3)
        return -(-hidden // self.multiple_of) * self.multiple_of

    @property
    def condition_tokens(self) -> int:
        """Tokens before the first that is made."""
        return self.text_tokens or 1


SIZES = {
    "b": dict(width=768, depth=12, num_heads=12),
    "l": dict(width=1024, depth=24, num_heads=16),
    "xl": dict(width=1280, depth=36, num_heads=20),
    "xxl": dict(width=1536, depth=48, num_heads=24),
    "3b": dict(width=3200, depth=24, num_heads=32),
}


def on_grid(size: str, side: int, *, text_tokens: int = 0) -> GptConfig:
    """The published model of that size that makes side x side tokens."""
    return GptConfig(**SIZES[size], num_tokens=side * side, grid=(side, side), text_tokens=text_tokens)  # type: ignore[arg-type]


TINY = GptConfig(
    codebook_size=40, num_tokens=16, grid=(4, 4), num_classes=10, width=64, depth=2, num_heads=4, multiple_of=32
)
