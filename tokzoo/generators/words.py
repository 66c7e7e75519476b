"""Tokens of several codes as the words of a transformer. B batch, L tokens, D codes of a token, P words of a token."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MOST_JOINT = 2**16  # values of all codes together that make one word
MOST_VALUES = 2**18  # values of one word: rows of an embedding
SPLIT_BITS = 12  # of a word, where the code of a token has more values than a word may


@dataclass(frozen=True)
class Words:
    """How the codes of a token are said.

    Several words of a token have ids in ranges of their own, as `Tokens.to_sequence` gives them, so that an id says its
    place in the token; they stand side by side, word p of token t at t * P + p.

    Args:
        levels: values of each code of a token, D of them.
        sizes: values of each word of a token, P of them, of the same product: either is one, or both are equal.
    """

    levels: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def for_levels(cls, levels: tuple[int, ...]) -> "Words":
        """One word, where the codes of a token have few values together; else each code is one, or 12 bits of it.

        Raises:
            ValueError: a code of too many values for a table, which is no power of two.
        """
        most = max(levels)
        if most > MOST_VALUES and (len(levels) > 1 or most & (most - 1)):
            raise ValueError(f"a code of {most} values is too much for a table of {MOST_VALUES}, and is no power of 2")
        if math.prod(levels) <= (MOST_JOINT if len(levels) > 1 else MOST_VALUES):
            return cls(levels, (math.prod(levels),))
        if len(levels) > 1:
            return cls(levels, levels)
        bits = (most - 1).bit_length()
        return cls(levels, tuple(2 ** min(SPLIT_BITS, bits - low) for low in range(0, bits, SPLIT_BITS)))

    @property
    def vocabulary(self) -> int:
        """Ids."""
        return sum(self.sizes)

    def of(self, indices: Tensor) -> Tensor:
        """Codes (B, L), or (B, L, D) -> ids (B, L * P); the first code, or its lowest bits, come first."""
        if self.sizes == self.levels:
            digits = indices.reshape(*indices.shape[:2], len(self.levels))
        elif len(self.sizes) == 1:
            digits = (indices * indices.new_tensor(radix(self.levels))).sum(-1, keepdim=True)
        else:
            digits = digits_of(indices, self.sizes)
        return (digits + digits.new_tensor(self._bases)).flatten(1)

    def codes(self, ids: Tensor) -> Tensor:
        """Ids (B, L * P) -> the codes that they say, (B, L) of one a token, else (B, L, D)."""
        digits = ids.unflatten(1, (-1, len(self.sizes))) - ids.new_tensor(self._bases)  # (B, L, P)
        if self.sizes == self.levels:
            return digits.squeeze(-1)
        if len(self.sizes) == 1:
            return digits_of(digits.squeeze(-1), self.levels)
        return (digits * digits.new_tensor(radix(self.sizes))).sum(-1)

    def impossible(self) -> Tensor:
        """(P, V), True for the ids that a token's word p does not have."""
        sizes = torch.tensor(self.sizes)
        places = torch.arange(len(self.sizes))
        return places[:, None] != places.repeat_interleave(sizes)

    @property
    def _bases(self) -> list[int]:
        return [sum(self.sizes[:word]) for word in range(len(self.sizes))]


def radix(levels: Sequence[int]) -> list[int]:
    """What a code of each slot counts for in the joint index: 1, then the product of the levels before."""
    return [math.prod(levels[:slot]) for slot in range(len(levels))]


def digits_of(joint: Tensor, levels: Sequence[int]) -> Tensor:
    """Joint indices (...) -> codes (..., D), slot 0 varying fastest."""
    return joint.unsqueeze(-1) // joint.new_tensor(radix(levels)) % joint.new_tensor(levels)
