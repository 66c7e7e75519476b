"""Generators of discrete tokens. B batch, L tokens, D codes of a token, W words of a sample, V ids of a word."""

from typing import Any

import torch
from torch import Tensor

from tokzoo.generators.base import Generator
from tokzoo.generators.words import Words
from tokzoo.parts import check_indices
from tokzoo.tokens import Grid, Grid3D, Layout, Pyramid, Sequence, Tokens, TokenSpec

IMPOSSIBLE = -1e9  # the logit of an id that no word there has; finite, so that what is not finite is an error


class WordGenerator(Generator):
    """Says tokens in words: one a token as a rule, several where a token's codes are too many for one, see `Words`.

    Its config has, beside what every generator's has, `codebook_size`, of ids, and `slots`, the values of each code of
    a token, or empty where it has one code and that is its word. With them `num_tokens` and `grid` count words. Where
    tokens lie on planes of growing size, `planes` says (height, width) of each, and they are said as one row.

    Raises:
        ValueError: planes of another number of tokens.
    """

    impossible: Tensor | None

    def __init__(self, config: Any):
        super().__init__(config)
        words, layout = len(self.words.sizes), self.layout
        if isinstance(layout, Pyramid) and layout.num_tokens * words != config.num_tokens:
            raise ValueError(f"{layout} holds {layout.num_tokens * words} words; num_tokens says {config.num_tokens}")
        self.register_buffer("impossible", self.words.impossible() if words > 1 else None, persistent=False)

    @property
    def words(self) -> Words:
        """How it says the codes of a token."""
        return Words.for_levels(self.config.slots or (self.config.codebook_size,))

    @property
    def layout(self) -> Layout:
        """How the tokens that it makes lie."""
        grid, words = self.config.grid, len(self.words.sizes)
        if self.config.planes:
            return Pyramid(self.config.planes)
        if grid is None:
            return Sequence(self.config.num_tokens // words)
        if len(grid) == 3:
            return Grid3D(grid[0], grid[1], grid[2] // words)
        return Grid(grid[0], grid[1] // words)

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot of a token."""
        return self.words.levels

    @classmethod
    def fields_for(cls, spec: TokenSpec) -> dict[str, Any]:
        if spec.levels is None:
            raise ValueError(f"{cls.__name__} makes discrete tokens; this tokenizer's are continuous")
        words = Words.for_levels(spec.levels)
        slots = () if words.sizes == spec.levels and len(spec.levels) == 1 else spec.levels
        return dict(codebook_size=words.vocabulary, slots=slots, **cls.place_for(spec, len(words.sizes)))

    @classmethod
    def place_for(cls, spec: TokenSpec, words: int) -> dict[str, Any]:
        """Where so many words of a token lie: side by side, where the tokenizer has that token.

        Raises:
            ValueError: tokens that lie where geometry says.
        """
        layout = spec.layout
        if isinstance(layout, Sequence):
            return dict(num_tokens=layout.num_tokens * words, grid=None)
        if isinstance(layout, Grid):
            return dict(num_tokens=layout.num_tokens * words, grid=(layout.height, layout.width * words))
        if isinstance(layout, Grid3D):
            grid = (layout.frames, layout.height, layout.width * words)
            return dict(num_tokens=layout.num_tokens * words, grid=grid)
        if isinstance(layout, Pyramid):
            return dict(num_tokens=layout.num_tokens * words, grid=None, planes=layout.scales)
        raise ValueError(
            f"{cls.__name__} makes tokens in a row, on a grid or on planes of growing size; this tokenizer's lie on "
            f"{layout}, each where its geometry says: a generator must make that, too"
        )

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
        if isinstance(self.layout, Pyramid):
            fits = spec.layout == self.layout
        if not fits or (not isinstance(spec.layout, Grid | Grid3D) and length > spec.lengths[1]):
            raise ValueError(f"this generator's tokens lie on {self.layout}, the tokenizer's on {spec.layout}")

    def check_tokens(self, tokens: Tokens) -> Tensor:
        """Ids (B, W) of tokens as this generator says them: one word a token unless its `words` are more.

        Raises:
            TypeError: no Tokens. ValueError: those of another tokenizer.
        """
        self._check_is_tokens(tokens)
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
        if isinstance(tokens.layout, Grid | Grid3D) and tokens.layout != self.layout:
            raise ValueError(f"this generator's tokens lie on {self.layout}; got {tokens.layout}")
        if isinstance(tokens.layout, Pyramid) and isinstance(self.layout, Pyramid):
            count = len(tokens.layout.scales)
            if tokens.layout.scales != self.layout.scales[:count]:
                raise ValueError(f"this generator's tokens lie on {self.layout}; got {tokens.layout}")
        if most is not None and tokens.num_tokens > most:
            raise ValueError(f"at most {most} tokens fit; got {tokens.num_tokens}")
        indices = tokens.indices.to(self.device)
        if not torch.compiler.is_compiling() and indices.device.type != "meta":
            counted = indices if tokens.valid is None else indices[tokens.valid.to(self.device)].unsqueeze(0)
            check_indices(counted, self.levels)
        return self.words.of(indices)

    @staticmethod
    def _check_is_tokens(tokens: object) -> None:
        if not isinstance(tokens, Tokens):
            raise TypeError(f"tokens must be Tokens, as tok.encode makes them; got {type(tokens).__name__}")

    def _made(self, ids: Tensor) -> Tokens:
        indices = self.words.codes(ids)
        layout = self.layout if ids.shape[1] == self.config.num_tokens else Sequence(indices.shape[1])
        return Tokens(layout=layout, indices=indices, levels=self.levels)

    def _possible(self, logits: Tensor, places: Tensor) -> Tensor:
        """Logits (..., V) of the words at `places`, (...) of them, without a chance for ids that no word there has."""
        if self.impossible is None:
            return logits
        return logits.masked_fill(self.impossible[places % len(self.impossible)], IMPOSSIBLE)
