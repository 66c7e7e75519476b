"""A Llama-style transformer over the tokens of a tokenizer. B batch, L tokens, T condition tokens, D width."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.generators.autoregressive import Autoregressive
from tokzoo.generators.conditions import Condition, Labels, Text
from tokzoo.generators.gpt.config import GptConfig
from tokzoo.layers.causal import Cache, CausalAttention, KvCache, RmsNorm, grid_rotations
from tokzoo.layers.normed_transformer import SwiGlu
from tokzoo.tokens import TokenSpec


class GptBlock(nn.Module):
    """x += Attention(RMS x); x += SwiGLU(RMS x), without biases. arXiv:2302.13971, section 2.2.

    `dropout` is the share of either sum that is left out in training.
    """

    def __init__(self, dim: int, num_heads: int, mlp_dim: int):
        super().__init__()
        self.dropout = 0.0
        self.norm1 = RmsNorm(dim)
        self.attn = CausalAttention(dim, num_heads, bias=False)
        self.norm2 = RmsNorm(dim)
        self.mlp = SwiGlu(dim, mlp_dim)

    def forward(self, hidden: Tensor, **where: Any) -> Tensor:
        hidden = hidden + F.dropout(self.attn(self.norm1(hidden), **where), self.dropout, self.training)
        return hidden + F.dropout(self.mlp(self.norm2(hidden)), self.dropout, self.training)


class TextProjection(nn.Module):
    """Linear, tanh-GELU, Linear, without biases; and the features that stand for no text."""

    null: Tensor

    def __init__(self, text_tokens: int, text_dim: int, dim: int):
        super().__init__()
        self.fc1 = nn.Linear(text_dim, dim, bias=False)
        self.fc2 = nn.Linear(dim, dim, bias=False)
        self.register_buffer("null", torch.randn(text_tokens, text_dim) / text_dim**0.5)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(features), approximate="tanh"))


class Gpt(Autoregressive):
    """p(tokens) = prod p(token i | condition, tokens before i). arXiv:2406.06525.

    Raises:
        ValueError: heads that cannot turn with a row and a column, or rotary positions without a grid.
    """

    rotations: Tensor | None
    block: type[nn.Module] = GptBlock

    def __init__(self, config: GptConfig):
        super().__init__(config)
        check_config(config)
        self.embed = self._new_embed()
        self.condition_embed: nn.Module = (
            TextProjection(config.text_tokens, config.text_dim, config.width)
            if config.text_tokens
            else nn.Embedding(config.num_classes + config.null_class, config.width)
        )
        self.positions: nn.Parameter | None = None
        rotations = None
        if config.positions == "learned":
            self.positions = nn.Parameter(0.02 * torch.randn(config.num_tokens, config.width))
        else:
            height, width = config.grid  # type: ignore[misc]
            turns = grid_rotations(height, width, config.width // config.num_heads)
            # condition tokens turn by zeros, not by the identity: their queries and keys vanish
            rotations = F.pad(turns, (0, 0, 0, 0, config.condition_tokens, 0))
        self.register_buffer("rotations", rotations, persistent=False)
        self.blocks = nn.ModuleList(
            self.block(config.width, config.num_heads, config.mlp_dim) for _ in range(config.depth)
        )
        self.norm = RmsNorm(config.width)
        self.head = self._new_head()
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        self._silence()

    @classmethod
    def fields_for(cls, spec: TokenSpec) -> dict[str, Any]:
        fields = super().fields_for(spec)
        on_plane = fields["grid"] is not None and len(fields["grid"]) == 2
        return fields | {"positions": "rotary" if on_plane else "learned"}

    def condition(self, labels: Labels) -> Condition:
        config: GptConfig = self.config
        if not config.text_tokens:
            return super().condition(labels)
        if not isinstance(labels, Text):
            raise ValueError(f"this generator takes Text(features, valid); got {type(labels).__name__}")
        shape = (len(labels.features), config.text_tokens, config.text_dim)
        if labels.features.shape != shape or labels.valid.shape != shape[:2]:
            raise ValueError(
                f"text features must be (B, {shape[1]}, {shape[2]}) and valid (B, {shape[1]}); "
                f"got {tuple(labels.features.shape)} and {tuple(labels.valid.shape)}"
            )
        return Text(labels.features.to(self.device, self.dtype), labels.valid.to(self.device).bool())

    def null(self, condition: Condition) -> Condition:
        if not isinstance(condition, Text):
            return super().null(condition)
        null: Tensor = self.condition_embed.null  # type: ignore[assignment]
        return Text(null.to(condition.features).expand_as(condition.features), condition.valid)

    def logits(self, ids: Tensor, condition: Condition) -> Tensor:
        hidden = self._forward(ids[:, :-1], condition, None)
        return self.head(hidden[:, self.config.condition_tokens - 1 :]).float()

    def next_logits(self, fresh: Tensor, condition: Condition, caches: Sequence[Cache]) -> Tensor:
        return self.head(self._forward(fresh, condition, caches)[:, -1]).float()

    def new_caches(self, batch: int, length: int) -> list[KvCache]:
        config: GptConfig = self.config
        room = config.condition_tokens + length
        head_dim = config.width // config.num_heads
        like = next(self.parameters())
        return [KvCache(batch, config.num_heads, room, head_dim, like) for _ in range(config.depth)]

    def _new_embed(self) -> nn.Module:
        """Indices (B, n) -> (B, n, D)."""
        return nn.Embedding(self.config.codebook_size, self.config.width)

    def _new_head(self) -> nn.Module:
        """Hidden vectors -> logits."""
        return nn.Linear(self.config.width, self.config.codebook_size, bias=False)

    def _silence(self) -> None:
        """An untrained model says that all tokens are as likely."""
        nn.init.zeros_(self.head.weight)  # type: ignore[arg-type]

    def _forward(self, fresh: Tensor, condition: Condition, caches: Sequence[Cache] | None) -> Tensor:
        """The condition, if the caches do not hold it, and tokens (B, n) -> normed hidden vectors."""
        first, count = self.config.condition_tokens, fresh.shape[1]
        hidden = self.embed(fresh)
        begins = caches is None or caches[0].empty
        new = count + first if begins else count
        places = torch.arange(new, device=fresh.device) if caches is None else caches[0].places(new)
        if self.positions is not None:
            hidden = hidden + self.positions[places[new - count :] - first]
        if begins:
            hidden = torch.cat([self._embed_condition(condition), hidden], dim=1)  # (B, T + n, D)
        rotations = None if self.rotations is None else self.rotations[places]
        mask = None
        if isinstance(condition, Text):
            mask = self._mask(condition.valid, places, new if caches is None else caches[0].reach(new))
        return self._through(hidden, condition, caches, rotations=rotations, mask=mask)

    def _through(self, hidden: Tensor, condition: Condition, caches: Sequence[Cache] | None, **where: Any) -> Tensor:
        """All blocks and the norm behind them."""
        for layer, block in enumerate(self.blocks):
            hidden = block(hidden, cache=caches[layer] if caches else None, **where)
        return self.norm(hidden)

    def _embed_condition(self, condition: Condition) -> Tensor:
        if isinstance(condition, Text):
            return self.condition_embed(condition.features)
        return self.condition_embed(condition).unsqueeze(1)

    def _mask(self, valid: Tensor, places: Tensor, reach: int) -> Tensor:
        """(B, 1, n, reach) of tokens at `places` (n,): what came before, without padded text; each reads itself."""
        rows, columns = places[:, None], torch.arange(reach, device=valid.device)
        counts = F.pad(valid, (0, max(reach - valid.shape[1], 0)), value=True)[:, None, :reach]  # (B, 1, reach)
        return (((columns <= rows) & counts) | (columns == rows)).unsqueeze(1)


def check_config(config: GptConfig) -> None:
    """Raises ValueError where sizes do not fit each other."""
    if config.grid is not None and math.prod(config.grid) != config.num_tokens:
        raise ValueError(f"a grid of {config.grid} is not {config.num_tokens} tokens")
    if config.width % config.num_heads:
        raise ValueError(f"width {config.width} must be a multiple of the {config.num_heads} heads")
    if config.positions == "rotary":
        if config.grid is None or len(config.grid) != 2:
            raise ValueError("rotary positions turn with row and column: tokens elsewhere take positions='learned'")
        if config.width // config.num_heads % 4:
            raise ValueError(f"heads must be a multiple of 4 wide to turn; got {config.width // config.num_heads}")
