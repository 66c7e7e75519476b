"""Transformers that fill in masked tokens, many at a time. B batch, L tokens, D width, V values of a token."""

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from tokzoo.generators.base import Condition, Generator, Labels, drop, join, repeat, score, size
from tokzoo.generators.maskgit.config import MaskgitConfig
from tokzoo.generators.sampling import Schedule, check_knobs, guidance_at, guide, keep_likely
from tokzoo.layers.transformer import Attention, Mlp, TransformerBlock
from tokzoo.tokens import Tokens

TINIEST = 1e-20  # below it, a uniform draw is taken as this, so that its logarithm exists


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


class FillIn(Generator):
    """p(masked tokens | condition, the others), each alone. arXiv:2202.04200. A kind of model says `logits`."""

    @property
    def mask(self) -> int:
        """The id of a token that is not known."""
        return int(self.config.codebook_size)

    def logits(self, indices: Tensor, condition: Condition) -> Tensor:
        """Indices (B, L), some of them `mask`, -> (B, L, V), float32."""
        raise TypeError(f"{type(self).__name__} must define logits")

    def strength(self, step: int, num_steps: int, guidance: float, schedule: Schedule, power: float) -> float:
        """Guidance in a step."""
        return guidance_at(step / num_steps, guidance, schedule, power)

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self,
        labels: Labels,
        *,
        num_samples: int = 1,
        num_steps: int = 8,
        guidance: float = 1.0,
        guidance_schedule: Schedule = "constant",
        guidance_power: float = 3.0,
        temperature: float = 1.0,
        annealed: bool = False,
        top_k: int | None = None,
        top_p: float | None = None,
        given: Tokens | None = None,
        generator: torch.Generator | None = None,
    ) -> Tokens:
        """Draws `num_samples` of each label, those of one label together.

        Args:
            labels: class labels.
            num_steps: forward passes.
            guidance: u + guidance * (c - u) on logits, 1 = off. `guidance_schedule`, `guidance_power`: how it grows.
            temperature: of the noise on what is drawn and on what is kept, falling to 0; 0 takes the likeliest.
            annealed: whether logits are divided by a number that falls from 1.3 to 0.5.
            top_k, top_p: of these codes only.
            given: tokens to keep, where their `valid` is set: one sample for all or one for each, as many in each.

        Raises:
            ValueError: a label or knob out of range, guidance without a null class, or given tokens that do not fit.
        """
        check_knobs(guidance=guidance, temperature=temperature, top_k=top_k, top_p=top_p)
        condition = repeat(self.condition(labels), num_samples)
        indices = torch.full((size(condition), self.config.num_tokens), self.mask, device=self.device)
        if given is not None:
            indices = self._keep(given, indices)
        for step in self.steps(
            indices,
            condition,
            num_steps=num_steps,
            guidance=guidance,
            guidance_schedule=guidance_schedule,
            guidance_power=guidance_power,
            temperature=temperature,
            annealed=annealed,
            top_k=top_k,
            top_p=top_p,
            generator=generator,
        ):
            indices = step
        return self._made(indices)

    def steps(
        self,
        indices: Tensor,
        condition: Condition,
        *,
        num_steps: int,
        guidance: float,
        guidance_schedule: Schedule,
        guidance_power: float,
        temperature: float,
        annealed: bool,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        """What is known after each step, (B, L), `mask` elsewhere, beginning with `indices`; the last has no mask.

        Raises:
            ValueError: no step, samples of which unlike numbers are masked, or logits that are not finite.
        """
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1; got {num_steps}")
        masked = (indices == self.mask).sum(1)
        left = int(masked[0])
        if not bool((masked == left).all()):
            raise ValueError(f"as many tokens must be masked in each sample; got {masked.tolist()[:8]}")
        total = left
        asked = join(condition, self.null(condition)) if guidance != 1 else condition
        yield indices
        for step in range(num_steps if left else 0):
            share = (step + 1) / num_steps
            noise = temperature * (1 - share)
            if guidance == 1:
                logits = self.logits(indices, condition)
            else:
                scale = self.strength(step, num_steps, guidance, guidance_schedule, guidance_power)
                logits = guide(self.logits(indices.repeat(2, 1), asked), scale)
            if not bool(logits.isfinite().all()):
                blamed = self._blame(partial(self.logits, indices, condition))
                raise ValueError(f"the logits are not finite in step {step} of {num_steps}: {blamed}")
            if annealed:
                logits = logits / (0.5 + 0.8 * (1 - share))
            unknown = indices == self.mask
            likely = keep_likely(logits, top_k=top_k, top_p=top_p)
            drawn = (likely + noise * gumbel(logits, generator)).argmax(-1)
            indices = torch.where(unknown, drawn, indices)
            if step == num_steps - 1:
                yield indices
                return
            sure = logits.gather(-1, drawn.unsqueeze(-1)).squeeze(-1).masked_fill(~unknown, torch.inf)
            sure = sure + noise * gumbel(sure, generator)
            left = max(1, min(left - 1, math.floor(total * math.acos(share) / (math.pi / 2))))
            bound = sure.sort(dim=1).values[:, left - 1 : left]
            indices = indices.masked_fill((sure <= bound) & unknown, self.mask)
            yield indices

    def loss(  # type: ignore[override]
        self,
        tokens: Tokens,
        labels: Labels,
        *,
        label_dropout: float = 0.0,
        smoothing: float = 0.1,
        known_weight: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Cross entropy with label smoothing, of masked tokens and, at `known_weight`, of the others; in nats.

        A share acos(r) / (pi / 2) of each sample is masked, r uniform in [0, 1).
        """
        indices, condition = self.check_tokens(tokens), self.condition(labels)
        if len(indices) != size(condition):
            raise ValueError(f"there are {len(indices)} samples of tokens and {size(condition)} labels")
        if label_dropout:
            condition = drop(condition, self.null(condition), label_dropout, generator)
        count = indices.shape[1]
        ratio = torch.rand(len(indices), 1, device=indices.device, generator=generator).acos() / (math.pi / 2)
        order = torch.rand(indices.shape, device=indices.device, generator=generator).argsort(dim=1).argsort(dim=1)
        masked = order < (ratio * count).round().clamp(min=1)
        logits = self.logits(indices.masked_fill(masked, self.mask), condition)
        surprise = -(1 - smoothing) * score(logits, indices) - smoothing * logits.log_softmax(-1).mean(-1)
        weights = torch.where(masked, 1.0, known_weight)
        return (surprise * weights).sum() / weights.sum()

    def _keep(self, given: Tokens, indices: Tensor) -> Tensor:
        """`indices` with the given tokens in their places."""
        known = self.check_tokens(given)
        if known.shape[1] != indices.shape[1] or len(known) not in (1, len(indices)):
            raise ValueError(
                f"given tokens must be 1 or {len(indices)} samples of {indices.shape[1]} tokens; "
                f"got {tuple(known.shape)}"
            )
        valid = torch.ones_like(known, dtype=torch.bool) if given.valid is None else given.valid.to(known.device)
        return torch.where(valid, known, indices)


class Maskgit(FillIn):
    """p(masked tokens | class, the others), each alone. arXiv:2202.04200.

    `embed` holds codes, the mask, classes, and no class.
    """

    def __init__(self, config: MaskgitConfig):
        super().__init__(config)
        if config.grid is not None and config.grid[0] * config.grid[1] != config.num_tokens:
            raise ValueError(f"a grid of {config.grid} is not {config.num_tokens} tokens")
        self.embed = nn.Embedding(config.codebook_size + 1 + config.num_classes + config.null_class, config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(config.num_tokens + 1, config.width))
        build = Bert if config.backbone == "bert" else UVit
        self.backbone = build(config.width, config.depth, config.num_heads, config.mlp_dim)
        self.head = nn.Linear(config.width, config.codebook_size)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=0.02)

    def logits(self, indices: Tensor, condition: Condition) -> Tensor:
        assert isinstance(condition, Tensor)
        ids = torch.cat([condition.unsqueeze(1) + self.config.codebook_size + 1, indices], dim=1)
        hidden = self.embed(ids) + self.positions[: ids.shape[1]]
        return self.head(self.backbone(hidden)[:, 1:]).float()


def gumbel(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard Gumbel noise of that shape: argmax(logits + noise) is distributed as softmax(logits)."""
    uniform = torch.empty_like(like).uniform_(generator=generator)
    return -(-uniform.clamp(min=TINIEST).log()).clamp(min=TINIEST).log()
