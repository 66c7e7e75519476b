"""Samples that are coded together <-> the bytes of one block. B samples, L tokens, N of them valid, D codes a token.

A block is one byte of flags, then labels, masks, geometry and codes (or latents), each only where there is one. Of
tokens that do not count nothing is stored; they are read as zeros.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tokzoo.token_files.bits import pack, packed_size, unpack
from tokzoo.token_files.container import ArraySpec, Description
from tokzoo.token_files.entropy import Coder, Mask, Plain
from tokzoo.token_files.errors import TokenFileError
from tokzoo.token_files.labels import check_labels
from tokzoo.token_files.rans import Integers
from tokzoo.tokens import Tokens, bit_width

MASKED, LABELLED = 1, 2  # flags


class Block(NamedTuple):
    """A block's bytes, and how many bits of them are codes, latents and geometry."""

    data: bytes
    payload_bits: int


class _Reader:
    """Takes bytes from the front."""

    def __init__(self, data: bytes):
        self.rest = memoryview(data)

    def take(self, size: int) -> memoryview:
        if size > len(self.rest):
            raise TokenFileError(f"a block ends {size - len(self.rest)} bytes too early")
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken


def encode_block(tokens: Tokens, labels: Sequence[str] | None, description: Description, coder: Coder | None) -> Block:
    """One block of `tokens`. `coder` is for their indices; latents are stored as they are."""
    length = tokens.num_tokens
    mask = np.ones((len(tokens), length), np.bool_) if tokens.valid is None else tokens.valid.cpu().numpy()
    head = bytes([MASKED * (tokens.valid is not None) | LABELLED * (labels is not None)])
    if labels is not None:
        check_labels(labels)
        text = "\n".join(labels).encode()
        head += len(text).to_bytes(4, "little") + text
    if tokens.valid is not None:
        head += _encode_masks(mask)
    bits = int(mask.sum()) * description.bits_per_token
    if tokens.geometry is not None:
        head += _encode_geometry(tokens.geometry, mask, description)
    if tokens.latents is not None:
        return Block(head + _raw_bytes(tokens.latents, mask), bits)
    assert tokens.indices is not None and coder is not None
    codes = tokens.indices.cpu().numpy().reshape(*mask.shape, tokens.num_slots)[mask]
    _check_range(codes, description.levels or (), "cannot be stored")
    body = coder.encode(codes, mask)
    if not isinstance(coder, Plain):
        bits += 8 * len(body) - len(codes) * description.plain_bits
    return Block(head + body, bits)


def decode_block(
    data: bytes, items: int, length: int, description: Description, coder: Coder | None
) -> tuple[Tokens, list[str] | None]:
    """The `items` samples of `length` tokens of which `encode_block` made `data`, and their labels."""
    reader = _Reader(data)
    flags = reader.take(1)[0]
    if flags & ~(MASKED | LABELLED):
        raise TokenFileError(f"a block has flags {flags}, which this version does not know")
    labels = _decode_labels(reader, items) if flags & LABELLED else None
    mask = _decode_masks(reader, items, length) if flags & MASKED else np.ones((items, length), np.bool_)
    spec, cell_levels = description.geometry, description.cell_levels
    geometry = None if spec is None else _decode_geometry(reader, mask, spec, cell_levels)
    indices = latents = None
    if description.latents is not None:
        latents = _from_raw(reader, mask, description.latents)
        if len(reader.rest):
            raise TokenFileError(f"a block has {len(reader.rest)} bytes too many")
    else:
        assert coder is not None and description.levels is not None
        codes = coder.decode(reader.rest, mask)
        _check_range(codes, description.levels, "were decoded; the file is damaged")
        indices = _scatter(torch.from_numpy(codes), mask)
        indices = indices if description.grouped else indices.squeeze(-1)
    tokens = Tokens(
        layout=description.layout,
        indices=indices,
        latents=latents,
        levels=description.levels,
        valid=torch.from_numpy(mask) if flags & MASKED else None,
        extent=description.extent,
        geometry=geometry,
    )
    return tokens, labels


