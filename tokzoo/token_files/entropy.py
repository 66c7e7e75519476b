"""How codes become bytes: at their exact width, or entropy coded over a model of how likely each code is.

N tokens that count, D codes per token, B samples of L tokens in one block, S symbols that the codes are joined to.
A coder turns the codes (N, D) of a block into bytes and back; blocks know nothing of each other, so that each can be
read alone.
"""

import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tokzoo.token_files import rans
from tokzoo.token_files.bits import pack, packed_size, unpack
from tokzoo.token_files.errors import TokenFileError
from tokzoo.token_files.frequencies import Frequencies, Table, low_bits, modelled_levels
from tokzoo.token_files.rans import Integers
from tokzoo.token_files.symbols import Symbols
from tokzoo.tokens import bit_width

Mask: TypeAlias = NDArray[np.bool_]

CHECKSUM = 4  # bytes
LARGEST_TABLE = 1 << 25  # slots of all groups' intervals


class Coder(Protocol):
    """Codes (N, D) <-> bytes. `mask` (B, L) says where the N tokens lie."""

    def encode(self, codes: Integers, mask: Mask) -> bytes: ...

    def decode(self, data: memoryview, mask: Mask) -> Integers: ...


class Plain:
    """Each code at ceil(log2(level)) bits, slot after slot, each slot from a whole byte on."""

    def __init__(self, levels: Sequence[int]):
        self.widths = [bit_width(level) for level in levels]

    def encode(self, codes: Integers, mask: Mask) -> bytes:
        return b"".join(pack(slot, width) for slot, width in zip(codes.T, self.widths, strict=True))

    def decode(self, data: memoryview, mask: Mask) -> Integers:
        count = int(mask.sum())
        parts = split(data, [packed_size(count, width) for width in self.widths])
        slots = [unpack(part, count, width) for part, width in zip(parts, self.widths, strict=True)]
        return np.stack(slots, axis=1)


class _Span(NamedTuple):
    """Steps of the coder, from `start` to before `stop`, that share a table."""

    start: int
    stop: int
    table: Table


