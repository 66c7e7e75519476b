"""The plain pre-norm transformer block. B batch, L tokens, D width."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention with biases. arXiv:1706.03762, section 3.2.2.

    Shapes:
        hidden (B, L, D) -> (B, L, D); mask broadcastable to (B, heads, L, L), bool, True = may attend.
        With `last`, only so many tokens at the end ask and come back, (B, last, D); all are read.

    The rows of `qkv` are queries, keys, values; inside each, heads are contiguous.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"width {dim} must be a multiple of the {num_heads} heads")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, hidden: Tensor, mask: Tensor | None = None, *, last: int | None = None) -> Tensor:
        if last is None:
            query, key, value = self._heads(self.qkv(hidden))
        else:
            dim = hidden.shape[2]
            (query,) = self._heads(F.linear(hidden[:, -last:], self.qkv.weight[:dim], self.qkv.bias[:dim]))
            key, value = self._heads(F.linear(hidden, self.qkv.weight[dim:], self.qkv.bias[dim:]))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def _heads(self, stacked: Tensor) -> tuple[Tensor, ...]:
        """(B, L, n * D) -> n of (B, heads, L, D / heads)."""
        heads = stacked.unflatten(-1, (-1, self.num_heads, self.proj.in_features // self.num_heads))
        return heads.permute(2, 0, 3, 1, 4).unbind(0)


class Mlp(nn.Module):
    """Linear, exact (erf) GELU, Linear."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(hidden)))


class TanhMlp(Mlp):
    """The same with the tanh approximation of GELU. arXiv:1606.08415, section 2."""

    def forward(self, hidden: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(hidden), approximate="tanh"))


class TransformerBlock(nn.Module):
    """x += Attention(LN x); x += MLP(LN x). The ViT block, arXiv:2010.11929, eqs. 2 and 3."""

    def __init__(self, dim: int, num_heads: int, *, mlp_ratio: float = 4.0, eps: float = 1e-5):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, hidden: Tensor, mask: Tensor | None = None, *, last: int | None = None) -> Tensor:
        """`last`: only so many tokens at the end are made and returned; they read all."""
        mixed = self.attn(self.norm1(hidden), mask, last=last)
        hidden = (hidden if last is None else hidden[:, -last:]) + mixed
        return hidden + self.mlp(self.norm2(hidden))


class ScaledTransformerBlock(TransformerBlock):
    """The same with a learned factor per channel on each branch. DINOv2, arXiv:2304.07193, after arXiv:2103.17239."""

    def __init__(self, dim: int, num_heads: int, *, mlp_ratio: float = 4.0, eps: float = 1e-6, scale: float = 1e-5):
        super().__init__(dim, num_heads, mlp_ratio=mlp_ratio, eps=eps)
        self.scale1 = nn.Parameter(torch.full((dim,), scale))
        self.scale2 = nn.Parameter(torch.full((dim,), scale))

    def forward(self, hidden: Tensor, mask: Tensor | None = None, *, last: int | None = None) -> Tensor:
        mixed = self.attn(self.norm1(hidden), mask, last=last) * self.scale1
        hidden = (hidden if last is None else hidden[:, -last:]) + mixed
        return hidden + self.mlp(self.norm2(hidden)) * self.scale2
