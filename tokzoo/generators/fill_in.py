"""Masked words, filled in many at a time. B batch, W words of a sample, V ids of a word."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tokzoo.generators.conditions import Condition, Labels, drop, join, repeat, size
from tokzoo.generators.sampling import Knobs, guide, is_whole, keep_likely
from tokzoo.generators.worded import WordGenerator
from tokzoo.tokens import Tokens

TINIEST = 1e-20  # below it, a uniform draw is taken as this, so that its logarithm exists


@dataclass(frozen=True, kw_only=True)
class Filling(Knobs):
    """How masked words are filled in.

    Args:
        num_steps: forward passes.
        temperature: of the noise on what is drawn and on what is kept, falling to 0; 0 takes the likeliest.
        annealed: whether logits are divided by a number that falls from 1.3 to 0.5.

    Raises:
        ValueError: a number out of its range.
    """

    num_steps: int = 8
    guidance_power: float = 3.0
    annealed: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_whole(self.num_steps):
            raise ValueError(f"num_steps must be a whole number from 1 on; got {self.num_steps!r}")


class FillIn(WordGenerator):
    """p(masked words | condition, the others), each alone. arXiv:2202.04200. A kind of model says `logits`."""

    @property
    def mask(self) -> int:
        """The id of a word that is not known."""
        return int(self.config.codebook_size)

    def logits(self, ids: Tensor, condition: Condition) -> Tensor:
        """Ids (B, W), some of them `mask`, -> (B, W, V), float32."""
        raise TypeError(f"{type(self).__name__} must define logits")

    def strength(self, step: int, how: Filling) -> float:
        """Guidance in a step."""
        return how.guidance_at(step / how.num_steps)

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self,
        labels: Labels,
        *,
        num_samples: int = 1,
        given: Tokens | None = None,
        generator: torch.Generator | None = None,
        **knobs: Any,
    ) -> Tokens:
        """Draws `num_samples` of each label, those of one label together.

        Args:
            labels: class labels.
            given: tokens to keep, where their `valid` is set: one sample for all or one for each, as many in each.
            knobs: of `Filling`: num_steps=, guidance=, guidance_schedule=, guidance_power=, temperature=, annealed=,
                top_k=, top_p=.

        Raises:
            TypeError: an unknown knob. ValueError: a label or knob out of range, guidance without a null class, given
                tokens that do not fit, or logits that are not finite: the layer and the step are named.
        """
        how = Filling.read(knobs)
        condition = repeat(self.condition(labels), num_samples)
        ids = torch.full((size(condition), self.config.num_tokens), self.mask, device=self.device)
        if given is not None:
            ids = self._keep(given, ids)
        for step in self.steps(ids, condition, how, generator):
            ids = step
        return self._made(ids)

    def steps(
        self, ids: Tensor, condition: Condition, how: Filling, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """What is known after each step, (B, W), `mask` elsewhere, beginning with `ids`; the last has no mask.

        Raises:
            ValueError: samples of which unlike numbers are masked, or logits that are not finite.
        """
        masked = (ids == self.mask).sum(1)
        total = left = int(masked[0])
        if not bool((masked == left).all()):
            raise ValueError(f"as many tokens must be masked in each sample; got {masked.tolist()[:8]}")
        asked = join(condition, self.null(condition)) if how.guided else condition
        yield ids
        for step in range(how.num_steps if left else 0):
            share = (step + 1) / how.num_steps
            noise = how.temperature * (1 - share)
            logits = self._logits(ids.repeat(2, 1) if how.guided else ids, asked)
            if how.guided:
                logits = guide(logits, self.strength(step, how))
            if not bool(logits.isfinite().all()):
                blamed = self._blame(partial(self.logits, ids, condition))
                raise ValueError(f"the logits are not finite in step {step} of {how.num_steps}: {blamed}")
            if how.annealed:
                logits = logits / (0.5 + 0.8 * (1 - share))
            unknown = ids == self.mask
            likely = keep_likely(logits, top_k=how.top_k, top_p=how.top_p)
            drawn = (likely + noise * gumbel(logits, generator)).argmax(-1)
            ids = torch.where(unknown, drawn, ids)
            if step == how.num_steps - 1:
                yield ids
                return
            sure = logits.gather(-1, drawn.unsqueeze(-1)).squeeze(-1).masked_fill(~unknown, torch.inf)
            sure = sure + noise * gumbel(sure, generator)
            left = max(1, min(left - 1, math.floor(total * math.acos(share) / (math.pi / 2))))
            bound = sure.sort(dim=1).values[:, left - 1 : left]
            ids = ids.masked_fill((sure <= bound) & unknown, self.mask)
            yield ids

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
        """Cross entropy with label smoothing, of masked words and, at `known_weight`, of the others; in nats.

        A share acos(r) / (pi / 2) of each sample is masked, r uniform in [0, 1).
        """
        ids, condition = self.check_tokens(tokens), self.condition(labels)
        if len(ids) != size(condition):
            raise ValueError(f"there are {len(ids)} samples of tokens and {size(condition)} labels")
        if label_dropout:
            condition = drop(condition, self.null(condition), label_dropout, generator)
        count = ids.shape[1]
        ratio = torch.rand(len(ids), 1, device=ids.device, generator=generator).acos() / (math.pi / 2)
        order = torch.rand(ids.shape, device=ids.device, generator=generator).argsort(dim=1).argsort(dim=1)
        masked = order < (ratio * count).round().clamp(min=1)
        logs = self._logits(ids.masked_fill(masked, self.mask), condition).log_softmax(-1)
        told = logs.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
        surprise = -(1 - smoothing) * told - smoothing * self._mean_possible(logs)
        weights = torch.where(masked, 1.0, known_weight)
        return (surprise * weights).sum() / weights.sum()

    def _logits(self, ids: Tensor, condition: Condition) -> Tensor:
        return self._possible(self.logits(ids, condition), torch.arange(ids.shape[1], device=ids.device))

    def _mean_possible(self, logs: Tensor) -> Tensor:
        """Mean over the ids that each word has, (B, W, V) -> (B, W)."""
        if self.impossible is None:
            return logs.mean(-1)
        possible = ~self.impossible.repeat(logs.shape[1] // len(self.impossible), 1)  # (W, V)
        return torch.where(possible, logs, 0).sum(-1) / possible.sum(-1)

    def _keep(self, given: Tokens, ids: Tensor) -> Tensor:
        """`ids` with the given tokens in their places."""
        known = self.check_tokens(given)
        if known.shape[1] != ids.shape[1] or len(known) not in (1, len(ids)):
            raise ValueError(
                f"given tokens must be 1 or {len(ids)} samples of {self.layout.num_tokens} tokens; "
                f"got {len(known)} of {given.num_tokens}"
            )
        if given.valid is None:
            return known.expand_as(ids)
        valid = given.valid.to(known.device).repeat_interleave(len(self.words.sizes), 1)
        return torch.where(valid, known, ids)


def gumbel(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard Gumbel noise of that shape: argmax(logits + noise) is distributed as softmax(logits)."""
    uniform = torch.empty_like(like).uniform_(generator=generator)
    return -(-uniform.clamp(min=TINIEST).log()).clamp(min=TINIEST).log()
