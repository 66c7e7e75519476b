"""How often values occur, and the parts of the coder's interval that they get for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokzoo.token_files.errors import TokenFileError
from tokzoo.token_files.rans import Integers
from tokzoo.tokens import Tokens, bit_width

MODELLED_BITS = 16  # of wider codes, the bits below these are stored as they are


def low_bits(level: int) -> int:
    """Bits of a code that no probability is kept of."""
    return max(0, bit_width(level) - MODELLED_BITS)


def modelled_levels(level: int) -> int:
    """Values of a code's upper 16 bits, of which probabilities are kept."""
    return ((level - 1) >> low_bits(level)) + 1


@dataclass(frozen=True, eq=False)
class Frequencies:
    """How often each value of each slot occurs, for the static model.

    Args:
        counts: per slot an array of `modelled_levels` numbers from 0 to 65535; half is added to each.
        stored: write them into the file (2 bytes a value). Otherwise only their checksum is written, and reading needs
            them again: for small files of a tokenizer that brings its own.

    Raises:
        ValueError: counts outside 0 to 65535.
    """

    counts: tuple[NDArray[np.uint16], ...]
    stored: bool = True

    def __post_init__(self) -> None:
        for slot, counts in enumerate(self.counts):
            if np.ndim(counts) != 1 or np.min(counts, initial=0) < 0 or np.max(counts, initial=0) > 65535:
                raise ValueError(f"counts of slot {slot} must be a row of numbers from 0 to 65535")
        object.__setattr__(self, "counts", tuple(np.asarray(counts).astype("<u2") for counts in self.counts))

    @classmethod
    def of(cls, tokens: Tokens, *, stored: bool = True) -> "Frequencies":
        """Counted over tokens; where a value occurs above 65535 times, all counts of its slot shrink alike."""
        if tokens.indices is None or tokens.levels is None:
            raise TokenFileError("frequencies are counted over indices with levels; these Tokens lack one of them")
        chosen = tokens.indices if tokens.valid is None else tokens.indices[tokens.valid]
        slots = zip(chosen.reshape(-1, tokens.num_slots).T.cpu().numpy(), tokens.levels, strict=True)
        return cls(tuple(_count(codes >> low_bits(level), level) for codes, level in slots), stored=stored)

    def to_bytes(self) -> bytes:
        """uint16, little end first, slot after slot."""
        return b"".join(counts.tobytes() for counts in self.counts)

    @classmethod
    def from_bytes(cls, data: bytes, levels: Sequence[int]) -> "Frequencies":
        """Raises TokenFileError if the length is not that of these levels."""
        sizes = [modelled_levels(level) for level in levels]
        if len(data) != 2 * sum(sizes):
            raise TokenFileError(f"the frequency table has {len(data)} bytes; its levels need {2 * sum(sizes)}")
        return cls(tuple(np.split(np.frombuffer(data, "<u2"), np.cumsum(sizes)[:-1])))


class Table:
    """Intervals of the symbols of G groups, each group's out of 2**precision.

    Args:
        weights: per group how likely its symbols are, in any unit. A symbol's share is one part of 2**precision more
            than its weight gives, so that each can be coded.

    Symbols are numbered through all groups: those of the second begin where the first ends.
    """

    def __init__(self, weights: Sequence[NDArray[np.float64]], precision: int):
        ends = [_ends(group, 1 << precision) for group in weights]
        self.starts: Integers = np.concatenate([np.concatenate([[0], group[:-1]]) for group in ends])
        self.frequencies: Integers = np.concatenate(ends) - self.starts

    @cached_property
    def symbols(self) -> Integers:
        """(G * 2**precision,) whose interval each slot lies in."""
        return np.repeat(np.arange(len(self.frequencies)), self.frequencies)


def _ends(weights: NDArray[np.float64], modulus: int) -> Integers:
    """Where intervals end; made of a running sum, one number after the other, so that all machines agree."""
    sums = np.cumsum(weights)
    ends: Integers = (sums * ((modulus - len(sums)) / sums[-1])).astype(np.int64) + np.arange(1, len(sums) + 1)
    ends[-1] = modulus
    return ends


def _count(symbols: NDArray[Any], level: int) -> NDArray[np.uint16]:
    counts = np.bincount(symbols, minlength=modelled_levels(level))
    if counts.max() > 65535:
        counts = np.ceil(counts * (65535 / counts.max()))  # what occurred stays above zero
    return counts.astype("<u2")
