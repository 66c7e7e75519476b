"""Two streams, tokens of a picture and of a text, that attend together. B batch, L, T their tokens, D width."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.generators.conditions import Text
from tokzoo.layers.transformer import TanhMlp


def normed(hidden: Tensor) -> Tensor:
    """LayerNorm without parameters."""
    return F.layer_norm(hidden, hidden.shape[-1:], eps=1e-6)


class Stream(nn.Module):
    """One stream's half of a block; of the last block's text, whose output nobody reads, only what is attended to.

    What `modulation` says of the condition shifts, scales and gates it.
    """

    def __init__(self, dim: int, *, last: bool):
        super().__init__()
        self.modulation = nn.Linear(dim, (2 if last else 6) * dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = None if last else nn.Linear(dim, dim)
        self.mlp = None if last else TanhMlp(dim, 4 * dim)

    def ask(self, hidden: Tensor, said: Tensor) -> Tensor:
        """-> queries, keys, values (B, L, 3 D)."""
        shift, scale = said.chunk(2, dim=-1)[::-1] if self.proj is None else said.chunk(6, dim=-1)[:2]
        return self.qkv(normed(hidden) * (1 + scale) + shift)  # the last block's scale stands before its shift

    def take(self, hidden: Tensor, mixed: Tensor, said: Tensor) -> Tensor:
        """Adds what attention mixed for it, then the MLP's."""
        if self.proj is None or self.mlp is None:
            return hidden
        _, _, gate1, shift, scale, gate2 = said.chunk(6, dim=-1)
        hidden = hidden + gate1 * self.proj(mixed)
        return hidden + gate2 * self.mlp(normed(hidden) * (1 + scale) + shift)


class JointBlock(nn.Module):
    """MM-DiT's block, arXiv:2403.03206, figure 2.

    Shapes:
        hidden (B, L, D), text (B, T, D), told (B, 1, D) -> the same two
    """

    def __init__(self, dim: int, num_heads: int, *, last: bool):
        super().__init__()
        self.num_heads = num_heads
        self.image = Stream(dim, last=False)
        self.text = Stream(dim, last=last)

    def forward(self, hidden: Tensor, text: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        of_image, of_text = self.image.modulation(told), self.text.modulation(told)
        stacked = torch.cat([self.image.ask(hidden, of_image), self.text.ask(text, of_text)], dim=1)
        query, key, value = stacked.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)  # (B, L + T, D)
        length = hidden.shape[1]
        return self.image.take(hidden, mixed[:, :length], of_image), self.text.take(text, mixed[:, length:], of_text)


class JointTransformer(nn.Module):
    """Blocks of both streams, told the pooled text and the score, and a norm that is told them too.

    Shapes:
        hidden (B, L, D), a packed caption, waves (B, score_dim) -> (B, L, D)
    """

    def __init__(self, dim: int, depth: int, num_heads: int, *, text_dim: int, score_dim: int):
        super().__init__()
        self.text = nn.Linear(text_dim, dim)
        self.pooled = nn.Linear(text_dim + score_dim, dim)
        self.blocks = nn.ModuleList(JointBlock(dim, num_heads, last=number == depth - 1) for number in range(depth))
        self.modulation = nn.Linear(dim, 2 * dim)

    def forward(self, hidden: Tensor, caption: Text, waves: Tensor) -> Tensor:
        features, pooled = caption.features[:, :-1], caption.features[:, -1]
        told = F.silu(self.pooled(torch.cat([pooled, waves.to(pooled)], dim=1))).unsqueeze(1)
        text = self.text(features)
        for block in self.blocks:
            hidden, text = block(hidden, text, told)
        scale, shift = self.modulation(told).chunk(2, dim=-1)
        return normed(hidden) * (1 + scale) + shift
