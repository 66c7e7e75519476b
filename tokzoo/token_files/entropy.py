"""How codes become bytes: at their exact width, or range coded (constriction) over a model of how likely each code is.

N tokens that count, D codes per token, B samples of L tokens in one block. A coder turns the codes (N, D) of a block
into bytes and back; blocks know nothing of each other, so that each can be read alone.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokzoo.token_files.bits import pack, packed_size, unpack
from tokzoo.token_files.errors import TokenFileError
from tokzoo.tokens import Tokens, bit_width

Codes: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
NextCode: TypeAlias = Callable[[Tensor], Tensor]
"""A generator as a model: the codes so far (B, l), int64 -> probabilities (B, K) of the next, K its slot's levels.

Codes come token by token, of a token slot by slot; those of tokens that do not count are 0. The function is asked once
per position, with the same B samples when writing and when reading, and must answer with the same bits both times: the
same weights, device and dtype. Probabilities need not sum to one.
"""

MODELLED_BITS = 16  # of wider codes, the bits below these are stored as they are
LARGEST_NEXT = 1 << 20  # values that a NextCode may have
CHECKSUM = 4  # bytes


class Coder(Protocol):
    """Codes (N, D) <-> bytes. `mask` (B, L) says where the N tokens lie."""

    def encode(self, codes: Codes, mask: Mask) -> bytes: ...

    def decode(self, data: memoryview, mask: Mask) -> Codes: ...


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
        return cls(tuple(_count(codes >> _low_bits(level), level) for codes, level in slots), stored=stored)

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


def modelled_levels(level: int) -> int:
    """Values of a code's upper 16 bits, of which probabilities are kept."""
    return ((level - 1) >> _low_bits(level)) + 1


class Plain:
    """Each code at ceil(log2(level)) bits, slot after slot, each slot from a whole byte on."""

    def __init__(self, levels: Sequence[int]):
        self.widths = [bit_width(level) for level in levels]

    def encode(self, codes: Codes, mask: Mask) -> bytes:
        return b"".join(pack(slot, width) for slot, width in zip(codes.T, self.widths, strict=True))

    def decode(self, data: memoryview, mask: Mask) -> Codes:
        count = int(mask.sum())
        parts = _split(data, [packed_size(count, width) for width in self.widths])
        slots = [unpack(part, count, width) for part, width in zip(parts, self.widths, strict=True)]
        return np.stack(slots, axis=1)


class _Modelled:
    """A code's upper 16 bits are range coded, one model per run of codes; bits below them are plain.

    The codes' own checksum comes first, for a model that differs in one bit decodes nonsense without noticing.
    """

    def __init__(self, levels: Sequence[int]):
        self.levels = levels
        self.low = Plain([1 << _low_bits(level) for level in levels])
        self.shifts = np.array(self.low.widths)

    def encode(self, codes: Codes, mask: Mask) -> bytes:
        coder, checksum = _constriction().stream.queue.RangeEncoder(), 0
        for slot, level in enumerate(self.levels):
            symbols = (codes[:, slot] >> self.shifts[slot]).astype(np.int32)
            checksum = zlib.crc32(symbols.astype("<u2").tobytes(), checksum)
            if level > 1:
                for start, stop, model in self._models(slot, symbols):
                    coder.encode(symbols[start:stop], model)
        low = self.low.encode(codes & ((1 << self.shifts) - 1), mask) if any(self.shifts) else b""
        return checksum.to_bytes(CHECKSUM, "little") + low + coder.get_compressed().astype("<u4").tobytes()

    def decode(self, data: memoryview, mask: Mask) -> Codes:
        count = int(mask.sum())
        low_size = sum(packed_size(count, width) for width in self.low.widths)
        written, low, words = _split(data, [CHECKSUM, low_size, None])
        coder, checksum = _range_decoder(words), 0
        codes = self.low.decode(low, mask) if any(self.shifts) else np.zeros((count, len(self.levels)), np.int64)
        for slot, level in enumerate(self.levels):
            symbols = np.zeros(count, np.int32)
            if level > 1:
                for start, stop, model in self._models(slot, symbols):
                    symbols[start:stop] = _decode(coder, model, stop - start)
            checksum = zlib.crc32(symbols.astype("<u2").tobytes(), checksum)
            codes[:, slot] |= symbols.astype(np.int64) << self.shifts[slot]
        _check(checksum, written)
        return codes

    def _models(self, slot: int, symbols: NDArray[np.int32]) -> Iterator[tuple[int, int, Any]]:
        """(start, stop, model of symbols[start:stop]); only what lies before `start` may be looked at."""
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
        self.tables = [
            _categorical(counts) if level > 1 else None
            for counts, level in zip(frequencies.counts, levels, strict=True)
        ]

    def _models(self, slot: int, symbols: NDArray[np.int32]) -> Iterator[tuple[int, int, Any]]:
        if len(symbols):
            yield 0, len(symbols), self.tables[slot]


