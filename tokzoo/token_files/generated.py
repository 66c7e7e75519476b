"""Codes coded by the probabilities that a generator gives them.

R codes are coded at once: those of one place in the sequence, in the samples of a block that have one there.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokzoo.token_files import rans
from tokzoo.token_files.entropy import CHECKSUM, Mask, check, split
from tokzoo.token_files.errors import TokenFileError
from tokzoo.token_files.rans import Integers
from tokzoo.tokens import bit_width

Probabilities: TypeAlias = NDArray[np.float32]
NextCode: TypeAlias = Callable[[Tensor], Tensor]
"""A generator as a model: the codes so far (B, l), int64, to be read only -> probabilities (B, K) of the next, K its
slot's levels.

Codes come token by token, of a token slot by slot; those of tokens that do not count are 0. The function is asked once
per position, with the same B samples when writing and when reading, and must answer with the same bits both times: the
same weights, device and dtype. Probabilities need not sum to one.
"""

LARGEST_NEXT = 1 << 20  # values that a NextCode may have
WINDOW = 32  # values whose probabilities are summed at once


class Intervals:
    """Intervals of R codes of K values each, out of 2**precision, by their probabilities (R, K).

    Probabilities are summed over windows of 32 values, which get intervals by their sums. A window's interval is
    divided among its values only when it is known to be the one, so that what is done R x K times is little. Each value
    has a part of 2**precision for its own, however small its probability.

    Raises:
        ValueError: probabilities that are negative, NaN, infinite, or all zero.
    """

    def __init__(self, probabilities: Probabilities, precision: int):
        rows, values = probabilities.shape
        self._window = min(WINDOW, values)
        self._windows = -(-values // self._window)
        padding = self._windows * self._window - values
        padded = np.pad(probabilities, ((0, 0), (0, padding))) if padding else probabilities
        self._probabilities = np.ascontiguousarray(padded).reshape(-1, self._window)
        sums = np.cumsum(np.einsum("ij->i", self._probabilities).reshape(rows, -1), axis=1, dtype=np.float64)
        if not (np.isfinite(sums[:, -1:]).all() and (sums[:, -1:] > 0).all() and probabilities.min() >= 0):
            raise ValueError("probabilities must not be negative, NaN, infinite or all zero")
        spare = np.arange(self._window, (self._windows + 1) * self._window, self._window)
        ends = (sums * (((1 << precision) - spare[-1]) / sums[:, -1:])).astype(np.int64) + spare
        self._bases = np.arange(rows) << precision  # of each row, so that all ends are one rising sequence
        self._ends = (ends + self._bases[:, None]).reshape(-1)
        self._sizes = np.diff(ends, axis=1, prepend=0).reshape(-1)

    def of(self, codes: Integers) -> tuple[Integers, Integers]:
        """Codes (R,) -> their frequencies and starts."""
        rows = np.arange(len(codes))
        frequencies, ends = self._within(rows * self._windows + codes // self._window)
        places = rows * self._window + codes % self._window
        return frequencies[places], ends[places] - frequencies[places] - self._bases

    def find(self, slots: Integers, first: int) -> tuple[Integers, Integers, Integers]:
        """Slots of the codes from number `first` on -> codes, frequencies, starts.

        Raises:
            TokenFileError: a slot in nobody's interval.
        """
        rows = np.arange(first, first + len(slots))
        bases = self._bases[first : first + len(slots)]
        windows = np.searchsorted(self._ends, slots + bases, side="right")
        if (windows >= (rows + 1) * self._windows).any():
            raise TokenFileError("these bytes are no codes of this model: were other probabilities used?")
        frequencies, ends = self._within(windows)
        places = np.searchsorted(ends, slots + bases, side="right")
        codes = (windows - rows * self._windows) * self._window + places % self._window
        return codes, frequencies[places], ends[places] - frequencies[places] - bases

    def _within(self, windows: Integers) -> tuple[Integers, Integers]:
        """Windows, one of each row -> their values' frequencies, and where their intervals end, all in one row."""
        probabilities = self._probabilities[windows].astype(np.float64)  # (R, 32)
        sums = np.einsum("ij->i", probabilities)
        shares = (self._sizes[windows] - self._window) / np.maximum(sums, np.finfo(np.float64).tiny)
        frequencies = np.floor(probabilities * shares[:, None]) + 1.0
        ends = frequencies @ np.tri(self._window).T  # whole numbers, exact in any order of summing
        begins = self._ends[windows] - self._sizes[windows]
        return frequencies.astype(np.int64).reshape(-1), (ends.astype(np.int64) + begins[:, None]).reshape(-1)


