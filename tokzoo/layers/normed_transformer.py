"""The transformer of FlexTok: norms without parameters, queries and keys of one length. B batch, L tokens, D width."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def plain_norm(hidden: Tensor) -> Tensor:
    """LayerNorm over the last dimension without parameters, eps 1e-5, in float32."""
    return F.layer_norm(hidden.float(), hidden.shape[-1:]).to(hidden.dtype)


class NormedAttention(nn.Module):
    """Self-attention without biases, of which queries and keys pass a LayerNorm per head.

    Logits are scaled by 8 / head_dim, after muP (arXiv:2203.03466, appendix B.1): the usual 1 / sqrt at 64.

    Shapes:
        hidden (B, L, D) -> (B, L, D); with `last_mask` (N, L), bool, the last N tokens read where it is True, and those
        before them read each other and none of the last.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"width {dim} must be a multiple of the {num_heads} heads")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim, bias=False)

    def forward(self, hidden: Tensor, last_mask: Tensor | None = None) -> Tensor:
        query, key, value = self.qkv(hidden).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = plain_norm(query), plain_norm(key)  # (B, heads, L, head_dim)
        scale = 8 / query.shape[-1]
        if last_mask is None:
            mixed = F.scaled_dot_product_attention(query, key, value, scale=scale)
        else:
            first = hidden.shape[1] - len(last_mask)
            queries, keys, values = (part[:, :, :first] for part in (query, key, value))
            before = F.scaled_dot_product_attention(queries, keys, values, scale=scale)
            after = F.scaled_dot_product_attention(query[:, :, first:], key, value, attn_mask=last_mask, scale=scale)
            mixed = torch.cat([before, after], dim=2)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class SwiGlu(nn.Module):
    """fc2(SiLU(fc1 x) * fc3 x) without biases. arXiv:2002.05202."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim, bias=False)
        self.fc2 = nn.Linear(hidden_dim, dim, bias=False)
        self.fc3 = nn.Linear(dim, hidden_dim, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.fc2(F.silu(self.fc1(hidden)) * self.fc3(hidden))


def swiglu_width(dim: int) -> int:
    """Width inside, at which three matrices weigh what the usual two of 4 D do."""
    return 2 * 4 * dim // 3


class NormedBlock(nn.Module):
    """x += Attention(LN x); x += SwiGLU(LN x)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.attn = NormedAttention(dim, num_heads)
        self.mlp = SwiGlu(dim, swiglu_width(dim))

    def forward(self, hidden: Tensor, last_mask: Tensor | None = None) -> Tensor:
        hidden = hidden + self.attn(plain_norm(hidden), last_mask)
        return hidden + self.mlp(plain_norm(hidden))


class ModulatedBlock(nn.Module):
    """The same, scaled, shifted and gated by a condition, each of several groups of tokens in its own way.

    adaLN, arXiv:2212.09748, section 3.2. The order in a group: gates of attention and MLP, then shift and scale of
    attention, then of the MLP.

    Args:
        num_groups: G.

    Shapes:
        hidden (B, L, D), modulation (6, T, L, D) with T of B or 1, of `modulate` and `spread` -> (B, L, D)
    """

    def __init__(self, dim: int, num_heads: int, *, num_groups: int):
        super().__init__()
        self.num_groups = num_groups
        self.attn = NormedAttention(dim, num_heads)
        self.mlp = SwiGlu(dim, swiglu_width(dim))
        self.modulation = nn.Linear(dim, num_groups * 6 * dim)

    def modulate(self, condition: Tensor) -> Tensor:
        """Condition (T, D), through a SiLU -> (T, G, 6, D)."""
        return self.modulation(F.silu(condition)).unflatten(-1, (self.num_groups, 6, -1))

    def forward(self, hidden: Tensor, modulation: Tensor) -> Tensor:
        gate_attn, gate_mlp, shift_attn, scale_attn, shift_mlp, scale_mlp = modulation.unbind(0)
        hidden = hidden + gate_attn * self.attn(plain_norm(hidden) * (1 + scale_attn) + shift_attn)
        return hidden + gate_mlp * self.mlp(plain_norm(hidden) * (1 + scale_mlp) + shift_mlp)


def spread(modulation: Tensor, groups: Tensor) -> Tensor:
    """Modulation (T, G, 6, D) to the tokens of each group; `groups` int64 (L,) says a token's -> (6, T, L, D)."""
    return modulation.permute(2, 0, 1, 3)[:, :, groups]
