"""A small transformer over the codes of one token. arXiv:2503.16430, section 3.3.

N tokens, C codes of a token in the order in which they are said, K levels of a code, D E widths.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.generators.rar.model import ModulatedBlock
from tokzoo.generators.sampling import draw
from tokzoo.layers.causal import KvCache


class DimensionHead(nn.Module):
    """p(codes of a token | its features), one code after the other.

    Args:
        levels: of each code; K is the most of them.
        condition_dim: D of the features. width, depth, num_heads: of the transformer.
    """

    beyond: Tensor

    def __init__(self, levels: Sequence[int], condition_dim: int, *, width: int, depth: int, num_heads: int):
        super().__init__()
        channels, num_levels = len(levels), max(levels)
        self.channels = channels
        self.condition = nn.Linear(condition_dim, width)
        self.embed = nn.Parameter(0.02 * torch.randn(channels - 1, num_levels, width))
        self.positions = nn.Parameter(0.02 * torch.randn(channels, width))
        self.steps = nn.Parameter(0.02 * torch.randn(channels, width))
        self.blocks = nn.ModuleList(ModulatedBlock(width, num_heads, 4 * width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.final_norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.out = nn.Parameter(0.02 * torch.randn(channels, num_levels, width))
        self.out_bias = nn.Parameter(torch.zeros(channels, num_levels))
        beyond = torch.arange(num_levels) >= torch.tensor(levels).unsqueeze(1)
        self.register_buffer("beyond", beyond, persistent=False)  # (C, K): no levels of that code

    def logits(self, features: Tensor, codes: Tensor, *, as_sampled: bool = False) -> Tensor:
        """Features (N, D) and codes (N, C) -> (N, C, K), float32: row i says of code i, having seen those before.

        Args:
            as_sampled: tell the first step its number too, as the authors' sampler does and their training does not.
        """
        told = self.tell(features)
        first = told[:, :1] if as_sampled else told[:, :1] - self.steps[0]
        hidden = torch.cat([first, self.embedded(codes[:, :-1])], dim=1) + self.positions
        for block in self.blocks:
            hidden = block(hidden, told)
        logits = torch.einsum("nce,cke->nck", self.normed(hidden, told), self.out) + self.out_bias
        return logits.float().masked_fill(self.beyond, -torch.inf)

    def tell(self, features: Tensor) -> Tensor:
        """Features (N, D) -> what each step is told, (N, C, E)."""
        return self.condition(features.to(self.condition.weight.dtype)).unsqueeze(1) + self.steps

    def new_caches(self, count: int) -> list[KvCache]:
        """Room for the codes of `count` tokens, for every block."""
        width = self.positions.shape[1]
        heads = [block.attn.num_heads for block in self.blocks]  # type: ignore[union-attr]
        return [KvCache(count, each, self.channels, width // each, self.positions) for each in heads]  # type: ignore[operator, arg-type]

    def next_logits(self, step: int, before: Tensor | None, told: Tensor, caches: list[KvCache]) -> Tensor:
        """The code before (N,), None at step 0, and what all steps are told (N, C, E) -> (N, K), float32.

        The caches hold what the steps before left.
        """
        now = told[:, step : step + 1]
        hidden = (now if before is None else self.embed[step - 1][before].unsqueeze(1)) + self.positions[step]
        for block, cache in zip(self.blocks, caches, strict=True):
            hidden = block(hidden, now, cache)
        logits = F.linear(self.normed(hidden, now).squeeze(1), self.out[step], self.out_bias[step])
        return logits.float().masked_fill(self.beyond[step], -torch.inf)

    def sample(self, features: Tensor, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Codes (N, C) of features (N, D)."""
        told, caches = self.tell(features), self.new_caches(len(features))
        drawn: list[Tensor] = []
        for step in range(self.channels):
            logits = self.next_logits(step, drawn[-1] if drawn else None, told, caches)
            drawn.append(draw(logits, temperature=temperature, generator=generator))
        return torch.stack(drawn, dim=1)

    def embedded(self, codes: Tensor) -> Tensor:
        """The first codes (N, n), each from the table of its own channel, (N, n, E)."""
        return self.embed[torch.arange(codes.shape[1], device=codes.device), codes]

    def normed(self, hidden: Tensor, told: Tensor) -> Tensor:
        """What the last block gives (N, n, E) as the outputs read it."""
        scale, shift = self.modulation(F.silu(told)).chunk(2, dim=-1)  # the blocks have the shift first
        return self.final_norm(self.norm(hidden)) * (1 + scale) + shift
