"""An autoregressive transformer that learned many orders. B batch, L tokens, D width, V values of a token."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.generators.autoregressive import Autoregressive
from tokzoo.generators.conditions import Condition, Labels, drop
from tokzoo.generators.rar.config import RarConfig
from tokzoo.generators.sampling import score
from tokzoo.layers.causal import Cache, CausalAttention, KvCache
from tokzoo.layers.transformer import Mlp
from tokzoo.tokens import Tokens


class ModulatedBlock(nn.Module):
    """The pre-norm block, shifted, scaled and gated by a condition that each token has of its own. arXiv:2212.09748."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = CausalAttention(dim, num_heads, bias=True, normalize_heads=True)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, mlp_dim)
        self.modulation = nn.Linear(dim, 6 * dim)

    def forward(self, hidden: Tensor, condition: Tensor, cache: Cache | None = None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(condition)).chunk(6, dim=-1)
        hidden = hidden + gate1 * self.attn(self.norm1(hidden) * (1 + scale1) + shift1, cache=cache)
        return hidden + gate2 * self.mlp(self.norm2(hidden) * (1 + scale2) + shift2)


class Rar(Autoregressive):
    """p(tokens) over any order of them, each told the place of the token that it is to say. arXiv:2411.00776.

    The sequence is a start token, the class, then the tokens in their order; the class says the first of them.
    `embed` holds codes, an unused mask, classes, and no class.
    """

    def __init__(self, config: RarConfig):
        super().__init__(config)
        if config.grid is not None and math.prod(config.grid) != config.num_tokens:
            raise ValueError(f"a grid of {config.grid} is not {config.num_tokens} tokens")
        dim, length = config.width, config.num_tokens + 2
        places, steps = config.extra_positions
        self.embed = nn.Embedding(config.codebook_size + 1 + config.num_classes + config.null_class, dim)
        self.start = nn.Parameter(0.02 * torch.randn(dim))
        self.positions = nn.Parameter(0.02 * torch.randn(length + places, dim))
        self.target_positions = nn.Parameter(0.02 * torch.randn(length + places, dim))
        self.steps = nn.Parameter(0.02 * torch.randn(length + steps, dim))
        self.blocks = nn.ModuleList(ModulatedBlock(dim, config.num_heads, config.mlp_dim) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Linear(dim, 2 * dim)
        self.head = nn.Linear(dim, config.codebook_size)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=0.02)

    def logits(self, ids: Tensor, condition: Condition, orders: Tensor | None = None) -> Tensor:
        """Ids (B, W), raster, -> (B, W, V), float32; with `orders` (B, W), row k says of word orders[k]."""
        if orders is None:
            orders = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        fresh = ids.gather(1, orders)[:, :-1]
        return self.head(self._forward(fresh, condition, orders, None)[:, 1:]).float()

    def next_logits(
        self, fresh: Tensor, condition: Condition, caches: Sequence[Cache], orders: Tensor | None = None
    ) -> Tensor:
        if orders is None:
            orders = torch.arange(self.config.num_tokens, device=fresh.device).expand(len(fresh), -1)
        return self.head(self._forward(fresh, condition, orders, caches)[:, -1]).float()

    def new_caches(self, batch: int, length: int) -> list[KvCache]:
        config: RarConfig = self.config
        head_dim = config.width // config.num_heads
        return [KvCache(batch, config.num_heads, length + 1, head_dim, self.start) for _ in range(config.depth)]

    def loss(  # type: ignore[override]
        self,
        tokens: Tokens,
        labels: Labels,
        *,
        random_orders: float = 0.0,
        label_dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Mean of -log p over all words that count, in nats; `random_orders` is the share of samples read in one."""
        ids, condition = self._pair(tokens, labels)
        if label_dropout:
            condition = drop(condition, self.null(condition), label_dropout, generator)
        counts = self._counted(tokens, ids)
        keys = torch.rand(ids.shape, device=ids.device, generator=generator) + (1 - counts)  # what does not count: last
        shuffled = torch.rand(len(ids), 1, device=ids.device, generator=generator) < random_orders
        raster = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        orders = torch.where(shuffled, keys.argsort(dim=1), raster)
        logits = self._possible(self.logits(ids, condition, orders), orders)
        scores = score(logits, ids.gather(1, orders)) * counts.gather(1, orders)
        return -scores.sum() / counts.sum()

    def _begin(self, given: Tokens | None, count: int, length: int) -> tuple[Tensor, Tensor | None]:
        """Given tokens may lie anywhere: they are read first, and the rest is made after them in raster order.

        Published weights were trained on raster order alone in the end, so that a prefix suits them best.
        """
        if not isinstance(given, Tokens) or given.valid is None or bool(given.valid.all()):
            return super()._begin(given, count, length)
        ids = self._given_ids(given, given.num_tokens, count, length)
        kept = given.valid.to(ids.device).repeat_interleave(len(self.words.sizes), 1).expand_as(ids)
        known = int(kept[0].sum())
        if not bool((kept.sum(1) == known).all()):
            raise ValueError(f"as many tokens must be given in each sample; got {given.valid.sum(1).tolist()[:8]}")
        ids, kept = (F.pad(part, (0, length - part.shape[1])) for part in (ids, kept))
        orders = (~kept).to(torch.uint8).argsort(dim=1, stable=True)
        raster = bool((orders[:, 1:] > orders[:, :-1]).all())
        return ids.gather(1, orders)[:, :known], None if raster else orders

    def _forward(self, fresh: Tensor, condition: Condition, orders: Tensor, caches: Sequence[Cache] | None) -> Tensor:
        """Start and class, if the caches do not hold them, and tokens (B, n) in their order -> what the head reads.

        `orders` (B, W) says where all tokens lie, in the order in which they are read.
        """
        assert isinstance(condition, Tensor)
        classes = self.embed(condition + self.config.codebook_size + 1).unsqueeze(1)  # (B, 1, D)
        hidden = self.embed(fresh)
        if caches is None or caches[0].empty:
            hidden = torch.cat([self.start.expand_as(classes), classes, hidden], dim=1)
        new = hidden.shape[1]
        places = torch.arange(new, device=fresh.device) if caches is None else caches[0].places(new)
        first = torch.arange(2, device=fresh.device).expand(len(orders), -1)
        lies = torch.cat([first, 2 + orders], dim=1)[:, places]
        following = F.pad(2 + orders, (1, 1))[:, places]  # 0, of no token, for the start and behind the last
        targets = self.target_positions[following].masked_fill(following.unsqueeze(-1) == 0, 0)
        hidden = hidden + self.positions[lies] + targets
        told_steps = classes + self.steps[places]
        for layer, block in enumerate(self.blocks):
            hidden = block(hidden, told_steps, caches[layer] if caches else None)
        scale, shift = self.modulation(F.silu(told_steps)).chunk(2, dim=-1)  # the blocks have the shift first
        return self.norm(hidden) * (1 + scale) + shift
