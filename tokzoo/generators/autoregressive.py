"""Words one after another, with a cache. B batch, W words of a sample, V ids of a word."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tokzoo.generators.conditions import Condition, Labels, drop, join, repeat, size
from tokzoo.generators.sampling import Sampling, entropy, first_uncertain, is_finite, is_whole, score
from tokzoo.generators.steps import Ask, CompiledSteps, Steps
from tokzoo.generators.worded import WordGenerator
from tokzoo.layers.causal import Cache, KvCache
from tokzoo.tokens import Sequence as Row
from tokzoo.tokens import Tokens


class Autoregressive(WordGenerator):
    """Words one after another. A kind of model says `logits` and `next_logits`; all else is here."""

    _compiled: Ask | None = None
    _kept_steps: tuple[tuple[Any, ...], CompiledSteps] | None = None  # of the last sizes

    def logits(self, ids: Tensor, condition: Condition) -> Tensor:
        """Ids (B, W) -> (B, W, V), float32: row i says of word i, having seen the condition and those before."""
        raise TypeError(f"{type(self).__name__} must define logits")

    def next_logits(self, fresh: Tensor, condition: Condition, caches: Sequence[Cache]) -> Tensor:
        """Ids not in the caches yet, (B, n), -> logits (B, V), float32, of the one that follows them.

        Where the caches are empty, the condition goes in first, and n may be 0.
        """
        raise TypeError(f"{type(self).__name__} must define next_logits")

    def new_caches(self, batch: int, length: int) -> list[KvCache]:
        """Room for the condition and `length` words, for every layer."""
        raise TypeError(f"{type(self).__name__} must define new_caches")

    def step(self, fresh: Tensor, condition: Condition, caches: Sequence[Cache], **where: Any) -> Tensor:
        """What `sample` asks for every word, and `compile_steps` compiles."""
        return self.next_logits(fresh, condition, caches, **where)

    def compile_steps(self, **options: Any) -> None:
        """From now on `sample` compiles the step of one word, whole and once for all places; options of torch.compile.

        On a GPU: `mode="reduce-overhead"`, which records CUDA graphs. What is drawn stays the same, up to rounding. The
        first step, of the condition and what is given, stays eager. The caches of the last sizes are kept. Weights of 8
        bits are torchao's: `quantize_(generator, Int8WeightOnlyConfig())` before, and `mode="max-autotune"`.
        """
        self._compiled, self._kept_steps = torch.compile(self.step, fullgraph=True, **options), None

    def new_steps(self, batch: int, length: int) -> Steps:
        """With nothing read yet, and room for the condition and `length` words."""
        if self._compiled is None:
            return Steps(self.step, self.new_caches(batch, length))
        sizes = (batch, length, self.device, self.dtype)
        if self._kept_steps is None or self._kept_steps[0] != sizes:
            steps = CompiledSteps(self.step, self._compiled, lambda: self.new_caches(batch, length))
            self._kept_steps = (sizes, steps)
        return self._kept_steps[1].empty()

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self,
        labels: Labels,
        *,
        num_samples: int = 1,
        num_tokens: int | None = None,
        given: Tokens | None = None,
        stop_entropy: float | None = None,
        generator: torch.Generator | None = None,
        **knobs: Any,
    ) -> Tokens:
        """Draws `num_samples` of each label, those of one label together.

        Args:
            labels: class labels, or text features.
            num_tokens: how many to make, where tokens lie in a row; by default all.
            given: first tokens to begin with, one sample for all or one for each; where `valid` is set, the first ones
                for which it is True. Every sample has as many. RAR takes any, of which `valid` is True anywhere.
            stop_entropy: where tokens lie in a row: a sample ends before the mean entropy of its last 8 tokens would
                exceed so many nats; `valid` then says which of its tokens count.
            knobs: of `Sampling`: guidance=, guidance_schedule=, guidance_power=, guided_tokens=, temperature=, top_k=,
                top_p=.

        Raises:
            TypeError: an unknown knob. ValueError: a label or knob out of range, guidance without a null class, given
                tokens that do not fit, or logits that are not finite: the layer and the step are named.
        """
        how = Sampling.read(knobs)
        condition = repeat(self.condition(labels), num_samples)
        count, length = size(condition), self._length(num_tokens)
        prefix, orders = self._begin(given, count, length)
        if stop_entropy is not None:
            self._check_stop(stop_entropy, orders)
        start = prefix.shape[1]
        asked = join(condition, self.null(condition)) if how.guided else condition
        ask = self.new_steps(size(asked), length)
        ids = prefix.new_zeros(count, length)
        ids[:, :start] = prefix
        copies = 2 if how.guided else 1
        where = {} if orders is None else {"orders": orders.repeat(copies, 1)}
        places = torch.arange(length, device=self.device).unsqueeze(0) if orders is None else where["orders"]
        entropies = torch.zeros(ids.shape, device=self.device)
        broken = torch.full((), length, device=self.device)  # the first step with logits that are not finite
        for step in range(start, length):
            fresh = ids[:, :start] if step == start else ids[:, step - 1 : step]
            logits = self._possible(ask(fresh.repeat(copies, 1), asked, **where), places[:, step])
            if stop_entropy is not None:
                entropies[:, step] = entropy(logits[:count])
            logits = how.guide(logits, step, length)
            broken = torch.where(logits.isfinite().all(), broken, broken.clamp(max=step))
            ids[:, step] = how.draw(logits, generator)
        if orders is not None:
            ids = torch.zeros_like(ids).scatter(1, orders, ids)
        if int(broken) < length:
            blamed = self._blame(lambda: self.logits(ids, condition))
            raise ValueError(f"the logits are not finite from step {int(broken)} on: {blamed}")
        made = self._made(ids)
        if stop_entropy is None:
            return made
        sure = first_uncertain(entropies, stop_entropy) // len(self.words.sizes)
        return shortened(made, sure.clamp(min=1))

    def log_prob(self, tokens: Tokens, labels: Labels) -> Tensor:
        ids, condition = self._pair(tokens, labels)
        return (self.scores(ids, condition) * self._counted(tokens, ids)).sum(1)

    def loss(  # type: ignore[override]
        self, tokens: Tokens, labels: Labels, *, label_dropout: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean of -log p over all words that count, in nats; a share of the samples is shown no condition."""
        ids, condition = self._pair(tokens, labels)
        if label_dropout:
            condition = drop(condition, self.null(condition), label_dropout, generator)
        counts = self._counted(tokens, ids)
        return -(self.scores(ids, condition) * counts).sum() / counts.sum()

    def scores(self, ids: Tensor, condition: Condition) -> Tensor:
        """log p of each word, (B, W) both."""
        places = torch.arange(ids.shape[1], device=ids.device)
        return score(self._possible(self.logits(ids, condition), places), ids)

    def _pair(self, tokens: Tokens, labels: Labels) -> tuple[Tensor, Condition]:
        ids, condition = self.check_tokens(tokens), self.condition(labels)
        if len(ids) != size(condition):
            raise ValueError(f"there are {len(ids)} samples of tokens and {size(condition)} labels")
        return ids, condition

    def _counted(self, tokens: Tokens, ids: Tensor) -> Tensor:
        """1 for words of tokens that count, 0 for others, (B, W)."""
        if tokens.valid is None:
            return torch.ones_like(ids)
        return tokens.valid.to(ids).repeat_interleave(len(self.words.sizes), 1)

    def _length(self, num_tokens: int | None) -> int:
        """Words of so many tokens."""
        most, row = self.layout.num_tokens, isinstance(self.layout, Row)
        assert most is not None
        if num_tokens is not None and not (is_whole(num_tokens, least=1 if row else most) and num_tokens <= most):
            allowed = f"1 to {most}" if row else f"{most}, all of them"
            raise ValueError(f"num_tokens must be {allowed}; got {num_tokens!r}")
        return (most if num_tokens is None else num_tokens) * len(self.words.sizes)

    def _check_stop(self, stop_entropy: float, orders: Tensor | None) -> None:
        """Raises ValueError where a sample cannot end early."""
        if not isinstance(self.layout, Row):
            raise ValueError("a plane of tokens is whole or nothing; stop_entropy is for tokens in a row")
        if not is_finite(stop_entropy) or stop_entropy < 0:
            raise ValueError(f"stop_entropy must be 0 or positive, in nats, or None; got {stop_entropy!r}")
        if orders is not None:
            raise ValueError("stop_entropy ends a sample behind its first tokens; given ones must be the first, too")

    def _begin(self, given: Tokens | None, count: int, length: int) -> tuple[Tensor, Tensor | None]:
        """Words to begin with, as `_prefix`, and where words lie in the order in which they are made, (count, length).

        None: one after another.
        """
        return self._prefix(given, count, length), None

    def _prefix(self, given: Tokens | None, count: int, length: int) -> Tensor:
        """Words to begin with, (count, any number up to `length`)."""
        if given is None:
            return torch.zeros(count, 0, dtype=torch.int64, device=self.device)
        self._check_is_tokens(given)
        start, words = given.num_tokens, len(self.words.sizes)
        if given.valid is not None:
            start = int(given.lengths[0])
            first = torch.arange(given.num_tokens, device=given.valid.device) < start
            if not bool((given.valid == first).all()):
                raise ValueError("given tokens must be the first ones, as many in each sample: their `valid` is not")
        return self._given_ids(given, start, count, length)[:, : start * words]

    def _given_ids(self, given: Tokens, tokens: int, count: int, length: int) -> Tensor:
        """Words (count, W) of given tokens, of which the first `tokens` are to lie within `length` words."""
        words = len(self.words.sizes)
        if tokens * words > length:
            raise ValueError(f"{tokens} tokens are given, more than the {length // words} of the whole sequence")
        ids = self.check_tokens(given)
        if len(ids) not in (1, count):
            raise ValueError(f"given tokens must be 1 or {count} samples; got {len(ids)}")
        return ids.expand(count, -1)


def shortened(tokens: Tokens, lengths: Tensor) -> Tokens:
    """Of each sample its first tokens only, `lengths` (B,)."""
    assert tokens.indices is not None
    valid = torch.arange(tokens.num_tokens, device=lengths.device) < lengths.unsqueeze(1)
    indices = torch.where(valid if tokens.indices.ndim == 2 else valid.unsqueeze(-1), tokens.indices, 0)
    return replace(tokens, indices=indices, valid=valid)
