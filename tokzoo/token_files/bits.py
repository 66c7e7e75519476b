"""Integers at their exact width in bits. Bit 0 of the first code is bit 0 of the first byte (little end first)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def packed_size(count: int, width: int) -> int:
    """Bytes that `count` codes of `width` bits take."""
    return -(-count * width // 8)


def pack(codes: NDArray[np.int64], width: int) -> bytes:
    """Codes (N,) in [0, 2**width), width 0 to 63 -> ceil(N * width / 8) bytes; the last bits are zero."""
    groups = np.zeros((-(-len(codes) // 8), 8), np.int64)  # eight codes fill exactly `width` bytes
    groups.reshape(-1)[: len(codes)] = codes
    packed = np.zeros((len(groups), width), np.uint8)
    for lane, byte, shift in _overlaps(width):
        part = groups[:, lane] >> shift if shift >= 0 else groups[:, lane] << -shift
        packed[:, byte] |= part.astype(np.uint8)
    return packed.tobytes()[: packed_size(len(codes), width)]


def unpack(data: bytes | memoryview, count: int, width: int) -> NDArray[np.int64]:
    """The `count` codes of which `pack` made `data`."""
    packed = np.zeros((-(-count // 8), width), np.uint8)
    packed.reshape(-1)[: len(data)] = np.frombuffer(data, np.uint8)
    groups = np.zeros((len(packed), 8), np.int64)
    for lane, byte, shift in _overlaps(width):
        part = packed[:, byte].astype(np.int64)
        groups[:, lane] |= part << shift if shift >= 0 else part >> -shift
    return groups.reshape(-1)[:count] & ((1 << width) - 1)


def _overlaps(width: int) -> Iterator[tuple[int, int, int]]:
    """(code, byte, how far the byte's bit 0 lies above the code's) for every byte that each of eight codes touches."""
    for lane in range(8):
        first, last = lane * width, (lane + 1) * width - 1
        for byte in range(first // 8, last // 8 + 1):
            yield lane, byte, 8 * byte - first
