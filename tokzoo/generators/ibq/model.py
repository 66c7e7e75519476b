"""The GPT, of which every norm is told the class. B batch, L tokens, D width."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.generators.conditions import Condition
from tokzoo.generators.gpt.config import GptConfig
from tokzoo.generators.gpt.model import Gpt, GptBlock
from tokzoo.layers.causal import Cache, RmsNorm


class ClassGptBlock(GptBlock):
    """x += g1 * Attention(RMS(x) (1 + s1) + t1); the same with the MLP. g, s, t of the class. arXiv:2212.09748."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int):
        super().__init__(dim, num_heads, mlp_dim)
        self.modulation = nn.Linear(dim, 6 * dim)

    def forward(self, hidden: Tensor, *, told: Tensor, **where: Any) -> Tensor:  # type: ignore[override]
        gate1, gate2, scale1, scale2, shift1, shift2 = self.modulation(F.silu(told)).chunk(6, dim=-1)
        hidden = hidden + gate1 * self.attn(self.norm1(hidden) * (1 + scale1) + shift1, **where)
        return hidden + gate2 * self.mlp(self.norm2(hidden) * (1 + scale2) + shift2)


class ClassRmsNorm(RmsNorm):
    """RMS(x) (1 + s) + t, of the class."""

    def __init__(self, dim: int):
        super().__init__(dim)
        self.modulation = nn.Linear(dim, 2 * dim)

    def forward(self, hidden: Tensor, told: Tensor) -> Tensor:  # type: ignore[override]
        scale, shift = self.modulation(F.silu(told)).chunk(2, dim=-1)
        return super().forward(hidden) * (1 + scale) + shift


class IbqGpt(Gpt):
    """A GPT that reads the class as its first token and in every norm. arXiv:2412.02692.

    Raises:
        ValueError: a config that reads text.
    """

    block = ClassGptBlock

    def __init__(self, config: GptConfig):
        if config.text_tokens:
            raise ValueError("this generator is told a class; text_tokens must be 0")
        super().__init__(config)
        self.norm = ClassRmsNorm(config.width)

    def _through(self, hidden: Tensor, condition: Condition, caches: Sequence[Cache] | None, **where: Any) -> Tensor:
        told = self._embed_condition(condition)  # (B, 1, D)
        for layer, block in enumerate(self.blocks):
            hidden = block(hidden, told=told, cache=caches[layer] if caches else None, **where)
        return self.norm(hidden, told)
