"""A transformer that says whole planes of tokens, coarse ones first. B batch, L tokens, S scales, C code_dim, D width.

The tokens of a scale see all coarser ones and each other, and are drawn at once: there are as many passes as scales.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.generators.autoregressive import Autoregressive
from tokzoo.generators.conditions import Condition, Labels, join, repeat, size
from tokzoo.generators.sampling import Knobs, guide
from tokzoo.generators.var.config import VarConfig
from tokzoo.generators.words import Words
from tokzoo.layers.causal import KvCache
from tokzoo.layers.transformer import TanhMlp
from tokzoo.quantizers.multi_scale import MultiScaleQuantizer
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Pyramid, Tokens, TokenSpec

MAX_LOG_SCALE = 4.605170185988092  # logits are at most 100 times a cosine


class CosineAttention(nn.Module):
    """Attention of which the logits are cosines of query and key, times a learned factor per head. arXiv:2111.09883.

    Shapes:
        hidden (B, L, D) -> (B, L, D); mask (L, all), bool, True = may attend. With a cache, hidden are the next L
        tokens, which read all in it and each other.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    key_bias: Tensor

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"width {dim} must be a multiple of the {num_heads} heads")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.query_bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("key_bias", torch.zeros(dim))  # not learned: zeros in every published file
        self.value_bias = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.full((num_heads, 1, 1), 4.0).log())
        self.proj = nn.Linear(dim, dim)

    def forward(self, hidden: Tensor, *, mask: Tensor | None = None, cache: KvCache | None = None) -> Tensor:
        bias = torch.cat([self.query_bias, self.key_bias, self.value_bias])
        stacked = F.linear(hidden, self.qkv.weight, bias)
        query, key, value = stacked.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query = F.normalize(query, dim=-1) * self.log_scale.clamp(max=MAX_LOG_SCALE).exp()
        key = F.normalize(key, dim=-1)  # (B, heads, L, head_dim)
        if cache is not None:
            key, value = cache.append(key, value)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class VarBlock(nn.Module):
    """x += g1 * Attention(LN(x) (1 + s1) + t1); the same with the MLP. g, s, t of the class. arXiv:2212.09748.

    With `shared`, the map of the class lies outside, and the block adds a vector of its own to what it says.
    """

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, *, shared: bool):
        super().__init__()
        self.attn = CosineAttention(dim, num_heads)
        self.mlp = TanhMlp(dim, mlp_dim)
        self.modulation: nn.Module = nn.Identity() if shared else nn.Linear(dim, 6 * dim)
        self.offset = nn.Parameter(torch.randn(6 * dim) / dim**0.5) if shared else None

    def forward(self, hidden: Tensor, told: Tensor, **where: Any) -> Tensor:
        """`told` (B, 1, D) is the class through a SiLU; with `shared`, what the common map makes of it, (B, 1, 6 D)."""
        said = self.modulation(told) if self.offset is None else told + self.offset
        gate1, gate2, scale1, scale2, shift1, shift2 = said.chunk(6, dim=-1)
        hidden = hidden + gate1 * self.attn(normed(hidden) * (1 + scale1) + shift1, **where)
        return hidden + gate2 * self.mlp(normed(hidden) * (1 + scale2) + shift2)


def normed(hidden: Tensor) -> Tensor:
    """LayerNorm without parameters."""
    return F.layer_norm(hidden, hidden.shape[-1:], eps=1e-6)


