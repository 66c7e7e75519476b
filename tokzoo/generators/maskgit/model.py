"""Transformers that fill in masked words, many at a time. B batch, W words, D width, V ids of a word."""

import math

import torch
from torch import Tensor, nn

from tokzoo.generators.conditions import Condition
from tokzoo.generators.fill_in import FillIn
from tokzoo.generators.maskgit.config import MaskgitConfig
from tokzoo.layers.transformer import Attention, Mlp, TransformerBlock


class PostNormBlock(nn.Module):
    """x = LN(x + Attention x); x = LN(x + MLP x). arXiv:1810.04805."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, eps: float = 1e-12):
        super().__init__()
        self.attn = Attention(dim, num_heads)
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, mlp_dim)
        self.norm2 = nn.LayerNorm(dim, eps=eps)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.norm1(hidden + self.attn(hidden))
        return self.norm2(hidden + self.mlp(hidden))


class Bert(nn.Module):
    """A stack of post-norm blocks, of which the input is normed too."""

    def __init__(self, dim: int, depth: int, num_heads: int, mlp_dim: int):
        super().__init__()
        self.norm_in = nn.LayerNorm(dim, eps=1e-12)
        self.blocks = nn.ModuleList(PostNormBlock(dim, num_heads, mlp_dim) for _ in range(depth))

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.norm_in(hidden)
        for block in self.blocks:
            hidden = block(hidden)
        return hidden


class UVit(nn.Module):
    """Blocks in two halves, each of the second reading what its mirror in the first said. arXiv:2209.12152."""

    def __init__(self, dim: int, depth: int, num_heads: int, mlp_dim: int):
        super().__init__()
        self.first, self.middle, self.second = (
            nn.ModuleList(_without_qkv_bias(dim, num_heads, mlp_dim) for _ in range(count))
            for count in (depth // 2, 1, depth // 2)
        )
        self.skips = nn.ModuleList(nn.Linear(2 * dim, dim) for _ in range(depth // 2))
        self.norm = nn.LayerNorm(dim)

    def forward(self, hidden: Tensor) -> Tensor:
        said = []
        for block in self.first:
            hidden = block(hidden)
            said.append(hidden)
        hidden = self.middle[0](hidden)
        for skip, block in zip(self.skips, self.second, strict=True):
            hidden = block(skip(torch.cat([hidden, said.pop()], dim=-1)))
        return self.norm(hidden)


def _without_qkv_bias(dim: int, num_heads: int, mlp_dim: int) -> TransformerBlock:
    block = TransformerBlock(dim, num_heads, mlp_ratio=mlp_dim / dim)
    block.attn.qkv = nn.Linear(dim, 3 * dim, bias=False)
    return block


class Maskgit(FillIn):
    """p(masked words | class, the others), each alone. arXiv:2202.04200.

    `embed` holds words, the mask, classes, and no class.
    """

    def __init__(self, config: MaskgitConfig):
        super().__init__(config)
        if config.grid is not None and math.prod(config.grid) != config.num_tokens:
            raise ValueError(f"a grid of {config.grid} is not {config.num_tokens} tokens")
        self.embed = nn.Embedding(config.codebook_size + 1 + config.num_classes + config.null_class, config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(config.num_tokens + 1, config.width))
        build = Bert if config.backbone == "bert" else UVit
        self.backbone = build(config.width, config.depth, config.num_heads, config.mlp_dim)
        self.head = nn.Linear(config.width, config.codebook_size)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=0.02)

    def logits(self, ids: Tensor, condition: Condition) -> Tensor:
        assert isinstance(condition, Tensor)
        read = torch.cat([condition.unsqueeze(1) + self.config.codebook_size + 1, ids], dim=1)
        hidden = self.embed(read) + self.positions[: read.shape[1]]
        return self.head(self.backbone(hidden)[:, 1:]).float()
