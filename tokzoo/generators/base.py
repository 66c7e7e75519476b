"""The one API of every generator. B batch, L tokens, V values of a token, T condition tokens, D width."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tokzoo.generators.sampling import Sampling, entropy, first_uncertain
from tokzoo.layers.causal import KvCache
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Grid, Layout, Tokens, TokenSpec
from tokzoo.tokens import Sequence as Row


class Text(NamedTuple):
    """What a text-conditional generator reads: `features` (B, T, C), and `valid` (B, T), bool, which of them count."""

    features: Tensor
    valid: Tensor


Condition = Tensor | Text
Labels = int | Sequence[int] | Tensor | Text


class Generator(nn.Module):
    """Tokens from a class label, or from text, for the tokenizer of which its sizes were taken.

    Its config has `codebook_size`, `num_tokens`, `grid` (height, width) or None for a row of tokens, `num_classes` and
    `null_class`, whether there is a class of its own for no condition at all, which guidance needs.
    """

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.name: str | None = None  # the full registered name, once known
        self.tokenizer: str | None = None  # full name, or place, of the one that decodes what it makes
        self.classes: tuple[str, ...] = ()  # names of the labels, where they are known
        self.sampling: dict[str, Any] = {}  # options of `sample` that it was judged with

    # what it says of itself

    @property
    def layout(self) -> Layout:
        """How the tokens that it makes lie."""
        grid = self.config.grid
        return Row(self.config.num_tokens) if grid is None else Grid(*grid)

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot of a token."""
        return (self.config.codebook_size,)

    @classmethod
    def fields_for(cls, spec: TokenSpec) -> dict[str, Any]:
        """The fields of a config with which this generator makes the tokens of `spec`.

        Raises:
            ValueError: tokens that it cannot make.
        """
        if spec.levels is None:
            raise ValueError(f"{cls.__name__} makes discrete tokens; this tokenizer's are continuous")
        if len(spec.levels) != 1:
            raise ValueError(f"{cls.__name__} makes one code a token; this tokenizer's tokens are {len(spec.levels)}")
        if not isinstance(spec.layout, Row | Grid):
            raise ValueError(f"{cls.__name__} makes a row or a grid of tokens; this tokenizer's lie on {spec.layout}")
        grid = (spec.layout.height, spec.layout.width) if isinstance(spec.layout, Grid) else None
        return dict(codebook_size=spec.levels[0], num_tokens=spec.layout.num_tokens, grid=grid)

    def check_pair(self, spec: TokenSpec) -> None:
        """Raises ValueError unless the tokenizer of `spec` decodes what this generator makes."""
        if spec.levels != self.levels:
            raise ValueError(
                f"this generator makes codes of {self.levels} values; the tokenizer's codes have {spec.levels}: "
                "they are no pair"
            )
        fits = type(spec.layout) is type(self.layout) and spec.lengths[0] <= self.config.num_tokens
        if not fits or (not isinstance(spec.layout, Grid) and self.config.num_tokens > spec.lengths[1]):
            raise ValueError(f"this generator's tokens lie on {self.layout}, the tokenizer's on {spec.layout}")

    def read_tokenizer(self, tok: VisualTokenizer) -> None:
        """Learns whose tokens it makes. Raises ValueError unless they fit."""
        self.check_pair(tok.token_spec)
        self.tokenizer = tok.name

    # the public door

    def forward(self, tokens: Tokens, labels: Labels, **options: Any) -> Tensor:
        """The loss, so that what wraps a module can wrap training."""
        return self.loss(tokens, labels, **options)

    def sample(self, labels: Labels, **options: Any) -> Tokens:
        """Tokens of each label in turn; what `options` there are, each kind of generator says."""
        raise TypeError(f"{type(self).__name__} must define sample")

    def loss(self, tokens: Tokens, labels: Labels, **options: Any) -> Tensor:
        """What training makes small: a scalar with gradients."""
        raise TypeError(f"{type(self).__name__} must define loss")

    def log_prob(self, tokens: Tokens, labels: Labels) -> Tensor:
        """Natural logarithm of the probability of each sample's tokens, (B,)."""
        raise TypeError(f"{type(self).__name__} gives no probabilities: it is not autoregressive")

    # where it is, and files

    @property
    def device(self) -> torch.device:
        """Of the parameters."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return next(self.parameters()).dtype

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> Path:
        """Writes config.json and model.safetensors, of which `tokzoo.from_pretrained(folder)` makes the model again."""
        from tokzoo import hub

        return hub.save_pretrained(self, folder, dtype=dtype)  # type: ignore[arg-type]

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Uploads what `save_pretrained` writes, with a model card; see `tokzoo.hub.push_to_hub`."""
        from tokzoo import hub

        return hub.push_to_hub(self, repo, **options)  # type: ignore[arg-type]

    # what all of them check

    def condition(self, labels: Labels) -> Condition:
        """Class labels, as one number, numbers or a tensor, -> int64 (B,) on the device.

        Raises:
            ValueError: a label out of range.
        """
        if isinstance(labels, Text):
            raise ValueError(f"{type(self).__name__} takes class labels; got text features")
        given = [labels] if isinstance(labels, int) else labels
        made = given.to(self.device) if isinstance(given, Tensor) else torch.tensor(list(given), device=self.device)
        classes = self.config.num_classes
        if made.ndim != 1 or not len(made) or made.is_floating_point() or made.dtype == torch.bool:
            raise ValueError(f"labels must be integers (B,), at least one; got {made.dtype} {tuple(made.shape)}")
        made = made.long()
        if not torch.compiler.is_compiling() and made.device.type != "meta":
            wrong = made[(made < 0) | (made >= classes)]
            if len(wrong):
                raise ValueError(f"labels must be 0 to {classes - 1}; got {wrong.tolist()[:5]}")
        return made

    def null(self, condition: Condition) -> Condition:
        """The condition that says nothing, for as many samples.

        Raises:
            ValueError: a generator without one.
        """
        if not self.config.null_class:
            raise ValueError(
                "this generator has no null class, so nothing to guide away from: use guidance=1, or build it with "
                "null_class=True and train with dropped labels"
            )
        if isinstance(condition, Text):
            raise ValueError(f"{type(self).__name__} takes class labels; got text features")
        return torch.full_like(condition, self.config.num_classes)

    def check_tokens(self, tokens: Tokens) -> Tensor:
        """Indices (B, L) of tokens as this generator makes them.

        Raises:
            TypeError: no Tokens. ValueError: those of another tokenizer.
        """
        if not isinstance(tokens, Tokens):
            raise TypeError(f"tokens must be Tokens, as tok.encode makes them; got {type(tokens).__name__}")
        if tokens.indices is None or tokens.indices.ndim != 2:
            raise ValueError(f"{type(self).__name__} reads one code a token, indices (B, L)")
        if tokens.levels not in (None, self.levels):
            raise ValueError(
                f"these tokens are of another tokenizer: codes of {tokens.levels} values, not of {self.levels}"
            )
        if type(tokens.layout) is not type(self.layout):
            raise ValueError(f"these tokens are of another tokenizer: they lie on {tokens.layout}, not {self.layout}")
        indices = tokens.indices.to(self.device)
        if isinstance(tokens.layout, Grid) and tokens.layout != self.layout:
            raise ValueError(f"this generator's tokens lie on {self.layout}; got {tokens.layout}")
        if indices.shape[1] > self.config.num_tokens:
            raise ValueError(f"at most {self.config.num_tokens} tokens fit; got {indices.shape[1]}")
        if not torch.compiler.is_compiling() and indices.device.type != "meta":
            counted = indices if tokens.valid is None else indices[tokens.valid.to(self.device)]
            if len(counted) and not 0 <= int(counted.min()) <= int(counted.max()) < self.levels[0]:
                raise ValueError(
                    f"indices must be 0 to {self.levels[0] - 1}; got {int(counted.min())} to {int(counted.max())}"
                )
        return indices

    def _made(self, indices: Tensor) -> Tokens:
        layout = self.layout if indices.shape[1] == self.config.num_tokens else Row(indices.shape[1])
        return Tokens(layout=layout, indices=indices, levels=self.levels)

    def _blame(self, compute: Callable[[], Tensor]) -> str:
        """The first layer of which the output is not finite when `compute` runs, in words."""
        found: list[str] = []

        def hook_for(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                if not found and isinstance(output, Tensor) and not bool(output.isfinite().all()):
                    found.append(name)

            return hook

        hooks = [module.register_forward_hook(hook_for(name)) for name, module in self.named_modules() if name]
        try:
            compute()
        finally:
            for hook in hooks:
                hook.remove()
        return f"the first such layer is {found[0]}" if found else "no single layer is to blame; try float32"


class Autoregressive(Generator):
    """Tokens one after another. A kind of model says `logits` and `next_logits`; all else is here."""

    def logits(self, indices: Tensor, condition: Condition) -> Tensor:
        """Indices (B, L) -> (B, L, V), float32: row i says of token i, having seen the condition and those before."""
        raise TypeError(f"{type(self).__name__} must define logits")

    def next_logits(self, fresh: Tensor, condition: Condition, caches: list[KvCache]) -> Tensor:
        """Tokens not in the caches yet, (B, n), -> logits (B, V), float32, of the one that follows them.

        Where the caches are empty, the condition goes in first, and n may be 0.
        """
        raise TypeError(f"{type(self).__name__} must define next_logits")

    def new_caches(self, batch: int, length: int) -> list[KvCache]:
        """Room for the condition and `length` tokens, for every layer."""
        raise TypeError(f"{type(self).__name__} must define new_caches")

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
                for which it is True. Every sample has as many.
            stop_entropy: where tokens lie in a row: a sample ends before the mean entropy of its last 8 tokens would
                exceed so many nats; `valid` then says which of its tokens count.
            knobs: of `Sampling`: guidance=, guidance_schedule=, guidance_power=, guided_tokens=, temperature=, top_k=,
                top_p=.

        Raises:
            TypeError: an unknown knob. ValueError: a label or knob out of range, guidance without a null class, given
                tokens that do not fit, or logits that are not finite: the layer and the step are named.
        """
        how = Sampling(**knobs)
        condition = repeat(self.condition(labels), num_samples)
        count, length = size(condition), self._length(num_tokens)
        if stop_entropy is not None and self.config.grid is not None:
            raise ValueError("a grid of tokens is whole or nothing; stop_entropy is for tokens in a row")
        prefix = self._prefix(given, count, length)
        start = prefix.shape[1]
        asked = join(condition, self.null(condition)) if how.guided else condition
        caches = self.new_caches(size(asked), length)
        indices = prefix.new_zeros(count, length)
        indices[:, :start] = prefix
        entropies = torch.zeros(indices.shape, device=self.device)
        broken = torch.full((), length, device=self.device)  # the first step with logits that are not finite
        for step in range(start, length):
            fresh = indices[:, :start] if step == start else indices[:, step - 1 : step]
            logits = self.next_logits(fresh.repeat(2, 1) if how.guided else fresh, asked, caches)
            if stop_entropy is not None:
                entropies[:, step] = entropy(logits[:count])
            logits = how.guide(logits, step, length)
            broken = torch.where(logits.isfinite().all(), broken, broken.clamp(max=step))
            indices[:, step] = how.draw(logits, generator)
        if int(broken) < length:
            blamed = self._blame(lambda: self.logits(indices, condition))
            raise ValueError(f"the logits are not finite from step {int(broken)} on: {blamed}")
        made = self._made(indices)
        return made if stop_entropy is None else shortened(made, first_uncertain(entropies, stop_entropy))

    def log_prob(self, tokens: Tokens, labels: Labels) -> Tensor:
        indices, condition = self._pair(tokens, labels)
        return (score(self.logits(indices, condition), indices) * counted(tokens, indices)).sum(1)

    def loss(  # type: ignore[override]
        self, tokens: Tokens, labels: Labels, *, label_dropout: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean of -log p over all tokens that count, in nats; a share of the samples is shown no condition."""
        indices, condition = self._pair(tokens, labels)
        if label_dropout:
            condition = drop(condition, self.null(condition), label_dropout, generator)
        counts = counted(tokens, indices)
        return -(score(self.logits(indices, condition), indices) * counts).sum() / counts.sum()

    def _pair(self, tokens: Tokens, labels: Labels) -> tuple[Tensor, Condition]:
        indices, condition = self.check_tokens(tokens), self.condition(labels)
        if len(indices) != size(condition):
            raise ValueError(f"there are {len(indices)} samples of tokens and {size(condition)} labels")
        return indices, condition

    def _length(self, num_tokens: int | None) -> int:
        most = int(self.config.num_tokens)
        if num_tokens is None:
            return most
        if not 1 <= num_tokens <= most or (self.config.grid is not None and num_tokens != most):
            allowed = f"1 to {most}" if self.config.grid is None else f"{most}, a whole grid"
            raise ValueError(f"num_tokens must be {allowed}; got {num_tokens}")
        return num_tokens

    def _prefix(self, given: Tokens | None, count: int, length: int) -> Tensor:
        if given is None:
            return torch.zeros(count, 0, dtype=torch.int64, device=self.device)
        start = given.num_tokens
        if given.valid is not None:
            start = int(given.lengths[0])
            first = torch.arange(given.num_tokens, device=given.valid.device) < start
            if not bool((given.valid == first).all()):
                raise ValueError("given tokens must be the first ones, as many in each sample: their `valid` is not")
        if start > length:
            raise ValueError(f"{start} tokens are given, more than the {length} of the whole sequence")
        indices = self.check_tokens(given)[:, :start]
        if len(indices) not in (1, count):
            raise ValueError(f"given tokens must be 1 or {count} samples; got {len(indices)}")
        return indices.expand(count, -1)


# --- tokens ----------------------------------------------------------------------------------------------------------


def counted(tokens: Tokens, like: Tensor) -> Tensor:
    """1 for tokens that count, 0 for others, (B, L)."""
    return torch.ones_like(like) if tokens.valid is None else tokens.valid.to(like)


def shortened(tokens: Tokens, lengths: Tensor) -> Tokens:
    """Of each sample its first tokens only, `lengths` (B,)."""
    valid = torch.arange(tokens.num_tokens, device=lengths.device) < lengths.unsqueeze(1)
    return replace(tokens, indices=tokens.indices.masked_fill(~valid, 0), valid=valid)  # type: ignore[union-attr]


# --- conditions ------------------------------------------------------------------------------------------------------


def size(condition: Condition) -> int:
    """Samples."""
    return len(condition.features) if isinstance(condition, Text) else len(condition)


def repeat(condition: Condition, count: int) -> Condition:
    """Each sample `count` times, together."""
    if count < 1:
        raise ValueError(f"num_samples must be at least 1; got {count}")
    if isinstance(condition, Text):
        return Text(*(part.repeat_interleave(count, 0) for part in condition))
    return condition.repeat_interleave(count, 0)


def part_of(condition: Condition, rows: slice) -> Condition:
    """Some of the samples."""
    return Text(*(part[rows] for part in condition)) if isinstance(condition, Text) else condition[rows]


def join(first: Condition, second: Condition) -> Condition:
    """Both in one batch."""
    if isinstance(first, Text) and isinstance(second, Text):
        return Text(*(torch.cat([one, other]) for one, other in zip(first, second, strict=True)))
    if isinstance(first, Text) or isinstance(second, Text):
        raise unlike()
    return torch.cat([first, second])


def unlike() -> ValueError:
    """Of two conditions that are no pair."""
    return ValueError("one condition is of text, the other of class labels; both must be of the same kind")


def drop(condition: Condition, null: Condition, share: float, generator: torch.Generator | None) -> Condition:
    """`null` in place of a share of the samples, chosen at random."""
    features = condition.features if isinstance(condition, Text) else condition
    chosen = torch.rand(len(features), device=features.device, generator=generator) < share
    if isinstance(condition, Text) and isinstance(null, Text):
        return Text(torch.where(chosen[:, None, None], null.features, condition.features), condition.valid)
    if isinstance(condition, Text) or isinstance(null, Text):
        raise unlike()
    return torch.where(chosen, null, condition)


def score(logits: Tensor, indices: Tensor) -> Tensor:
    """Logits (B, L, V) and indices (B, L) -> log p of each, (B, L)."""
    return logits.log_softmax(-1).gather(-1, indices.unsqueeze(-1)).squeeze(-1)