class Var(Autoregressive):
    """p(tokens) = prod over scales p(scale k | class, scales before k), its tokens each alone. arXiv:2404.02905.

    What it reads of scales is the tokenizer's sum of codes, shrunk to the size of the next: `read_tokenizer` gives it
    the quantizer, which is no part of its state dict.
    """

    scale_of: Tensor
    mask: Tensor

    def __init__(self, config: VarConfig):
        super().__init__(config)
        dim = config.width
        self._quantizer: tuple[MultiScaleQuantizer, ...] = ()  # in a tuple it is no submodule
        self.embed = nn.Linear(config.code_dim, dim)
        self.condition_embed = nn.Embedding(config.num_classes + config.null_class, dim)
        self.start = nn.Parameter(0.02 * torch.randn(config.scales[0] ** 2, dim))
        self.positions = nn.Parameter(0.02 * torch.randn(config.num_tokens, dim))
        self.scale_embed = nn.Embedding(len(config.scales), dim)
        self.modulation = nn.Linear(dim, 6 * dim) if config.shared_modulation else None
        self.blocks = nn.ModuleList(
            VarBlock(dim, config.num_heads, config.mlp_dim, shared=config.shared_modulation)
            for _ in range(config.depth)
        )
        self.last_modulation = nn.Linear(dim, 2 * dim)
        self.head = nn.Linear(dim, config.codebook_size)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=0.02)
        scale_of = torch.cat([torch.full((side * side,), number) for number, side in enumerate(config.scales)])
        self.register_buffer("scale_of", scale_of, persistent=False)
        self.register_buffer("mask", scale_of[:, None] >= scale_of, persistent=False)  # (L, L)

    # what it says of itself

    @property
    def words(self) -> Words:
        """One a token."""
        return Words((self.config.codebook_size,), (self.config.codebook_size,))

    @property
    def layout(self) -> Pyramid:
        """All scales."""
        return Pyramid(tuple((side, side) for side in self.config.scales))

    @classmethod
    def fields_for(cls, spec: TokenSpec) -> dict[str, Any]:
        scales = spec.layout.scales if isinstance(spec.layout, Pyramid) else ()
        if spec.levels is None or len(spec.levels) != 1 or not scales or any(high != wide for high, wide in scales):
            raise ValueError(
                f"{cls.__name__} makes one code a token, on square planes of growing size; this tokenizer's codes have "
                f"{spec.levels} values, on {spec.layout}"
            )
        return dict(codebook_size=spec.levels[0], code_dim=spec.channels, scales=tuple(side for side, _ in scales))

    def check_pair(self, spec: TokenSpec) -> None:
        if spec.levels != self.levels or spec.channels != self.config.code_dim:
            raise ValueError(
                f"this generator makes codes of {self.levels} values and {self.config.code_dim} channels; the "
                f"tokenizer's have {spec.levels} and {spec.channels}: they are no pair"
            )
        if spec.layout != self.layout:
            raise ValueError(f"this generator's tokens lie on {self.layout}, the tokenizer's on {spec.layout}")

    def read_tokenizer(self, tok: VisualTokenizer) -> None:
        """Takes the codes of the tokenizer of which it is to make tokens. Raises ValueError unless they fit."""
        super().read_tokenizer(tok)
        assert isinstance(tok.quantizer, MultiScaleQuantizer)
        self._quantizer = (tok.quantizer,)

    # its numbers

    def logits(self, indices: Tensor, condition: Condition) -> Tensor:
        """Indices (B, L) of whole leading scales -> (B, L, V), float32, each having seen the scales before its own."""
        ends = [Pyramid(self.layout.scales[:count]).num_tokens for count in range(len(self.config.scales) + 1)]
        read = max(end for end in ends if end < indices.shape[1])
        return self.predict(self.inputs(indices[:, :read]), condition)

    def next_logits(  # type: ignore[override]
        self, fresh: Tensor, condition: Condition, caches: list[KvCache]
    ) -> Tensor:
        """All tokens of the scales so far, (B, n), -> logits (B, h w, V), float32, of the next scale's."""
        latest = self.inputs(fresh)[:, max(caches[0].used - self.config.scales[0] ** 2, 0) :]
        return self.predict(latest.repeat(size(condition) // len(latest), 1, 1), condition, caches)

    def compile_steps(self, **options: Any) -> None:
        raise TypeError(
            f"a pass of this generator makes a whole scale, and its {len(self.config.scales)} passes are of unlike "
            "sizes: there is no step that one graph could be"
        )

    def new_caches(self, batch: int, length: int) -> list[KvCache]:
        config: VarConfig = self.config
        head_dim = config.width // config.num_heads
        return [KvCache(batch, config.num_heads, length, head_dim, self.start) for _ in range(config.depth)]

    @torch.no_grad()
    def inputs(self, indices: Tensor) -> Tensor:
        """Indices (B, n) of leading scales -> what it reads for the scales from the second to the next, (B, m, C).

        Raises:
            ValueError: it knows no codes.
        """
        if not self._quantizer:
            raise ValueError(
                "this generator reads its tokenizer's codes: give it the tokenizer, generator.read_tokenizer(tok)"
            )
        if not indices.shape[1]:
            return self.start.new_zeros(len(indices), 0, self.config.code_dim)
        (quantizer,) = self._quantizer
        device = next(quantizer.parameters()).device
        return quantizer.next_scale_inputs(indices.to(device)).to(self.device, self.dtype)

    def predict(self, inputs: Tensor, condition: Condition, caches: list[KvCache] | None = None) -> Tensor:
        """Inputs (B, n, C) -> logits (B, L, V), float32; where the caches are empty, the first scale's come before."""
        assert isinstance(condition, Tensor)
        told = self.condition_embed(condition).unsqueeze(1)  # (B, 1, D)
        begun = caches[0].used if caches else 0
        hidden = self.embed(inputs)
        if not begun:
            hidden = torch.cat([told + self.start, hidden], dim=1)
        end = begun + hidden.shape[1]
        hidden = hidden + self.positions[begun:end] + self.scale_embed(self.scale_of[begun:end])
        said = F.silu(told)
        shared = said if self.modulation is None else self.modulation(said)
        mask = None if caches else self.mask[:end, :end]
        for layer, block in enumerate(self.blocks):
            hidden = block(hidden, shared, mask=mask, cache=caches[layer] if caches else None)
        scale, shift = self.last_modulation(said).chunk(2, dim=-1)
        return self.head(normed(hidden) * (1 + scale) + shift).float()

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self,
        labels: Labels,
        *,
        num_samples: int = 1,
        num_scales: int | None = None,
        given: Tokens | None = None,
        generator: torch.Generator | None = None,
        **knobs: Any,
    ) -> Tokens:
        """Draws `num_samples` of each label, those of one label together.

        Args:
            labels: class labels.
            num_scales: how many to make; by default all.
            given: tokens to keep, of whole leading scales, where their `valid` is set: one sample for all or one for
                each. Half of every plane leaves the other half to be made.
            knobs: of `Knobs`: guidance=, which grows linearly along the scales and is reached at the last, unless
                guidance_schedule= says otherwise, guidance_power=, temperature=, top_k=, top_p=.

        Raises:
            TypeError: an unknown knob.
            ValueError: a label or knob out of range, guidance without a null class, given tokens that do not fit, or
                logits that are not finite: the layer and the scale are named.
        """
        how = Knobs.read({"guidance_schedule": "linear", **knobs})
        condition = repeat(self.condition(labels), num_samples)
        layout = self._leading(num_scales)
        count, length, last = size(condition), layout.num_tokens, len(layout.scales) - 1
        kept, known = self._kept(given, count, length)
        asked = join(condition, self.null(condition)) if how.guided else condition
        caches = self.new_caches(size(asked), length)
        indices = kept
        broken = torch.full((), last + 1, device=self.device)  # the first scale with logits that are not finite
        begun = 0
        for number, (height, width) in enumerate(layout.scales):
            logits = self.next_logits(indices[:, :begun], asked, caches)
            if how.guided:
                logits = guide(logits, how.guidance_at(number / max(len(self.config.scales) - 1, 1)))
            broken = torch.where(logits.isfinite().all(), broken, broken.clamp(max=number))
            drawn = how.draw(logits, generator)
            end = begun + height * width
            own = torch.where(known[:, begun:end], kept[:, begun:end], drawn)
            indices = torch.cat([indices[:, :begun], own, kept[:, end:]], dim=1)
            begun = end
        if int(broken) <= last:
            blamed = self._blame(lambda: self.logits(indices, condition))
            raise ValueError(f"the logits are not finite from scale {int(broken)} on: {blamed}")
        return Tokens(layout=layout, indices=indices, levels=self.levels)

    def _leading(self, num_scales: int | None) -> Pyramid:
        most = len(self.config.scales)
        if num_scales is not None and not 1 <= num_scales <= most:
            raise ValueError(f"num_scales must be 1 to {most}; got {num_scales}")
        return Pyramid(self.layout.scales[:num_scales])

    def _kept(self, given: Tokens | None, count: int, length: int) -> tuple[Tensor, Tensor]:
        """Tokens (count, length), and which of them are given."""
        kept = torch.zeros(count, length, dtype=torch.int64, device=self.device)
        known = torch.zeros_like(kept, dtype=torch.bool)
        if given is None:
            return kept, known
        indices = self.check_tokens(given)
        if len(indices) not in (1, count) or indices.shape[1] > length:
            raise ValueError(
                f"given tokens must be 1 or {count} samples of at most {length} tokens; got {tuple(indices.shape)}"
            )
        kept[:, : indices.shape[1]] = indices
        known[:, : indices.shape[1]] = True if given.valid is None else given.valid.to(self.device)
        return kept, known
