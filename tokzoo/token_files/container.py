"""The frame of a .tkz file: header, description, index pages. docs/tkz.md has the layout byte by byte.

Everything is little-endian. Nothing is believed before its checksum holds, and no length beyond the end of the file.
"""

import json
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tokzoo.token_files.errors import TokenFileError
from tokzoo.token_files.frequencies import Frequencies
from tokzoo.token_files.identity import TokenizerId
from tokzoo.tokens import Gaussians, Grid, Grid3D, Layout, Octree, Pyramid, Sequence, Tokens, bit_width

MAGIC = b"\x89TKZ\r\n\x1a\n"  # as PNG's: a copy in text mode or through seven bits breaks it
VERSION = 2
BLOCK_BITS = 1 << 19  # a block of several samples takes at most this many bits, plain
CODED_BLOCK_BITS = 1 << 21  # entropy coded: four times the lanes of the coder take less than twice the time
LARGEST_BLOCK = 1 << 26  # numbers in the widest array of one sample
LARGEST_DESCRIPTION = 1 << 24  # bytes
LARGEST_EXTENT = 1 << 32  # pixels

LAYOUTS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Sequence, Grid, Grid3D, Pyramid, Gaussians, Octree)}
FLOATS = {str(kind)[6:]: kind for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64)}
INTEGERS = {str(kind)[6:]: kind for kind in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)}
CODINGS = ("plain", "static", "adaptive", "generated")

ReadAt = Callable[[int, int], bytes]  # (offset, size) -> just these bytes


# --- the header ------------------------------------------------------------------------------------------------------


class Page(NamedTuple):
    """Where an index page lies; offset 0 is none."""

    offset: int
    entries: int
    crc: int


NO_PAGE = Page(0, 0, 0)
PAGE = struct.Struct("<QII")


@dataclass(frozen=True)
class Header:
    """The first bytes, the only ones that an append changes. What lies behind `end` does not count."""

    description_size: int
    description_crc: int
    items: int
    page: Page
    end: int

    FORMAT = struct.Struct("<8sIIIQQIIQ")
    SIZE = FORMAT.size + 4

    def to_bytes(self) -> bytes:
        body = self.FORMAT.pack(
            MAGIC, VERSION, self.description_size, self.description_crc, self.items, *self.page, self.end
        )
        return body + zlib.crc32(body).to_bytes(4, "little")

    @classmethod
    def from_bytes(cls, data: bytes, file_size: int) -> "Header":
        """From the first SIZE bytes of a file.

        Raises:
            TokenFileError: other bytes than `to_bytes` writes, or sizes beyond the end of the file.
        """
        if not data or data[: len(MAGIC)] != MAGIC[: len(data)]:
            raise TokenFileError("this is no .tkz file: it does not begin as one")
        if len(data) < cls.SIZE:
            raise TokenFileError(f"the file is cut short: {len(data)} bytes, where the header alone has {cls.SIZE}")
        _, version, size, crc, items, *page, end = cls.FORMAT.unpack(data[:-4])
        if version != VERSION:
            remedy = "update tokzoo" if version > VERSION else "encode the images again"
            raise TokenFileError(
                f"the file is of version {version}, and this tokzoo reads version {VERSION}: "
                f"{remedy}, or get the file again if it should be of this version"
            )
        if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise TokenFileError("the header is damaged: its checksum does not hold. Get the file again")
        if file_size < end:
            raise TokenFileError(f"the file is cut short: {file_size} of {end} bytes are there. Get the file again")
        if size > min(end - cls.SIZE, LARGEST_DESCRIPTION):
            raise TokenFileError(f"the header gives the description {size} bytes, more than there can be")
        return cls(size, crc, items, Page(*page), end)


