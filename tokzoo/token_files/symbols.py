"""Small codes are joined to symbols of up to 256 values: the coder takes as long for one bit as for eight."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tokzoo.token_files.rans import Integers

JOINED = 256  # values that a symbol of several codes may have


class Symbols:
    """Codes (N, D) of D levels <-> symbols (S,), numbered as in `Table`.

    Neighbouring codes of a token make one symbol as long as it has at most 256 values. Where all codes of a token fit
    into one, so do those of as many tokens as fit; the last symbol is filled up with zeros. In a symbol, the last code
    varies fastest. Codes of one level are left out.

    Attributes:
        slots: the slot of each code of a run of tokens that is coded (levels above one).
        groups: the codes of each symbol, as ranges in `slots`; a run of tokens is as many symbols.
        sizes, offsets: values of each group's symbols, and the number of the first of them.
    """

    def __init__(self, levels: Sequence[int]):
        self.levels = levels
        coded = [slot for slot, level in enumerate(levels) if level > 1]
        bits = sum(map(math.log2, levels))
        self.tokens = max(1, int(math.log2(JOINED) / bits + 1e-9)) if coded else 1
        self.slots = coded * self.tokens
        cuts, size = [0], 1
        for place, slot in enumerate(self.slots):
            size *= levels[slot]
            if size > JOINED and place > cuts[-1]:
                cuts.append(place)
                size = levels[slot]
        self.groups = [range(*ends) for ends in pairwise([*cuts, len(self.slots)]) if self.slots]
        self.sizes = [math.prod(self._shape(group)) for group in self.groups]
        self.offsets = np.cumsum([0, *self.sizes[:-1]], dtype=np.int64)[: len(self.groups)]

    def count(self, tokens: int) -> int:
        """Symbols of so many tokens."""
        return -(-tokens // self.tokens) * len(self.groups)

    def join(self, codes: Integers) -> Integers:
        """Codes (N, D) -> symbols (S,)."""
        if missing := -len(codes) % self.tokens:
            codes = np.concatenate([codes, np.zeros((missing, codes.shape[1]), np.int64)])
        columns = self._columns(codes.reshape(-1, self.tokens, codes.shape[1]))
        symbols = np.empty((len(codes) // self.tokens, len(self.groups)), np.int64)
        for number, group in enumerate(self.groups):
            joined = columns[group[0]]
            for place in group[1:]:
                joined = joined * self.levels[self.slots[place]] + columns[place]
            np.add(joined, self.offsets[number], out=symbols[:, number])
        return symbols.reshape(-1)

    def split(self, symbols: Integers, tokens: int) -> Integers:
        """The codes (tokens, D) of which `join` made the symbols."""
        rows = symbols.reshape(-(-tokens // self.tokens), len(self.groups))
        runs = np.zeros((len(rows), self.tokens, len(self.levels)), np.int64)
        columns = self._columns(runs)
        for number, group in enumerate(self.groups):
            if len(group) == 1:
                np.subtract(rows[:, number], self.offsets[number], out=columns[group[0]])
                continue
            chosen = rows[:, number] - self.offsets[number]
            for place, codes in zip(group, self._parts(group), strict=True):
                columns[place][:] = codes.take(chosen)
        return runs.reshape(-1, len(self.levels))[:tokens]

    def counts(self, symbols: Integers) -> list[Integers]:
        """How often each value of each slot occurs in symbols, those that fill up the last one included."""
        found = np.bincount(symbols, minlength=sum(self.sizes))
        counts = [np.zeros(level, np.int64) for level in self.levels]
        for group, size, offset in zip(self.groups, self.sizes, self.offsets, strict=True):
            joint = found[offset : offset + size].reshape(self._shape(group))
            for axis, place in enumerate(group):
                others = tuple(other for other in range(len(group)) if other != axis)
                counts[self.slots[place]] += joint.sum(axis=others)
        return counts

    def weights(self, values: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        """Of each group's symbols, of the weights of each slot's values: their products."""
        products = []
        for group in self.groups:
            joint = np.ones(1)
            for place in group:
                joint = np.multiply.outer(joint, values[self.slots[place]]).reshape(-1)
            products.append(joint)
        return products

    def _parts(self, group: range) -> tuple[Integers, ...]:
        """Of each symbol of a group, its codes."""
        shape = self._shape(group)
        return np.unravel_index(np.arange(math.prod(shape)), shape)

    def _shape(self, group: range) -> tuple[int, ...]:
        """Levels of a group's codes."""
        return tuple(self.levels[self.slots[place]] for place in group)

    def _columns(self, runs: Integers) -> list[Integers]:
        """Views (runs,) of each code of `slots`."""
        coded = len(self.slots) // self.tokens
        return [runs[:, place // coded, slot] for place, slot in enumerate(self.slots)]