class Generated:
    """Each code by the probabilities that a generator gives it after all codes before it. See `NextCode`."""

    def __init__(self, levels: Sequence[int], next_code: NextCode):
        if max(levels) > LARGEST_NEXT:
            raise TokenFileError(f"a generator codes up to {LARGEST_NEXT} values a slot; got levels {tuple(levels)}")
        self.levels, self.next_code = levels, next_code
        self.precision = min(rans.LARGEST_PRECISION, max(16, bit_width(max(levels)) + 8))

    def encode(self, codes: Integers, mask: Mask) -> bytes:
        checksum = _checksum(codes)
        slots = np.zeros((*mask.shape, len(self.levels)), np.int64)
        slots[mask] = codes
        sequence = slots.reshape(len(mask), mask.shape[1] * len(self.levels))
        positions = list(self._positions(mask))
        if not positions:
            return checksum
        found = [self.intervals(sequence, place, rows).of(sequence[rows, place]) for place, rows in positions]
        frequencies, starts = (np.concatenate(parts) for parts in zip(*found, strict=True))
        bits = float(self.precision * len(frequencies) - np.log2(frequencies).sum())
        lanes = min(len(mask), max(round(bits / rans.LANE_BITS), rans.fewest_lanes(len(frequencies))))
        sizes = [size for _, rows in positions for size in _steps(int(rows.sum()), lanes)]
        place, rows = positions[-1]
        last = sequence[rows, place][-sizes[-1] :]
        coded = slice(len(frequencies) - sizes.pop())
        return checksum + rans.encode(
            frequencies[coded], starts[coded], sizes, last, lanes=lanes, precision=self.precision
        )

    def decode(self, data: memoryview, mask: Mask) -> Integers:
        written, coded = split(data, [CHECKSUM, None])
        sequence = np.zeros((len(mask), mask.shape[1] * len(self.levels)), np.int64)
        positions = list(self._positions(mask))
        if positions:
            self._decode(coded, sequence, positions)
        codes = sequence.reshape(*mask.shape, len(self.levels))[mask]
        check(_checksum(codes), written)
        return codes

    def _decode(self, data: memoryview, sequence: Integers, positions: Sequence[tuple[int, Mask]]) -> None:
        """Fills the sequence (B, L * D), place after place."""
        count = sum(int(rows.sum()) for _, rows in positions)
        fewest = min(len(sequence), rans.fewest_lanes(count))
        decoder = rans.Decoder(data, precision=self.precision, fewest=fewest, most=len(sequence))
        for place, rows in positions:
            sizes = _steps(int(rows.sum()), decoder.lanes)
            final = place == positions[-1][0]
            found = np.zeros(sum(sizes), np.int64)
            intervals = self.intervals(sequence, place, rows) if len(sizes) > final else None
            first = 0
            for size in sizes[: len(sizes) - final]:
                assert intervals is not None
                codes, frequencies, starts = intervals.find(decoder.slots(size), first)
                decoder.advance(frequencies, starts)
                found[first : first + size] = codes
                first += size
            if final:
                found[first:] = decoder.last(sizes[-1])
            sequence[rows, place] = found

    def _positions(self, mask: Mask) -> Iterator[tuple[int, Mask]]:
        """(place in the sequence, the samples with a code there (B,)), where something is to be coded."""
        for token, rows in enumerate(mask.T):
            if rows.any():
                slots = (slot for slot, level in enumerate(self.levels) if level > 1)
                yield from ((token * len(self.levels) + slot, rows) for slot in slots)

    def intervals(self, sequence: Integers, place: int, rows: Mask) -> Intervals:
        with torch.no_grad():
            answer = self.next_code(torch.from_numpy(sequence[:, :place]))
        wanted = (len(sequence), self.levels[place % len(self.levels)])
        if tuple(answer.shape) != wanted:
            raise ValueError(f"the model must give probabilities {wanted} at position {place}; got {answer.shape}")
        probabilities: Probabilities = answer.float().cpu().numpy()
        try:
            return Intervals(probabilities if rows.all() else probabilities[rows], self.precision)
        except ValueError as error:
            raise ValueError(f"of the model's answer at position {place}: {error}") from error


def _steps(rows: int, lanes: int) -> list[int]:
    """The sizes of the steps that code so many codes."""
    return [min(lanes, rows - start) for start in range(0, rows, lanes)]


def _checksum(codes: Integers) -> bytes:
    """Of codes (N, D), as uint32 token by token."""
    return zlib.crc32(codes.astype("<u4").tobytes()).to_bytes(CHECKSUM, "little")
