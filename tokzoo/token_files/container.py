"""The frame of a .tkz file: header, description, index pages. docs/tkz.md has the layout byte by byte.

Everything is little-endian. Nothing is believed before its checksum holds, and no length beyond the end of the file.
"""

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tokzoo.token_files.entropy import Frequencies
from tokzoo.token_files.errors import TokenFileError
from tokzoo.token_files.identity import TokenizerId
from tokzoo.tokens import Gaussians, Grid, Grid3D, Layout, Octree, Pyramid, Sequence, Tokens

MAGIC = b"\x89TKZ\r\n\x1a\n"  # as PNG's: a copy in text mode or through seven bits breaks it
VERSION = 1
LARGEST_BLOCK = 1 << 26  # numbers in the widest array of one block
LARGEST_DESCRIPTION = 1 << 26  # bytes

LAYOUTS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Sequence, Grid, Grid3D, Pyramid, Gaussians, Octree)}
FLOATS = {str(kind)[6:]: kind for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64)}
INTEGERS = {str(kind)[6:]: kind for kind in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)}
CODINGS = ("plain", "static", "adaptive", "generated")

ReadAt = Callable[[int, int], bytes]  # (offset, size) -> just these bytes


class Page(NamedTuple):
    """Where an index page lies; offset 0 is none."""

    offset: int
    entries: int
    crc: int


NO_PAGE = Page(0, 0, 0)
PAGE = struct.Struct("<QII")


@dataclass(frozen=True)
class Header:
    """The first bytes, the only ones that an append changes. Bytes from `end` on are of an append that did not finish."""

    description_size: int
    description_crc: int
    items: int
    page: Page
    end: int

    FORMAT = struct.Struct("<8sHIIQQIIQ")
    SIZE = FORMAT.size + 4

    def to_bytes(self) -> bytes:
        body = self.FORMAT.pack(
            MAGIC, VERSION, self.description_size, self.description_crc, self.items, *self.page, self.end
        )
        return body + zlib.crc32(body).to_bytes(4, "little")

    @classmethod
    def read(cls, data: bytes, file_size: int) -> "Header":
        """From the first SIZE bytes of a file."""
        if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
            raise TokenFileError("this is no .tkz file: it does not begin as one")
        if len(data) < cls.SIZE:
            raise TokenFileError(f"the file is cut short: {len(data)} bytes, where the header alone has {cls.SIZE}")
        _, version, size, crc, items, *page, end = cls.FORMAT.unpack(data[:-4])
        if version > VERSION:
            raise TokenFileError(f"the file is of version {version}, this tokzoo reads {VERSION}: update tokzoo")
        if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise TokenFileError("the header is damaged: its checksum does not hold. Get the file again")
        if version < VERSION:
            raise TokenFileError(f"the file is of version {version}; there is none before {VERSION}")
        if file_size < end:
            raise TokenFileError(f"the file is cut short: {file_size} of {end} bytes are there. Get the file again")
        if size > min(end - cls.SIZE, LARGEST_DESCRIPTION):
            raise TokenFileError(f"the header gives the description {size} bytes, more than there can be")
        return cls(size, crc, items, Page(*page), end)


class ArraySpec(NamedTuple):
    """dtype and last dimension of an array (B, L, width)."""

    dtype: str
    width: int


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
        levels, latents, geometry = self.levels, self.latents, self.geometry
        table = (self.frequencies_crc is not None) if self.coding == "static" else self.frequencies_crc is None
        checks = {
            "levels or latents": (levels is None) != (latents is None),
            "levels": levels is None or (levels and all(1 <= level <= 1 << 63 for level in levels)),
            "grouped": self.grouped in (True, False) and (self.grouped or levels is None or len(levels) == 1),
            "latents": latents is None or (latents.dtype in FLOATS and latents.width >= 0),
            "geometry": geometry is None or (geometry.dtype in FLOATS | INTEGERS and geometry.width >= 0),
            "coding": self.coding in CODINGS and (levels is not None or self.coding == "plain") and table,
            "layout": not isinstance(self.layout, Octree) or self.layout.depth <= 62,
            "size": (self.layout.num_tokens or 0) * self.numbers_per_token <= LARGEST_BLOCK,
        }
        if wrong := [name for name, holds in checks.items() if not holds]:
            raise TokenFileError(f"a token file cannot hold such tokens: wrong {', '.join(wrong)} in {self.common()}")

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
                tokenizer=tokenizer and TokenizerId(_text(tokenizer["name"]), _texts(tokenizer["weights"])),
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
            raise TokenFileError(f"the description is not as a .tkz file has it: {error!r}") from error


def _array_spec(tensor: torch.Tensor | None) -> ArraySpec | None:
    if tensor is None:
        return None
    if tensor.ndim != 3:
        raise TokenFileError(f"a token file holds geometry (B, L, G); got {tuple(tensor.shape)}")
    return ArraySpec(str(tensor.dtype).removeprefix("torch."), int(tensor.shape[2]))


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


def _text(value: Any) -> str | None:
    if not (value is None or isinstance(value, str)):
        raise ValueError(f"{value!r:.40} is no name")
    return value


def _texts(values: dict[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()}


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
    """Raises TokenFileError unless blocks lie in the file, hold what the header counts, and are of bearable size."""
    end, tokens = np.uint64(header.end), description.layout.num_tokens
    size = entries["size"].astype(np.uint64)
    numbers = entries["items"].astype(np.float64) * entries["tokens"] * description.numbers_per_token
    if (size > end).any() or (entries["offset"] > end - size).any() or (entries["offset"] < Header.SIZE).any():
        raise TokenFileError("the index points outside the file")
    if not entries["items"].all() or int(entries["items"].sum(dtype=np.uint64)) != header.items:
        raise TokenFileError(f"the index does not hold the {header.items} samples that the header counts")
    if (numbers > LARGEST_BLOCK).any() or (tokens is not None and (entries["tokens"] != tokens).any()):
        raise TokenFileError(f"the index gives blocks a size that {description.layout} cannot have")
