"""The format read a second time, by the words of docs/tkz.md and none of the library's code.

`python -m tests.token_files.anatomy --write` puts the annotated dump into docs/tkz.md; a test compares it.
"""

import struct
import sys
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import torch

HEADER = struct.Struct("<8sIIIQQIIQI")
HEADER_FIELDS = (
    "magic",
    "version",
    "bytes of the description",
    "checksum of the description",
    "samples in the file",
    "last index page: at byte",
    "last index page: entries",
    "last index page: checksum",
    "end of the file",
    "checksum of the bytes before",
)
ENTRY = struct.Struct("<QIIII")
ENTRY_FIELDS = (
    "block 0: at byte",
    "block 0: bytes",
    "block 0: samples",
    "block 0: tokens a sample",
    "block 0: checksum",
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "tkz.md"
BEGIN, END = "<!-- dump: written by tests/token_files/anatomy.py -->\n", "<!-- end of dump -->"


class Part(NamedTuple):
    """Some bytes in a row, and what they say."""

    offset: int
    data: bytes
    meaning: str


def seal(damaged: bytes) -> bytes:
    """The bytes with all checksums made to hold, as far as they lie where the fields say."""
    data = bytearray(damaged)
    if len(data) < HEADER.size:
        return damaged
    values = list(HEADER.unpack_from(data))
    size, page_at, entries = values[2], values[5], values[6]
    page_size = 16 + ENTRY.size * entries
    if page_at + page_size <= len(data) and entries < 100:
        for number in range(entries):
            at = page_at + 16 + ENTRY.size * number
            start, length, *_ = ENTRY.unpack_from(data, at)
            if start + length <= len(data):
                struct.pack_into("<I", data, at + 20, zlib.crc32(data[start : start + length]))
        values[7] = zlib.crc32(data[page_at : page_at + page_size])
    values[3] = zlib.crc32(data[HEADER.size : HEADER.size + size])
    HEADER.pack_into(data, 0, *values)
    struct.pack_into("<I", data, HEADER.size - 4, zlib.crc32(data[: HEADER.size - 4]))
    return bytes(data)


def with_header(data: bytes, **changes: int | bytes) -> bytes:
    """The file with header fields changed (`f4` is samples in the file) and all checksums holding."""
    values = list(HEADER.unpack_from(data))
    for name, value in changes.items():
        values[int(name[1:])] = value
    return seal(HEADER.pack(*values) + data[HEADER.size :])


def example() -> bytes:
    """Two photos of four tokens, the second with a mask: 10-bit codes, labelled."""
    from tokzoo.token_files import TokenizerId, save
    from tokzoo.tokens import Sequence, Tokens

    tokens = Tokens(
        layout=Sequence(4),
        indices=torch.tensor([[1, 2, 3, 999], [512, 7, 0, 0]]),
        levels=(1000,),
        valid=torch.tensor([[True] * 4, [True, True, False, False]]),
        extent=(64, 64),
    )
    identity = TokenizerId("titok_nano.photos64", {"encoder": "0a" * 16, "quantizer": "1b" * 16, "decoder": "2c" * 16})
    with tempfile.TemporaryDirectory() as folder:
        save(tokens, Path(folder) / "a.tkz", tokenizer=identity, labels=["rose", "car"])
        return (Path(folder) / "a.tkz").read_bytes()


def parts(data: bytes) -> list[Part]:
    """Every byte of `example()`, in order, with its meaning."""
    found: list[Part] = []

    def take(size: int, meaning: str) -> bytes:
        offset = found[-1].offset + len(found[-1].data) if found else 0
        found.append(Part(offset, data[offset : offset + size], meaning))
        return found[-1].data

    def take_struct(form: struct.Struct, names: tuple[str, ...]) -> None:
        for code, name in zip(form.format.replace("<", "").replace("8s", "s"), names, strict=True):
            size = {"s": 8, "I": 4, "Q": 8}[code]
            value = int.from_bytes(take(size, name), "little")
            shown = "" if code == "s" else f" {value:#010x}" if "checksum" in name else f" {value}"
            found[-1] = found[-1]._replace(meaning=name + shown)

    take_struct(HEADER, HEADER_FIELDS)
    text_size = int.from_bytes(take(4, "description: bytes of its text"), "little")
    found[-1] = found[-1]._replace(meaning=f"description: bytes of its text {text_size}")
    take(text_size, "description: its text (no frequency table follows: plain coding)")
    take_struct(struct.Struct("<QII"), ("page before: at byte", "page before: entries", "page before: checksum"))
    take_struct(ENTRY, ENTRY_FIELDS)
    take(1, "flags: 1 masked + 2 labelled")
    labels_size = int.from_bytes(take(4, "bytes of the labels"), "little")
    take(labels_size, "labels, a line feed between two")
    take(1, "masks: both are prefixes (bits 0 and 1)")
    take(1, "how many tokens count, 3 bits each: 4 and 2")
    numbers = int.from_bytes(take(8, ""), "little")
    codes = [numbers >> (10 * i) & 1023 for i in range(6)]
    found[-1] = found[-1]._replace(meaning=f"six codes of 10 bits: {' '.join(map(str, codes))}; 4 bits of zeros")
    return found


def dump(data: bytes) -> str:
    """Offset, bytes, meaning; a line per 8 bytes, in the description per 16 with its characters."""
    lines = []
    for part in parts(data):
        wide = len(part.data) > 32
        step = 16 if wide else 8
        for start in range(0, len(part.data), step):
            piece = part.data[start : start + step]
            text = piece.decode("latin-1") if wide else ""
            shown = part.meaning if start == 0 and not wide else text
            if wide and start == 0:
                lines.append(f"{'':6}{'':49}{part.meaning}")
            lines.append(f"{part.offset + start:04x}  {piece.hex(' '):48} {shown}".rstrip())
    return "\n".join(lines)


def documented() -> str:
    """The section of docs/tkz.md between its marks, as it should be."""
    return f"{BEGIN}```text\n{dump(example())}\n```\n{END}"


if __name__ == "__main__":
    text = DOCUMENT.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) + len(END) :]
    if "--write" in sys.argv:
        DOCUMENT.write_text(before + documented() + after, encoding="utf-8")
    else:
        print(documented())