class Adaptive(_Modelled):
    """Frequencies of what came before in the block, taken anew each time that as much again has come."""

    def _models(self, slot: int, symbols: NDArray[np.int32]) -> Iterator[tuple[int, int, Any]]:
        values = modelled_levels(self.levels[slot])
        counts = np.zeros(values, np.int64)
        start, stop = 0, max(256, values // 4)
        while start < len(symbols):
            yield start, min(stop, len(symbols)), _categorical(counts)
            counts += np.bincount(symbols[start:stop], minlength=values)
            start, stop = stop, 2 * stop


class Generated:
    """Each code by the probabilities that a generator gives it after all codes before it. See `NextCode`."""

    def __init__(self, levels: Sequence[int], next_code: NextCode):
        if max(levels) > LARGEST_NEXT:
            raise TokenFileError(f"a generator codes up to {LARGEST_NEXT} values a slot; got levels {tuple(levels)}")
        self.levels, self.next_code = levels, next_code

    def encode(self, codes: Codes, mask: Mask) -> bytes:
        stream = _constriction().stream
        coder, family = stream.queue.RangeEncoder(), stream.model.Categorical(perfect=False)
        slots = np.zeros((*mask.shape, len(self.levels)), np.int64)
        slots[mask] = codes
        sequence = slots.reshape(len(mask), mask.shape[1] * len(self.levels))
        for position, rows in self._positions(mask):
            probabilities = self._next(sequence, position, rows)
            coder.encode(sequence[rows, position].astype(np.int32), family, probabilities)
        checksum = zlib.crc32(codes.astype("<u4").tobytes())
        return checksum.to_bytes(CHECKSUM, "little") + coder.get_compressed().astype("<u4").tobytes()

    def decode(self, data: memoryview, mask: Mask) -> Codes:
        written, words = _split(data, [CHECKSUM, None])
        coder, family = _range_decoder(words), _constriction().stream.model.Categorical(perfect=False)
        sequence = np.zeros((len(mask), mask.shape[1] * len(self.levels)), np.int64)
        for position, rows in self._positions(mask):
            sequence[rows, position] = _decode(coder, family, self._next(sequence, position, rows))
        codes = sequence.reshape(*mask.shape, len(self.levels))[mask]
        _check(zlib.crc32(codes.astype("<u4").tobytes()), written)
        return codes

    def _positions(self, mask: Mask) -> Iterator[tuple[int, Mask]]:
        """(position in the sequence, the samples with a code there (B,)), where something is to be coded."""
        for token, rows in enumerate(mask.T):
            if rows.any():
                slots = (slot for slot, level in enumerate(self.levels) if level > 1)
                yield from ((token * len(self.levels) + slot, rows) for slot in slots)

    def _next(self, sequence: Codes, position: int, rows: Mask) -> NDArray[np.float32]:
        with torch.no_grad():
            answer = self.next_code(torch.from_numpy(sequence[:, :position].copy()))
        wanted = (len(sequence), self.levels[position % len(self.levels)])
        if tuple(answer.shape) != wanted:
            raise ValueError(f"the model must give probabilities {wanted} at position {position}; got {answer.shape}")
        probabilities: NDArray[np.float32] = answer.float().cpu().numpy()[rows]
        if not (np.isfinite(probabilities).all() and (probabilities >= 0).all() and probabilities.any(axis=1).all()):
            raise ValueError(
                f"the model's probabilities at position {position} are negative, NaN, infinite or all zero"
            )
        return probabilities


def _low_bits(level: int) -> int:
    return max(0, bit_width(level) - MODELLED_BITS)


def _count(symbols: Codes, level: int) -> NDArray[np.uint16]:
    counts = np.bincount(symbols, minlength=modelled_levels(level))
    if counts.max() > 65535:
        counts = np.ceil(counts * (65535 / counts.max()))  # what occurred stays above zero
    return counts.astype("<u2")


def _categorical(counts: NDArray[Any]) -> Any:
    """Half a count more for every value, as Krichevsky and Trofimov: what was not seen yet stays affordable."""
    return _constriction().stream.model.Categorical(counts.astype(np.float64) + 0.5, perfect=False)


def _range_decoder(words: memoryview) -> Any:
    if len(words) % 4:
        raise TokenFileError("the range coded codes are no whole number of 32-bit words")
    return _constriction().stream.queue.RangeDecoder(np.frombuffer(words, "<u4").astype(np.uint32))


def _decode(coder: Any, model: Any, amount: "int | NDArray[np.float32]") -> NDArray[np.int32]:
    try:
        decoded: NDArray[np.int32] = coder.decode(model, amount)
    except AssertionError as error:  # what constriction raises
        raise TokenFileError("these bytes are no codes of this model: were other probabilities used?") from error
    return decoded


def _check(checksum: int, written: memoryview) -> None:
    if checksum != int.from_bytes(written, "little"):
        raise TokenFileError(
            "the decoded codes do not match their checksum: the model gives other probabilities than it gave when the "
            "file was written. Use the same weights, device and dtype."
        )


def _split(data: memoryview, sizes: Sequence[int | None]) -> list[memoryview]:
    """Cuts data into parts of these sizes; a last None is the rest. TokenFileError unless they fit exactly."""
    parts, start = [], 0
    for size in sizes:
        stop = max(start, len(data)) if size is None else start + size
        parts.append(data[start:stop])
        start = stop
    if start != len(data):
        raise TokenFileError(f"the codes take {len(data)} bytes, where their number and widths need {start}")
    return parts


def _constriction() -> ModuleType:
    try:
        import constriction
    except ImportError as error:
        raise ImportError("entropy coded token files need constriction: pip install 'tokzoo[codec]'") from error
    return constriction
