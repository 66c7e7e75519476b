"""Asymmetric numeral systems (arXiv:1311.2540, their range variant), many states side by side: the one entropy coder.

A state is an integer that holds values as digits of unequal weight. A value of frequency f out of M = 2**precision,
whose interval begins at `start`, takes x to x // f * M + x % f + start; what the state cannot hold leaves it as 16-bit
words. Decoding undoes this, the last first. Each step codes a value in every lane, a state of its own, in a handful of
array operations; all lanes share one stream of words.

N values, in steps of up to W lanes.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tokzoo.token_files.bits import pack, packed_size, unpack
from tokzoo.token_files.errors import TokenFileError

Integers: TypeAlias = NDArray[np.int64]

WORD = 16  # bits that leave a state at once
LARGEST_PRECISION = 24
LANE_BITS = 2048  # that a lane has at least: it costs about 20 bits beyond its values, 1 percent of these
LANE_VALUES = 256  # that a lane has at least: more lanes would not be faster
LANE_STEPS = 1024  # that a lane has at most, however few its bits: fewer lanes would be slow
HEAD = 2  # bytes of the number of lanes
MOST_LANES = (1 << 8 * HEAD) - 1


def fewest_lanes(values: int) -> int:
    """That code so many values. A reader refuses fewer, so that few bytes never stand for many steps."""
    return min(-(-values // LANE_STEPS), MOST_LANES)


def lane_count(bits: float, values: int) -> int:
    """Lanes for values that take so many bits."""
    return min(max(1, min(round(bits / LANE_BITS), values // LANE_VALUES), fewest_lanes(values)), MOST_LANES)


def encode(
    frequencies: Integers, starts: Integers, sizes: Sequence[int], last: Integers, *, lanes: int, precision: int
) -> bytes:
    """Values, in the order in which they are decoded, as bytes.

    Args:
        frequencies, starts: (N,) of each value, out of 2**precision.
        sizes: how many values each step takes; their sum is N.
        last: numbers below 2**precision of one more step. They are what the states begin with, and are not coded.
        lanes: at least the largest of `sizes` and the length of `last`.
    """
    states = np.full(lanes, 1 << precision, np.int64)
    states[: len(last)] += last
    passes = _passes(precision)
    words, begin = np.empty(len(frequencies) * passes, "<u2"), len(frequencies) * passes
    shifts = [np.array(WORD * count) for count in range(passes, 0, -1)]
    growth, stop = (1 << precision) - frequencies, len(frequencies)
    scratch, flags = np.empty(lanes, np.int64), np.empty(lanes, np.bool_)
    for size in reversed(sizes):
        state, part, flag = states[:size], scratch[:size], flags[:size]
        here = slice(stop - size, stop)
        frequency = frequencies[here]
        for shift in shifts:  # first where two words leave, then where one does: the reverse of the decoder
            np.right_shift(state, shift, out=part)
            full = np.greater_equal(part, frequency, out=flag).nonzero()[0]
            leaving = state[full]
            words[begin - len(full) : begin] = leaving
            begin -= len(full)
            state[full] = leaving >> WORD
        np.floor_divide(state, frequency, out=part)
        np.multiply(part, growth[here], out=part)
        np.add(state, part, out=state)  # x + x // f * (M - f) is x // f * M + x % f
        np.add(state, starts[here], out=state)
        stop -= size
    return lanes.to_bytes(HEAD, "little") + pack(states, precision + WORD) + words[begin:].tobytes()


class Decoder:
    """Reads what `encode` wrote, a step at a time: `slots`, then `advance`; and at the end `last`.

    Args:
        data: all of its bytes.
        fewest, most: lanes that there can be.

    Raises:
        TokenFileError: another number of lanes, or bytes that end within the states.
    """

    def __init__(self, data: memoryview, *, precision: int, fewest: int, most: int):
        self.lanes = int.from_bytes(data[:HEAD], "little")
        size = packed_size(self.lanes, precision + WORD)
        if not fewest <= self.lanes <= most or len(data) < HEAD + size or (len(data) - HEAD - size) % 2:
            raise TokenFileError(f"{len(data)} bytes of entropy coded codes cannot have {self.lanes} lanes")
        self._states = unpack(data[HEAD : HEAD + size], self.lanes, precision + WORD)
        self._words = np.frombuffer(data[HEAD + size :], "<u2").astype(np.int64)
        self._at = 0
        self._passes, self._shift, self._word = _passes(precision), np.array(precision), np.array(WORD)
        self._modulus, self._mask = np.array(1 << precision), np.array((1 << precision) - 1)
        self._slots, self._flags = np.empty(self.lanes, np.int64), np.empty(self.lanes, np.bool_)

    def slots(self, size: int) -> Integers:
        """(size,) numbers, each in the interval of the value that comes next in its lane. Valid until the next call."""
        slots: Integers = np.bitwise_and(self._states[:size], self._mask, out=self._slots[:size])
        return slots

    def advance(self, frequencies: Integers, starts: Integers) -> None:
        """Takes the values of these intervals, in which the slots lie, out of their lanes."""
        size = len(frequencies)
        state = self._states[:size]
        np.right_shift(state, self._shift, out=state)
        np.multiply(state, frequencies, out=state)
        np.add(state, self._slots[:size], out=state)
        np.subtract(state, starts, out=state)
        for _ in range(self._passes):
            low = np.less(state, self._modulus, out=self._flags[:size]).nonzero()[0]
            stop = self._at + len(low)
            if stop > len(self._words):
                raise TokenFileError("the entropy coded codes end too early: were other probabilities used?")
            filled = state[low]
            np.left_shift(filled, self._word, out=filled)
            np.bitwise_or(filled, self._words[self._at : stop], out=filled)
            state[low] = filled
            self._at = stop

    def last(self, size: int) -> Integers:
        """(size,) numbers with which the states began, once all steps are taken."""
        rest = self._states - self._modulus
        if self._at < len(self._words) or rest.min() < 0 or (rest > self._mask).any() or rest[size:].any():
            raise TokenFileError("the entropy coded codes go on behind their end: were other probabilities used?")
        return rest[:size]


def _passes(precision: int) -> int:
    """Words that one value can take."""
    return -(-precision // WORD)