def read_header(read_at: ReadAt, file_size: int) -> Header:
    """The header of a file, also of one whose header was half written when an append was killed.

    An append first writes both headers, old and new, as a journal behind its data. A damaged first header that is the
    new one up to some byte and the old one after it is such a half, and the new one holds.
    """
    data = read_at(0, min(file_size, Header.SIZE))
    try:
        return Header.from_bytes(data, file_size)
    except TokenFileError:
        if file_size < 3 * Header.SIZE:
            raise
        journal = read_at(file_size - 2 * Header.SIZE, 2 * Header.SIZE)
        old, new = journal[: Header.SIZE], journal[Header.SIZE :]
        if not any(data == new[:written] + old[written:] for written in range(Header.SIZE)):
            raise
        return Header.from_bytes(new, file_size)


# --- the description -------------------------------------------------------------------------------------------------


class ArraySpec(NamedTuple):
    """dtype and last dimension of an array (B, L, width)."""

    dtype: str
    width: int

    @property
    def torch_dtype(self) -> torch.dtype:
        return (FLOATS | INTEGERS)[self.dtype]


@dataclass(frozen=True, kw_only=True)
class Description:
    """What all samples of a file have in common.

    Args:
        tokenizer: whose tokens they are; None if unsaid.
        layout, extent, levels: as in `Tokens`.
        grouped: indices are (B, L, D), not (B, L).
        latents, geometry: of what dtype and width, or None if there are none.
        coding: one of CODINGS.
        frequencies: the table of static coding, where the file holds it.
        frequencies_crc: of the table, stored or not.
    """

    tokenizer: TokenizerId | None
    layout: Layout
    extent: tuple[int, ...] | None
    levels: tuple[int, ...] | None
    grouped: bool
    latents: ArraySpec | None
    geometry: ArraySpec | None
    coding: str
    frequencies: Frequencies | None = None
    frequencies_crc: int | None = None

    def __post_init__(self) -> None:
        levels, latents, geometry, extent = self.levels, self.latents, self.geometry, self.extent
        has_table = self.frequencies_crc is not None
        rules = {
            "levels for indices, or latents": (levels is None) != (latents is None),
            "levels from 1 to 2**63": levels is None or (levels and all(1 <= level <= 1 << 63 for level in levels)),
            "one level per code of a token": type(self.grouped) is bool
            and (self.grouped or levels is None or len(levels) == 1),
            f"latents of {', '.join(FLOATS)}": latents is None or latents.dtype in FLOATS,
            f"geometry of {', '.join(FLOATS | INTEGERS)}": geometry is None or geometry.dtype in FLOATS | INTEGERS,
            f"coding {', '.join(CODINGS)} for indices, plain for latents": self.coding in CODINGS
            and (levels is not None or self.coding == "plain"),
            "a frequency table for static coding, and for no other": has_table == (self.coding == "static"),
            "octrees of depth up to 62": not isinstance(self.layout, Octree) or self.layout.depth <= 62,
            f"an extent of 2 or 3 sides and up to {LARGEST_EXTENT} pixels": extent is None
            or (len(extent) in (2, 3) and math.prod(extent) <= LARGEST_EXTENT),
            f"up to {LARGEST_BLOCK} numbers a sample": (self.layout.num_tokens or 0) * self.numbers_per_token
            <= LARGEST_BLOCK,
        }
        if broken := [rule for rule, holds in rules.items() if not holds]:
            got = f"{self.coding} coding of {self.common()}"
            raise TokenFileError(f"a token file takes {'; '.join(broken)}; got {got:.300}")

    @classmethod
    def of(cls, tokens: Tokens, tokenizer: TokenizerId | None, **coding: Any) -> "Description":
        """The description that fits some tokens."""
        if tokens.indices is not None and tokens.levels is None:
            raise TokenFileError("these Tokens do not say their levels; make them with levels=tok.token_spec.levels")
        return cls(
            tokenizer=tokenizer,
            layout=tokens.layout,
            extent=None if tokens.extent is None else tuple(tokens.extent),
            levels=None if tokens.indices is None else tokens.levels,
            grouped=tokens.indices is not None and tokens.indices.ndim == 3,
            latents=_array_spec(tokens.latents),
            geometry=_array_spec(tokens.geometry),
            **coding,
        )

    @property
    def numbers_per_token(self) -> int:
        """The widest array's numbers per token, at least 1."""
        arrays = [spec.width for spec in (self.latents, self.geometry) if spec is not None]
        return max(1, len(self.levels or ()), *arrays)

    @property
    def plain_bits(self) -> int:
        """Of one token's codes, each at its own width."""
        return sum(bit_width(level) for level in self.levels or ())

    @property
    def bits_per_token(self) -> int:
        """Of codes at their own width, or of latents; and of geometry."""
        placed = _stored_bits(self.geometry)
        if self.cell_levels is not None:
            placed = sum(bit_width(level) for level in self.cell_levels)
        return self.plain_bits + _stored_bits(self.latents) + placed

    @property
    def cell_levels(self) -> list[int] | None:
        """Values per coordinate where the geometry is the integer cells of an octree, else None."""
        if self.geometry is None or self.geometry.dtype not in INTEGERS or not isinstance(self.layout, Octree):
            return None
        return [1 << self.layout.depth] * self.geometry.width

    def samples_per_block(self, length: int) -> int:
        """How many samples of `length` tokens go into one block, at least 1."""
        return max(1, self.block_bits // max(1, length * max(1, self.bits_per_token)))

    @property
    def block_bits(self) -> int:
        """That a block of several samples takes at most, were it plain."""
        return BLOCK_BITS if self.coding == "plain" else CODED_BLOCK_BITS

    def common(self) -> dict[str, Any]:
        """All that tokens must share with the file to be appended: everything but tokenizer and coding."""
        names = ("layout", "extent", "levels", "grouped", "latents", "geometry")
        return {name: getattr(self, name) for name in names}

    def to_bytes(self) -> bytes:
        """JSON with its size before it, then the frequency table."""
        record = self.common() | {
            "tokenizer": self.tokenizer and {"name": self.tokenizer.name, "weights": dict(self.tokenizer.weights)},
            "layout": {"kind": type(self.layout).__name__} | asdict(self.layout),
            "coding": self.coding,
            "frequencies_crc": self.frequencies_crc,
        }
        text = json.dumps({key: value for key, value in record.items() if value is not None}, separators=(",", ":"))
        table = b"" if self.frequencies is None else self.frequencies.to_bytes()
        return len(text).to_bytes(4, "little") + text.encode("ascii") + table

    @classmethod
    def from_bytes(cls, data: bytes) -> "Description":
        """Raises TokenFileError for anything that `to_bytes` does not write."""
        size = int.from_bytes(data[:4], "little")
        text, table = data[4 : 4 + size], data[4 + size :]
        try:
            record = json.loads(text)
            levels = _integers(record.get("levels"))
            tokenizer = record.get("tokenizer")
            return cls(
                tokenizer=tokenizer and TokenizerId(tokenizer["name"], dict(tokenizer["weights"])),
                layout=_layout(record["layout"]),
                extent=_integers(record.get("extent")),
                levels=levels,
                grouped=record["grouped"],
                latents=_array_spec_from(record.get("latents")),
                geometry=_array_spec_from(record.get("geometry")),
                coding=record["coding"],
                frequencies=Frequencies.from_bytes(table, levels or ()) if table else None,
                frequencies_crc=record.get("frequencies_crc"),
            )
        except TokenFileError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise TokenFileError(f"the description is not as a .tkz file has it: {error!r:.200}") from error


def _array_spec(tensor: torch.Tensor | None) -> ArraySpec | None:
    if tensor is None:
        return None
    if tensor.ndim != 3:
        raise TokenFileError(f"a token file holds geometry (B, L, G); got {tuple(tensor.shape)}")
    return ArraySpec(str(tensor.dtype).removeprefix("torch."), int(tensor.shape[2]))


def _stored_bits(spec: ArraySpec | None) -> int:
    return 0 if spec is None else 8 * spec.width * spec.torch_dtype.itemsize


def _array_spec_from(value: Any) -> ArraySpec | None:
    if value is None:
        return None
    dtype, width = value
    return ArraySpec(str(dtype), _integer(width))


def _layout(record: dict[str, Any]) -> Layout:
    kind = LAYOUTS[record["kind"]]
    sizes = {field.name: record[field.name] for field in fields(kind)}
    if kind is Pyramid:
        scales = tuple((_integer(height), _integer(width)) for height, width in sizes["scales"])
        return Pyramid(scales)
    layout: Layout = kind(**{name: _integer(value) for name, value in sizes.items()})
    return layout


def _integer(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is no size")
    return value


def _integers(values: Any) -> tuple[int, ...] | None:
    return None if values is None else tuple(_integer(value) for value in values)


# --- the index -------------------------------------------------------------------------------------------------------

ENTRY = np.dtype([("offset", "<u8"), ("size", "<u4"), ("items", "<u4"), ("tokens", "<u4"), ("crc", "<u4")])
FEWEST = 16  # pages that are made into one when a seventeenth of their kind comes


def encode_page(previous: Page, entries: NDArray[Any], offset: int) -> tuple[bytes, Page]:
    """The bytes of a page that will lie at `offset`, and the pointer to it."""
    data = PAGE.pack(*previous) + entries.tobytes()
    return data, Page(offset, len(entries), zlib.crc32(data))


def read_pages(header: Header, read_at: ReadAt) -> list[tuple[Page, NDArray[Any]]]:
    """All index pages and their entries, oldest first."""
    pages: list[tuple[Page, NDArray[Any]]] = []
    page, limit = header.page, header.end
    while page != NO_PAGE:
        size = PAGE.size + page.entries * ENTRY.itemsize
        if not Header.SIZE <= page.offset <= limit - size:
            raise TokenFileError(f"an index page of {page.entries} entries at byte {page.offset} does not fit the file")
        data = read_at(page.offset, size)
        if zlib.crc32(data) != page.crc:
            raise TokenFileError("the index is damaged: its checksum does not hold. Get the file again")
        pages.append((page, np.frombuffer(data, ENTRY, offset=PAGE.size)))
        limit = page.offset  # each lies wholly before the next: the chain ends
        page = Page(*PAGE.unpack_from(data))
    return pages[::-1]


def add_entries(pages: list[tuple[Page, NDArray[Any]]], entries: NDArray[Any], offset: int) -> tuple[bytes, Page]:
    """The page to write at `offset` for new entries. It takes in the last pages where many are no larger.

    So a file that grew by single samples has few pages, and each entry is written anew only once per factor of 17.
    """
    pages = list(pages)
    while len(pages) >= FEWEST and len(pages[-FEWEST][1]) < FEWEST * len(entries):
        entries = np.concatenate([*(old for _, old in pages[-FEWEST:]), entries])
        del pages[-FEWEST:]
    return encode_page(pages[-1][0] if pages else NO_PAGE, entries, offset)


def check_entries(entries: NDArray[Any], header: Header, description: Description) -> None:
    """Raises TokenFileError unless the blocks lie in order, hold what the header counts, and are of allowed sizes."""
    tokens = description.layout.num_tokens
    starts, sizes = entries["offset"].astype(np.float64), entries["size"].astype(np.float64)  # exact below 2**53
    if (starts < np.append(Header.SIZE, starts + sizes)[:-1]).any() or (starts + sizes > header.end).any():
        raise TokenFileError("the index is damaged: its blocks overlap or lie outside the file. Get the file again")
    items, lengths = entries["items"].astype(np.float64), entries["tokens"].astype(np.float64)
    if not items.all() or items.sum() != header.items:
        raise TokenFileError(f"the index is damaged: it does not hold the {header.items} samples of the header")
    too_many = (items > 1) & (items * lengths * max(1, description.bits_per_token) > description.block_bits)
    too_long = (lengths * description.numbers_per_token > LARGEST_BLOCK) | (items > description.block_bits)
    if (too_many | too_long).any() or (tokens is not None and (lengths != tokens).any()):
        raise TokenFileError(f"the index is damaged: it gives blocks a size that {description.layout} cannot have")
