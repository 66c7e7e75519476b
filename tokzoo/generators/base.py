"""The one API of every generator. B batch."""

from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tokzoo.generators.conditions import Condition, Labels, Text
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Grid, Layout, Sequence, Tokens, TokenSpec


class Generator(nn.Module):
    """Tokens from a class label, or from text, for the tokenizer of which its sizes were taken.

    Its config has `num_tokens`, `grid` (height, width) or None for a row of tokens, `num_classes` and `null_class`,
    whether there is a class of its own for no condition at all, which guidance needs.
    """

    reads: tuple[str, ...] = ()  # what `loss` is given of what the tokenizer prepares, by name

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
        return Sequence(self.config.num_tokens) if grid is None else Grid(*grid)

    @property
    def levels(self) -> tuple[int, ...] | None:
        """Values per slot of a token; None: what it makes is continuous."""
        raise TypeError(f"{type(self).__name__} must define levels")

    @classmethod
    def fields_for(cls, spec: TokenSpec) -> dict[str, Any]:
        """The fields of a config with which this generator makes the tokens of `spec`.

        Raises:
            ValueError: tokens that it cannot make.
        """
        raise TypeError(f"{cls.__name__} must define fields_for")

    def check_pair(self, spec: TokenSpec) -> None:
        """Raises ValueError unless the tokenizer of `spec` decodes what this generator makes."""
        raise TypeError(f"{type(self).__name__} must define check_pair")

    def read_tokenizer(self, tok: VisualTokenizer) -> None:
        """Learns whose tokens it makes. Raises ValueError unless they fit."""
        self.check_pair(tok.token_spec)
        self.tokenizer = tok.name

    def read_scale(self, tokens: Tokens, **given: Tensor) -> None:
        """Learns of samples, before training, what a continuous generator standardises by; most know by `TokenSpec`."""

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
            TypeError: what are no numbers. ValueError: a label out of range.
        """
        if isinstance(labels, Text):
            raise ValueError(f"{type(self).__name__} takes class labels; got text features")
        given: Any = [labels] if isinstance(labels, Integral) else labels
        try:
            made = given.to(self.device) if isinstance(given, Tensor) else torch.tensor(list(given), device=self.device)
        except (TypeError, ValueError):
            raise TypeError(f"labels must be a class number, or several; got {labels!r}") from None
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