def _check_range(codes: Integers, levels: Sequence[int], what: str) -> None:
    for slot, level in enumerate(levels):
        column = codes[:, slot]
        if len(column) and (column.min() < 0 or column.max() > level - 1):
            worst = column.min() if column.min() < 0 else column.max()
            raise TokenFileError(f"codes outside 0 to {level - 1} {what}: {worst} in slot {slot}")


# --- labels and masks ------------------------------------------------------------------------------------------------


def _decode_labels(reader: _Reader, items: int) -> list[str]:
    text = bytes(reader.take(int.from_bytes(reader.take(4), "little")))
    try:
        labels = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise TokenFileError("the labels of a block are no UTF-8 text") from error
    if len(labels) != items:
        raise TokenFileError(f"a block of {items} samples has {len(labels)} labels")
    check_labels(labels)
    return labels


def _encode_masks(mask: Mask) -> bytes:
    """A bit per sample: is its mask a prefix? Then the prefixes' lengths, then the other masks bit by bit."""
    lengths = mask.sum(1)
    prefix = (mask == _prefixes(lengths, mask.shape[1])).all(1)
    packed_lengths = pack(lengths[prefix], bit_width(mask.shape[1] + 1))
    return _pack_bits(prefix) + packed_lengths + _pack_bits(mask[~prefix].reshape(-1))


def _decode_masks(reader: _Reader, items: int, length: int) -> Mask:
    prefix = _unpack_bits(reader.take(packed_size(items, 1)), items)
    count, width = int(prefix.sum()), bit_width(length + 1)
    others = (items - count) * length
    lengths = unpack(reader.take(packed_size(count, width)), count, width)
    if count and lengths.max() > length:
        raise TokenFileError(f"a sample counts {lengths.max()} of its {length} tokens")
    bits = _unpack_bits(reader.take(packed_size(others, 1)), others)
    mask = np.zeros((items, length), np.bool_)
    mask[prefix] = _prefixes(lengths, length)
    mask[~prefix] = bits.reshape(items - count, length)
    return mask


def _prefixes(lengths: Integers, length: int) -> Mask:
    return np.arange(length) < lengths[:, None]


def _pack_bits(bits: Mask) -> bytes:
    return np.packbits(bits, bitorder="little").tobytes()


def _unpack_bits(data: memoryview, count: int) -> Mask:
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count, bitorder="little").astype(np.bool_)


# --- geometry and latents --------------------------------------------------------------------------------------------


def _encode_geometry(geometry: Tensor, mask: Mask, description: Description) -> bytes:
    """An octree's coordinates at `depth` bits each, anything else as it is."""
    if description.cell_levels is None:
        return _raw_bytes(geometry, mask)
    cells = geometry.long().cpu().numpy()[mask]
    _check_range(cells, description.cell_levels, "are no cells of this octree")
    return Plain(description.cell_levels).encode(cells, mask)


def _decode_geometry(reader: _Reader, mask: Mask, spec: ArraySpec, cell_levels: Sequence[int] | None) -> Tensor:
    if cell_levels is None:
        return _from_raw(reader, mask, spec)
    coder = Plain(cell_levels)
    data = reader.take(sum(packed_size(int(mask.sum()), width) for width in coder.widths))
    return _scatter(torch.from_numpy(coder.decode(data, mask)).to(spec.torch_dtype), mask)


def _raw_bytes(values: Tensor, mask: Mask) -> bytes:
    chosen = values.detach().cpu()[torch.from_numpy(mask)].contiguous()  # (N, width)
    return chosen.reshape(-1).view(torch.uint8).numpy().tobytes()


def _from_raw(reader: _Reader, mask: Mask, spec: ArraySpec) -> Tensor:
    dtype, count = spec.torch_dtype, int(mask.sum())
    data = bytearray(reader.take(count * spec.width * dtype.itemsize))
    values = torch.frombuffer(data, dtype=dtype) if data else torch.zeros(0, dtype=dtype)
    return _scatter(values.reshape(count, spec.width), mask)


def _scatter(values: Tensor, mask: Mask) -> Tensor:
    """(N, width) -> (B, L, width), zeros where the mask is not."""
    if mask.all():
        return values.reshape(*mask.shape, values.shape[1])
    placed = values.new_zeros((*mask.shape, values.shape[1]))
    placed[torch.from_numpy(mask)] = values
    return placed
