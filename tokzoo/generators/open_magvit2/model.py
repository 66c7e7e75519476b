"""A GPT that says each token in parts, its low bits first. B batch, L tokens, D width, S parts, V values of a part."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tokzoo.generators.conditions import Condition, Labels, join, repeat, size
from tokzoo.generators.gpt.model import Gpt, GptBlock
from tokzoo.generators.open_magvit2.config import OpenMagvit2ArConfig
from tokzoo.generators.sampling import check_knobs, draw, guide, score
from tokzoo.generators.steps import Ask, replayed
from tokzoo.generators.words import Words
from tokzoo.layers.causal import Cache, RmsNorm
from tokzoo.tokens import Grid, Tokens, TokenSpec

Each = float | tuple[float, ...]  # one for all parts, or one for each


class SlotEmbedding(nn.Module):
    """The sum of a vector for each part of an index.

    Shapes:
        indices (B, n) -> (B, n, D)
    """

    def __init__(self, slot_bits: tuple[int, ...], dim: int):
        super().__init__()
        self.slot_bits = slot_bits
        self.tables = nn.ModuleList(nn.Embedding(2**bits, dim) for bits in slot_bits)

    def split(self, indices: Tensor) -> list[Tensor]:
        """Indices -> each part, S of (B, n)."""
        parts = []
        for bits in self.slot_bits:
            parts.append(indices & (2**bits - 1))
            indices = indices >> bits
        return parts

    def forward(self, indices: Tensor) -> Tensor:
        parts = zip(self.tables, self.split(indices), strict=True)
        vectors: Tensor = sum(table(part) for table, part in parts)  # type: ignore[assignment]
        return vectors


class SlotHead(nn.Module):
    """A small causal transformer over the parts of one token: it reads what the large one says, then part by part.

    Shapes:
        sequence (N, s, D) of the parts up to s -> (N, s, D), normed
    """

    def __init__(self, slot_bits: tuple[int, ...], dim: int, depth: int, num_heads: int, mlp_dim: int):
        super().__init__()
        self.blocks = nn.ModuleList(GptBlock(dim, num_heads, mlp_dim) for _ in range(depth))
        self.norm = RmsNorm(dim)
        self.outputs = nn.ModuleList(nn.Linear(dim, 2**bits, bias=False) for bits in slot_bits)

    def forward(self, sequence: Tensor, rotations: Tensor) -> Tensor:
        for block in self.blocks:
            sequence = block(sequence, rotations=rotations)
        return self.norm(sequence)


class OpenMagvit2Gpt(Gpt):
    """p(token) = prod over its parts p(part | condition, tokens before, parts before). arXiv:2409.04410.

    A vocabulary of 2^18 is so said by two heads of 2^6 and 2^12.

    Raises:
        ValueError: a config that reads text, one without a grid, or parts that are not the whole index.
    """

    embed: SlotEmbedding
    head: SlotHead
    _compiled_part: Ask | None = None

    def __init__(self, config: OpenMagvit2ArConfig):
        if config.text_tokens or config.positions != "rotary":
            raise ValueError("this generator is told a class and lies on a grid: text_tokens=0, positions='rotary'")
        if min(config.slot_bits, default=0) < 1 or 2 ** sum(config.slot_bits) != config.codebook_size:
            raise ValueError(f"parts of {config.slot_bits} bits are no index of {config.codebook_size} values")
        super().__init__(config)
        self.norm = nn.Identity()  # type: ignore[assignment]  # the head has it

    @classmethod
    def fields_for(cls, spec: TokenSpec) -> dict[str, Any]:
        values = spec.levels[0] if spec.levels is not None and len(spec.levels) == 1 else 0
        bits = values.bit_length() - 1
        if bits < 2 or values != 2**bits or not isinstance(spec.layout, Grid):
            raise ValueError(
                f"{cls.__name__} makes one code of whole bits a token, on a grid; this tokenizer's codes have "
                f"{spec.levels} values, on {spec.layout}"
            )
        first = max(1, bits // 3)  # as 6 is of 18
        return dict(codebook_size=values, slot_bits=(first, bits - first), **cls.place_for(spec, 1))

    @property
    def words(self) -> Words:
        """One a token; parts are within."""
        return Words((self.config.codebook_size,), (self.config.codebook_size,))

    def _new_embed(self) -> nn.Module:
        return SlotEmbedding(self.config.slot_bits, self.config.width)

    def _new_head(self) -> nn.Module:
        config: OpenMagvit2ArConfig = self.config
        return SlotHead(config.slot_bits, config.width, config.slot_depth, config.num_heads, config.mlp_dim)

    def _silence(self) -> None:
        for output in self.head.outputs:
            nn.init.zeros_(output.weight)  # type: ignore[arg-type]

    def logits(self, ids: Tensor, condition: Condition) -> Tensor:
        raise TypeError("logits of all values of a whole token are never made; part_logits gives those of its parts")

    def part_logits(self, indices: Tensor, condition: Condition) -> list[Tensor]:
        """Indices (B, L) -> S of (B, L, V), float32: of each part, having seen all before it."""
        hidden = self._forward(indices[:, :-1], condition, None)  # (B, L, D)
        parts = self.embed.split(indices)[:-1]
        told = [hidden, *(table(part) for table, part in zip(self.embed.tables, parts, strict=False))]
        sequence = torch.stack(told, dim=2).flatten(0, 1)  # (B L, S, D)
        said = self._through_parts(sequence).unflatten(0, indices.shape)
        return [output(said[:, :, slot]).float() for slot, output in enumerate(self.head.outputs)]

    def step(self, fresh: Tensor, condition: Condition, caches: Sequence[Cache], **where: Any) -> Tensor:
        """What the head reads of the next token, (B, 1, D)."""
        return self._forward(fresh, condition, caches)[:, -1:]

    def part_step(self, told: Tensor) -> Tensor:
        """What a step gave and the vectors of the parts that are there, (B, s, D), -> logits (B, V) of the next one.

        They are few enough to be read again each time: there is no cache of them.
        """
        return self.head.outputs[told.shape[1] - 1](self._through_parts(told)[:, -1]).float()

    def compile_steps(self, **options: Any) -> None:
        super().compile_steps(**options)
        self._compiled_part = torch.compile(self.part_step, fullgraph=True, **options)

    def scores(self, ids: Tensor, condition: Condition) -> Tensor:
        logits, parts = self.part_logits(ids, condition), self.embed.split(ids)
        return torch.stack([score(each, part) for each, part in zip(logits, parts, strict=True)]).sum(0)

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self,
        labels: Labels,
        *,
        num_samples: int = 1,
        guidance: Each = 1.0,
        temperature: Each = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        given: Tokens | None = None,
        generator: torch.Generator | None = None,
    ) -> Tokens:
        """Draws `num_samples` of each label, those of one label together.

        Args:
            labels: class labels.
            guidance: u + guidance * (c - u) on logits, 1 = off; one number, or one for each part.
            temperature: divides logits; 0 takes the likeliest; one number, or one for each part.
            top_k, top_p: of these values of a part only.
            given: first tokens to begin with, one sample for all or one for each; where `valid` is set, the first ones
                for which it is True. Every sample has as many.

        Raises:
            ValueError: a label or knob out of range, guidance without a null class, given tokens that do not fit, or
                logits that are not finite: the layer and the step are named.
        """
        scales, warmths = self._each(guidance, "guidance"), self._each(temperature, "temperature")
        for scale, warmth in zip(scales, warmths, strict=True):
            check_knobs(guidance=scale, temperature=warmth, top_k=top_k, top_p=top_p)
        condition = repeat(self.condition(labels), num_samples)
        count, length = size(condition), self._length(None)
        prefix = self._prefix(given, count, length)
        start = prefix.shape[1]
        guided = any(scale != 1 for scale in scales)
        asked = join(condition, self.null(condition)) if guided else condition
        ask = self.new_steps(size(asked), length)
        ask_part = self.part_step if self._compiled_part is None else partial(replayed, self._compiled_part)
        indices = torch.cat([prefix, prefix.new_zeros(count, length - start)], dim=1)
        broken = torch.full((), length, device=self.device)  # the first step with logits that are not finite
        for step in range(start, length):
            fresh = indices[:, :start] if step == start else indices[:, step - 1 : step]
            told, shift = ask(fresh.repeat(2, 1) if guided else fresh, asked), 0  # (rows, 1, D)
            for slot, (bits, scale, warmth) in enumerate(zip(self.config.slot_bits, scales, warmths, strict=True)):
                logits = guide(ask_part(told), scale) if guided else ask_part(told)
                broken = torch.where(logits.isfinite().all(), broken, broken.clamp(max=step))
                part = draw(logits, temperature=warmth, top_k=top_k, top_p=top_p, generator=generator)
                indices[:, step] += part << shift
                shift += bits
                if slot + 1 < len(scales):
                    vector = self.embed.tables[slot](part.repeat(2) if guided else part)
                    told = torch.cat([told, vector.unsqueeze(1)], dim=1)
        if int(broken) < length:
            blamed = self._blame(lambda: self.part_logits(indices, condition)[-1])
            raise ValueError(f"the logits are not finite from step {int(broken)} on: {blamed}")
        return self._made(indices)

    def _through_parts(self, told: Tensor) -> Tensor:
        """The head on (N, s, D): parts turn as the condition and the first tokens of the grid do."""
        assert self.rotations is not None
        return self.head(told, self.rotations[: told.shape[1]])

    def _each(self, knob: Each, name: str) -> tuple[float, ...]:
        count = len(self.config.slot_bits)
        each = (float(knob),) * count if isinstance(knob, int | float) else tuple(knob)
        if len(each) != count:
            raise ValueError(f"{name} must be one number, or one for each of the {count} parts; got {knob}")
        return each
