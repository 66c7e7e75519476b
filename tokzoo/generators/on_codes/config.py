"""Sizes of the generators on code vectors; numbers only."""

from dataclasses import dataclass
from typing import Literal

from tokzoo.generators.gpt.config import GptConfig
from tokzoo.generators.maskgit.config import MaskgitConfig


@dataclass(frozen=True, kw_only=True)
class CodeGptConfig(GptConfig):
    """Sizes of one GPT on code vectors.

    Args:
        code_dim: width of the tokenizer's code vectors.
        table_width: inside of the network that makes a token's vector of its code's.
        dropout: share of what the embedding and each branch say that is left out in training.
    """

    code_dim: int = 12
    table_width: int = 256
    dropout: float = 0.0
    positions: Literal["rotary", "learned"] = "learned"


@dataclass(frozen=True, kw_only=True)
class CodeMaskgitConfig(MaskgitConfig):
    """Sizes of one MaskGIT on code vectors; `code_dim` and `table_width` as for the GPT."""

    code_dim: int = 12
    table_width: int = 256


GPT_NANO = CodeGptConfig(
    codebook_size=4096,
    num_tokens=32,
    grid=None,
    num_classes=19,
    width=192,
    depth=4,
    num_heads=4,
    multiple_of=32,
    dropout=0.1,
)
MASKGIT_NANO = CodeMaskgitConfig(
    codebook_size=4096, num_tokens=32, num_classes=19, width=192, depth=4, num_heads=4, mlp_dim=512
)

TINY = CodeGptConfig(
    codebook_size=40,
    num_tokens=16,
    grid=None,
    num_classes=10,
    width=64,
    depth=2,
    num_heads=4,
    multiple_of=32,
    code_dim=6,
    table_width=16,
)
TINY_MASKGIT = CodeMaskgitConfig(
    codebook_size=40, num_tokens=12, num_classes=10, width=64, depth=2, num_heads=4, mlp_dim=128, code_dim=6
)