class _Modelled:
    """A code's upper 16 bits are entropy coded, joined to symbols; bits below them are plain.

    The codes' own checksum comes first, for a model that differs in one bit decodes nonsense without noticing.
    """

    precision: int

    def __init__(self, levels: Sequence[int]):
        self.low = Plain([1 << low_bits(level) for level in levels])
        self.shifts = np.array(self.low.widths)
        self.symbols = Symbols([modelled_levels(level) for level in levels])
        self.width = bit_width(max([2, *self.symbols.sizes]))
        self.precision = self._precision(self.width)
        self.folded = self.precision // self.width
        self._places = self.width * np.arange(self.folded)[:, None]
        if len(self.symbols.groups) << self.precision > LARGEST_TABLE:
            raise TokenFileError(f"{len(levels)} codes a token are too many to be entropy coded; take plain coding")

    def encode(self, codes: Integers, mask: Mask) -> bytes:
        low, high = b"", codes
        if any(self.shifts):
            low, high = self.low.encode(codes & ((1 << self.shifts) - 1), mask), codes >> self.shifts
        return _checksum(high) + low + self._encode(self.symbols.join(high))

    def _encode(self, symbols: Integers) -> bytes:
        if not len(symbols):
            return b""
        lanes = rans.lane_count(self._bits(symbols), len(symbols))
        steps = self._steps(len(symbols), lanes)
        frequencies, starts = np.empty((2, steps * lanes), np.int64)
        for first, stop, table in self._spans(symbols, lanes, steps):
            part = slice(first * lanes, stop * lanes)
            table.frequencies.take(symbols[part], out=frequencies[part], mode="wrap")
            table.starts.take(symbols[part], out=starts[part], mode="wrap")
        rest = slice(steps * lanes, None)
        last = self._fold(symbols[rest] - self._by_group(self.symbols.offsets, len(symbols))[rest], lanes)
        return rans.encode(frequencies, starts, [lanes] * steps, last, lanes=lanes, precision=self.precision)

    def decode(self, data: memoryview, mask: Mask) -> Integers:
        count = int(mask.sum())
        low_size = sum(packed_size(count, width) for width in self.low.widths)
        written, low, coded = split(data, [CHECKSUM, low_size, None])
        high = self.symbols.split(self._decode(coded, self.symbols.count(count)), count)
        check(_checksum(high), written)
        return high << self.shifts | self.low.decode(low, mask) if any(self.shifts) else high

    def _decode(self, data: memoryview, count: int) -> Integers:
        if not count:
            split(data, [0])
            return np.zeros(0, np.int64)
        decoder = rans.Decoder(data, precision=self.precision, fewest=rans.fewest_lanes(count), most=count)
        lanes, steps = decoder.lanes, self._steps(count, decoder.lanes)
        symbols = np.empty(count, np.int64)
        rows = symbols[: steps * lanes].reshape(steps, lanes)
        groups = self._by_group(np.arange(len(self.symbols.groups)) << self.precision, count)
        grouped = len(self.symbols.groups) > 1
        frequencies, starts = np.empty((2, lanes), np.int64)
        for first, stop, table in self._spans(symbols, lanes, steps):
            for step in range(first, stop):
                row = rows[step]
                places = decoder.slots(lanes)
                if grouped:
                    places = places + groups[step * lanes : (step + 1) * lanes]
                table.symbols.take(places, out=row, mode="wrap")
                table.frequencies.take(row, out=frequencies, mode="wrap")
                table.starts.take(row, out=starts, mode="wrap")
                decoder.advance(frequencies, starts)
        rest = slice(steps * lanes, None)
        last = self._unfold(decoder, count - steps * lanes)
        if (last >= self._by_group(np.array(self.symbols.sizes), count)[rest]).any():
            raise TokenFileError("the entropy coded codes end in nonsense: were other probabilities used?")
        symbols[rest] = last + self._by_group(self.symbols.offsets, count)[rest]
        return symbols

    def _steps(self, count: int, lanes: int) -> int:
        """Steps that are coded; what comes then, the states hold as it is."""
        return max(0, -(-count // lanes) - self.folded)

    def _fold(self, symbols: Integers, lanes: int) -> Integers:
        """Up to `folded` symbols a lane -> one number a lane, the first of them in its lowest bits."""
        rows = np.zeros((self.folded, lanes), np.int64)
        rows.reshape(-1)[: len(symbols)] = symbols
        return np.bitwise_or.reduce(rows << self._places, axis=0)

    def _unfold(self, decoder: rans.Decoder, count: int) -> Integers:
        numbers = decoder.last(min(count, decoder.lanes))
        rows = np.zeros((self.folded, decoder.lanes), np.int64)
        rows[:, : len(numbers)] = numbers >> self._places & (1 << self.width) - 1
        return rows.reshape(-1)[:count]

    def _bits(self, symbols: Integers) -> float:
        """What the symbols take at least, by how often each occurs among them."""
        counts = np.bincount(symbols)
        counts = counts[counts > 0]
        return float((counts * np.log2(len(symbols) / len(self.symbols.groups) / counts)).sum())

    def _by_group(self, values: Integers, count: int) -> Integers:
        """For each of `count` symbols the value of its group."""
        return np.tile(values, count // max(1, len(values)))

    def _precision(self, width: int) -> int:
        """Bits of the intervals of symbols of so many bits."""
        raise NotImplementedError

    def _spans(self, symbols: Integers, lanes: int, steps: int) -> Iterator[_Span]:
        """All steps in turn; only symbols of steps before a span may be looked at for its table."""
        raise NotImplementedError


class Static(_Modelled):
    """One frequency table per slot for the whole file."""

    def __init__(self, levels: Sequence[int], frequencies: Frequencies):
        super().__init__(levels)
        sizes = [modelled_levels(level) for level in levels]
        if (given := [len(counts) for counts in frequencies.counts]) != sizes:
            raise TokenFileError(
                f"the frequency table has {given} values per slot; levels {tuple(levels)} need {sizes}"
            )
        self.frequencies = frequencies

    def _precision(self, width: int) -> int:
        return min(20, max(16, width + 6))  # 2**20 slots: more would not stay in a cache

    def _spans(self, symbols: Integers, lanes: int, steps: int) -> Iterator[_Span]:
        yield _Span(0, steps, self._table)

    @cached_property
    def _table(self) -> Table:
        return _table(self.symbols, self.frequencies.counts, self.precision)


class Adaptive(_Modelled):
    """Frequencies of what came before in the block, taken anew each time that as much again has come."""

    def _precision(self, width: int) -> int:
        return min(18, max(16, width + 3))  # each new table has all slots filled: more would take longer

    def _spans(self, symbols: Integers, lanes: int, steps: int) -> Iterator[_Span]:
        groups = len(self.symbols.groups)
        first = -(-max(256, max(self.symbols.sizes) // 4) * groups // lanes)
        ends = [0]
        while ends[-1] < steps:
            ends.append(min(steps, 2 * ends[-1] or first))
        counts = [np.zeros(level, np.int64) for level in self.symbols.levels]
        yield _Span(0, ends[1] if steps else 0, self._unseen)
        for before, start, stop in zip(ends, ends[1:], ends[2:], strict=False):
            more = self.symbols.counts(symbols[before * lanes : start * lanes])
            counts = [old + new for old, new in zip(counts, more, strict=True)]
            yield _Span(start, stop, _table(self.symbols, counts, self.precision))

    @cached_property
    def _unseen(self) -> Table:
        """Before anything came."""
        return _table(self.symbols, [np.zeros(level, np.int64) for level in self.symbols.levels], self.precision)


def _table(symbols: Symbols, counts: Sequence[NDArray[np.integer]], precision: int) -> Table:
    """Half a count more for every value, as Krichevsky and Trofimov: what was not seen yet stays affordable."""
    return Table(symbols.weights([values.astype(np.float64) + 0.5 for values in counts]), precision)


def _checksum(high: Integers) -> bytes:
    """Of the codes' upper bits (N, D), as uint16 slot after slot."""
    return zlib.crc32(high.T.astype("<u2").tobytes()).to_bytes(CHECKSUM, "little")


def check(checksum: bytes, written: memoryview) -> None:
    """Raises TokenFileError unless the decoded codes are those that were written."""
    if checksum != written:
        raise TokenFileError(
            "the decoded codes do not match their checksum: the model gives other probabilities than it gave when the "
            "file was written. Use the same weights, device and dtype."
        )


def split(data: memoryview, sizes: Sequence[int | None]) -> list[memoryview]:
    """Cuts data into parts of these sizes; a last None is the rest. TokenFileError unless they fit exactly."""
    parts, start = [], 0
    for size in sizes:
        stop = max(start, len(data)) if size is None else start + size
        parts.append(data[start:stop])
        start = stop
    if start != len(data):
        raise TokenFileError(f"the codes take {len(data)} bytes, where their number and widths need {start}")
    return parts
