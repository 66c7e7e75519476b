"""Attention to what came before, and the memory that makes a step cost one token. B batch, L tokens, D width."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KvCache:
    """Keys and values of one layer, in room that is taken once: (B, heads, length, head_dim) each.

    What is there is read as views that grow, so that early tokens cost less than late ones.
    """

    def __init__(self, batch: int, num_heads: int, length: int, head_dim: int, like: Tensor):
        self.keys = like.new_empty(batch, num_heads, length, head_dim)
        self.values = torch.empty_like(self.keys)
        self.used = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is there yet."""
        return not self.used

    def places(self, count: int) -> Tensor:
        """Where the next `count` tokens go, int64 (count,)."""
        return torch.arange(self.used, self.used + count, device=self.keys.device)

    def reach(self, count: int) -> int:
        """How many places attention reads when `count` more are there."""
        return self.used + count

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Writes (B, heads, n, head_dim) behind what is there; all that is there now, as views.

        Raises:
            ValueError: no room left.
        """
        end = self.used + key.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"the cache holds {self.keys.shape[2]} tokens; {end} were to be kept")
        self.keys[:, :, self.used : end] = key
        self.values[:, :, self.used : end] = value
        self.used = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Keeps key and value (B, heads, n, head_dim); what query, of the same shape, finds in all that is there.

        Raises:
            ValueError: no room left, or several tokens at once behind others, without a mask.
        """
        key, value = self.append(key, value)
        causal = mask is None and query.shape[2] > 1
        if causal and key.shape[2] != query.shape[2]:
            raise ValueError("several tokens at once go into an empty cache; later ones one by one")
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)


class PlacedCache:
    """The room of a `KvCache`, where the next token goes to a place that is a tensor: one graph for all places.

    Attention reads the whole room, of which what lies behind the place is hidden: nothing in it may be NaN.

    Args:
        cache: whose room it is, with what is in it.
        place: int64 (1,), of the next token, on the device; all layers share it.
    """

    empty = False

    def __init__(self, cache: KvCache, place: Tensor):
        self.keys, self.values, self.place = cache.keys, cache.values, place

    def places(self, count: int) -> Tensor:
        """Where the next token goes, int64 (1,)."""
        assert count == 1
        return self.place

    def reach(self, count: int) -> int:
        """How many places attention reads: all."""
        return self.keys.shape[2]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Keeps key and value (B, heads, 1, head_dim); what query, of the same shape, finds up to its place.

        Sums of products, not a matrix product: with one query a compiler makes one loop over the memory of each.
        """
        self.keys.index_copy_(2, self.place, key)
        self.values.index_copy_(2, self.place, value)
        seen = torch.arange(self.keys.shape[2], device=self.place.device) <= self.place  # (room,)
        if mask is not None:
            seen = seen & mask[:, :, 0]  # (B, 1, room)
        scores = (query.float() * self.keys.float()).sum(-1) * query.shape[-1] ** -0.5  # (B, heads, room)
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        return (weights.unsqueeze(-1) * self.values.float()).sum(2, keepdim=True).to(query.dtype)


Cache = KvCache | PlacedCache


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) in float32, then a learned factor per channel. arXiv:1910.07467."""

    def __init__(self, dim: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, hidden: Tensor) -> Tensor:
        return F.rms_norm(hidden.float(), hidden.shape[-1:], eps=self.eps).to(hidden.dtype) * self.weight


def grid_rotations(height: int, width: int, head_dim: int, base: float = 10000.0) -> Tensor:
    """Cosine and sine for the cells of a grid, row-major, (height * width, head_dim / 2, 2). arXiv:2104.09864 in 2D.

    The first half of the channel pairs turns with the row, the second with the column.
    """
    frequencies = base ** (-torch.arange(0, head_dim // 2, 2).float() / (head_dim // 2))  # (head_dim / 4,)
    row = torch.arange(height).float()[:, None] * frequencies
    column = torch.arange(width).float()[:, None] * frequencies
    angles = torch.cat(
        [row[:, None].expand(-1, width, -1), column[None].expand(height, -1, -1)], dim=-1
    )  # (height, width, head_dim / 2)
    return torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(0, 1)


def rotate(heads: Tensor, rotations: Tensor) -> Tensor:
    """Turns pairs of adjacent channels: heads (B, heads, L, head_dim), rotations (L, head_dim / 2, 2)."""
    first, second = heads.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = rotations.unbind(-1)
    turned = torch.stack([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    return turned.flatten(-2).to(heads.dtype)


class CausalAttention(nn.Module):
    """Multi-head attention of each token to itself and those before it.

    Args:
        bias: of all linear maps.
        normalize_heads: queries and keys pass a LayerNorm per head (eps 1e-6). arXiv:2302.05442, section 2.

    Shapes:
        hidden (B, L, D) -> (B, L, D); rotations (L, head_dim / 2, 2); mask (B or 1, 1, L, all), bool, True = may
        attend, in place of the causal one. With a cache, hidden are the next L tokens, and those in it are read too.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    def __init__(self, dim: int, num_heads: int, *, bias: bool, normalize_heads: bool = False):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"width {dim} must be a multiple of the {num_heads} heads")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim, bias=bias)
        head_dim = dim // num_heads
        self.query_norm = nn.LayerNorm(head_dim, eps=1e-6) if normalize_heads else nn.Identity()
        self.key_norm = nn.LayerNorm(head_dim, eps=1e-6) if normalize_heads else nn.Identity()

    def forward(
        self,
        hidden: Tensor,
        *,
        rotations: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        query, key, value = self.qkv(hidden).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = self.query_norm(query), self.key_norm(key)  # (B, heads, L, head_dim)
        if rotations is not None:
            query, key = rotate(query, rotations), rotate(key, rotations)
        if cache is not None:
            mixed = cache.attend(query, key, value, mask)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        return self.proj(mixed.transpose(1, 2).flatten(2))
