"""The one API of every generator. B batch, L tokens, D codes of a token, W words of a sample, V ids of a word."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tokzoo.generators.conditions import Condition, Labels, Text
from tokzoo.generators.words import Words
from tokzoo.parts import check_indices
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Grid, Layout, Sequence, Tokens, TokenSpec

IMPOSSIBLE = -1e9  # the logit of an id that no word there has; finite, so that what is not finite is an error


class Generator(nn.Module):
    """Tokens from a class label, or from text, for the tokenizer of which its sizes were taken.

    Its config has `codebook_size`, `num_tokens`, `grid` (height, width) or None for a row of tokens, `num_classes` and
    `null_class`, whether there is a class of its own for no condition at all, which guidance needs. Where it has
    `slots`, the values of each code of a token, the first three count words, as `Words` says.
    """

    impossible: Tensor | None

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.name: str | None = None  # the full registered name, once known
        self.tokenizer: str | None = None  # full name, or place, of the one that decodes what it makes
        self.classes: tuple[str, ...] = ()  # names of the labels, where they are known
        self.sampling: dict[str, Any] = {}  # options of `sample` that it was judged with
        several = len(self.words.sizes) > 1
        self.register_buffer("impossible", self.words.impossible() if several else None, persistent=False)

    # what it says of itself

    @property
    def words(self) -> Words:
        """How it says the codes of a token."""
        return Words(getattr(self.config, "slots", ()) or (self.config.codebook_size,))

    @property
    def layout(self) -> Layout:
        """How the tokens that it makes lie."""
        grid, words = self.config.grid, len(self.words.sizes)
        return Sequence(self.config.num_tokens // words) if grid is None else Grid(grid[0], grid[1] // words)

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot of a token."""
        return self.words.levels

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
        return dict(codebook_size=spec.levels[0], **cls.place_for(spec, 1))

    @classmethod
    def word_fields_for(cls, spec: TokenSpec) -> dict[str, Any]:
        """`fields_for` of a generator that says tokens of several codes in words.

        Raises:
            ValueError: tokens that it cannot make.
        """
        if spec.levels is None:
            raise ValueError(f"{cls.__name__} makes discrete tokens; this tokenizer's are continuous")
        words = Words(spec.levels)
        slots = () if words.sizes == spec.levels and len(spec.levels) == 1 else spec.levels
        return dict(codebook_size=words.vocabulary, slots=slots, **cls.place_for(spec, len(words.sizes)))

    @classmethod
    def place_for(cls, spec: TokenSpec, words: int) -> dict[str, Any]:
        """Where so many words of a token lie: side by side, where the tokenizer has that token.

        Raises:
            ValueError: tokens neither in a row nor on a grid.
        """
        layout = spec.layout
        if isinstance(layout, Grid):
            return dict(num_tokens=layout.num_tokens * words, grid=(layout.height, layout.width * words))
        if isinstance(layout, Sequence):
            return dict(num_tokens=layout.num_tokens * words, grid=None)
        raise ValueError(f"{cls.__name__} makes a row or a grid of tokens; this tokenizer's lie on {layout}")

    def check_pair(self, spec: TokenSpec) -> None:
        """Raises ValueError unless the tokenizer of `spec` decodes what this generator makes."""
        if spec.levels != self.levels:
            raise ValueError(
                f"this generator makes codes of {self.levels} values; the tokenizer's codes have {spec.levels}: "
                "they are no pair"
            )
        length = self.layout.num_tokens
        assert length is not None
        fits = type(spec.layout) is type(self.layout) and spec.lengths[0] <= length
        if not fits or (not isinstance(spec.layout, Grid) and length > spec.lengths[1]):
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
        from tokzoo import saving

        return saving.save_pretrained(self, folder, dtype=dtype)  # type: ignore[arg-type]

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Uploads what `save_pretrained` writes, with a model card; see `tokzoo.saving.push_to_hub`."""
        from tokzoo import saving

        return saving.push_to_hub(self, repo, **options)  # type: ignore[arg-type]

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
        """Ids (B, W) of tokens as this generator says them: one word a token unless its `words` are more.

        Raises:
            TypeError: no Tokens. ValueError: those of another tokenizer.
        """
        if not isinstance(tokens, Tokens):
            raise TypeError(f"tokens must be Tokens, as tok.encode makes them; got {type(tokens).__name__}")
        count, most = len(self.levels), self.layout.num_tokens
        if tokens.indices is None or tokens.num_slots != count:
            shape = "one code a token, indices (B, L)" if count == 1 else f"{count} codes a token, indices (B, L, D)"
            raise ValueError(f"{type(self).__name__} reads {shape}")
        if tokens.levels not in (None, self.levels):
            raise ValueError(
                f"these tokens are of another tokenizer: codes of {tokens.levels} values, not of {self.levels}"
            )
        if type(tokens.layout) is not type(self.layout):
            raise ValueError(f"these tokens are of another tokenizer: they lie on {tokens.layout}, not {self.layout}")
        if isinstance(tokens.layout, Grid) and tokens.layout != self.layout:
            raise ValueError(f"this generator's tokens lie on {self.layout}; got {tokens.layout}")
        if most is not None and tokens.num_tokens > most:
            raise ValueError(f"at most {most} tokens fit; got {tokens.num_tokens}")
        indices = tokens.indices.to(self.device)
        if not torch.compiler.is_compiling() and indices.device.type != "meta":
            counted = indices if tokens.valid is None else indices[tokens.valid.to(self.device)].unsqueeze(0)
            check_indices(counted, self.levels)
        return self.words.of(indices)

    def _made(self, ids: Tensor) -> Tokens:
        indices = self.words.codes(ids)
        layout = self.layout if ids.shape[1] == self.config.num_tokens else Sequence(indices.shape[1])
        return Tokens(layout=layout, indices=indices, levels=self.levels)

    def _possible(self, logits: Tensor, places: Tensor) -> Tensor:
        """Logits (..., V) of the words at `places`, (...) of them, without a chance for ids that no word there has."""
        if self.impossible is None:
            return logits
        return logits.masked_fill(self.impossible[places % len(self.impossible)], IMPOSSIBLE)

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
