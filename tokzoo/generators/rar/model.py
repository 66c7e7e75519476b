"""An autoregressive transformer that learned many orders. B batch, L tokens, D width, V values of a token."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.generators.autoregressive import Autoregressive
from tokzoo.generators.conditions import Condition, Labels, drop
from tokzoo.generators.rar.config import RarConfig
from tokzoo.generators.sampling import score
from tokzoo.layers.causal import CausalAttention, KvCache
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

    def forward(self, hidden: Tensor, condition: Tensor, cache: KvCache | None = None) -> Tensor:
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

    def next_logits(self, fresh: Tensor, condition: Condition, caches: list[KvCache]) -> Tensor:
        seen = max(caches[0].used - 2, 0) + fresh.shape[1]
        orders = torch.arange(seen + 1, device=fresh.device).expand(len(fresh), -1)
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
        """Mean of -log p over all words, in nats; `random_orders` is the share of samples read in one, not raster."""
        ids, condition = self._pair(tokens, labels)
        if label_dropout:
            condition = drop(condition, self.null(condition), label_dropout, generator)
        keys = torch.rand(ids.shape, device=ids.device, generator=generator)
        shuffled = torch.rand(len(ids), 1, device=ids.device, generator=generator) < random_orders
        raster = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        orders = torch.where(shuffled, keys.argsort(dim=1), raster)
        logits = self._possible(self.logits(ids, condition, orders), orders)
        return -score(logits, ids.gather(1, orders)).mean()

    def _forward(self, fresh: Tensor, condition: Condition, orders: Tensor, caches: list[KvCache] | None) -> Tensor:
        """Start and class, if the caches do not hold them, and tokens (B, n) in their order -> what the head reads.

        `orders` (B, one more than the tokens so far, unless these are all) says where each lies and the next will.
        """
        assert isinstance(condition, Tensor)
        begun = caches[0].used if caches else 0
        classes = self.embed(condition + self.config.codebook_size + 1).unsqueeze(1)  # (B, 1, D)
        seen = max(begun - 2, 0)
        told = seen + fresh.shape[1]
        hidden = self.embed(fresh) + self.positions[2 + orders[:, seen:told]]
        if begun:
            hidden = hidden + self.target_positions[2 + orders[:, seen + 1 : told + 1]]
        else:
            targets = self.target_positions[2 + orders[:, : told + 1]]  # from the class on, each is told the next place
            targets = F.pad(targets, (0, 0, 0, told + 1 - targets.shape[1]))  # after the last token there is none
            first = (self.start + self.positions[0]).expand_as(classes)
            hidden = torch.cat([first, torch.cat([classes + self.positions[1], hidden], dim=1) + targets], dim=1)
        told_steps = classes + self.steps[begun : begun + hidden.shape[1]]
        for layer, block in enumerate(self.blocks):
            hidden = block(hidden, told_steps, caches[layer] if caches else None)
        scale, shift = self.modulation(F.silu(told_steps)).chunk(2, dim=-1)  # the blocks have the shift first
        return self.norm(hidden) * (1 + scale) + shift
