"""Writing .tkz files, in one step, and appending to them so that a crash loses nothing."""

import os
import zlib
from collections.abc import Sequence
from dataclasses import replace
from io import FileIO
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tokzoo._files import replace_atomically
from tokzoo.token_files import container
from tokzoo.token_files.blocks import encode_block
from tokzoo.token_files.container import ENTRY, LARGEST_BLOCK, PAGE, Description, Header
from tokzoo.token_files.entropy import Coder
from tokzoo.token_files.errors import TokenFileError
from tokzoo.token_files.frequencies import Frequencies
from tokzoo.token_files.generated import NextCode
from tokzoo.token_files.identity import Identifiable, TokenizerId, identify
from tokzoo.token_files.reading import Model, Path, TokenFile, check_identity, coder_to_read
from tokzoo.tokens import Tokens

Coding = Literal["plain", "static", "adaptive"] | Frequencies | NextCode

GENERATED_SAMPLES = 256  # at most, in one block: a generator reads all of a block to give one of it
GENERATED_VALUES = 1 << 22  # nor more than have so many probabilities at a time: 16 MiB


class Written(NamedTuple):
    """What was written: samples, the bits of their codes (latents, geometry), and the bytes that the file has now."""

    items: int
    payload_bits: int
    file_bytes: int


def save(
    tokens: Tokens,
    path: Path,
    *,
    tokenizer: Identifiable | TokenizerId | None = None,
    coding: Coding = "plain",
    labels: Sequence[str] | None = None,
) -> Written:
    """Writes tokens into a .tkz file, which takes the place of `path` in one step.

    Of tokens that are not valid nothing is stored; they are read as zeros. Latents and geometry keep their dtype:
    `tokens.to(torch.float16)` halves them.

    Args:
        tokenizer: whose tokens they are, so that reading can refuse another one.
        coding: `plain`: each code at ceil(log2(level)) bits. `static`: entropy coded by how often each value occurs in
            these tokens, or by given `Frequencies`. `adaptive`: by how often it occurred before in its block. A
            function: by the probabilities that a generator gives, see `NextCode`; needed again for reading.
        labels: a name per sample, such as its photo's.

    Raises:
        TokenFileError: indices without levels or out of range, labels that are no plain file names.
    """
    identity = None if tokenizer is None else identify(tokenizer)
    model = Frequencies.of(tokens) if coding == "static" else None if isinstance(coding, str) else coding
    description = _describe(tokens, identity, coding if isinstance(coding, str) else None, model)
    described = description.to_bytes()
    blocks, entries, bits = _encode(tokens, labels, description, coder_to_read(description, model))
    page_at = Header.SIZE + len(described)  # so that opening reads one stretch of bytes
    body_at = page_at + PAGE.size + entries.nbytes
    entries["offset"] += body_at
    page_bytes, page = container.encode_page(container.NO_PAGE, entries, page_at)
    header = Header(len(described), zlib.crc32(described), len(tokens), page, body_at + len(blocks))
    with replace_atomically(path) as temporary:
        temporary.write_bytes(header.to_bytes() + described + page_bytes + blocks)
    return Written(len(tokens), bits, header.end)


def append(
    tokens: Tokens,
    path: Path,
    *,
    tokenizer: Identifiable | TokenizerId | None = None,
    labels: Sequence[str] | None = None,
    model: Model | None = None,
) -> Written:
    """Adds tokens to a .tkz file, coded as the file is. Two processes that append wait for each other (on POSIX).

    New bytes lie behind the old ones, which stay as they are, and count only once the header names them, which is
    written last. Killed at any moment, the file holds its old samples, or these and all new ones.

    Args:
        tokenizer: must be the file's, if the file names one.
        model: frequencies or generator, where the file's coding needs it.

    Raises:
        FileNotFoundError: no such file.
        TokenFileError: a damaged file, or tokens of another tokenizer, layout, extent, levels or dtype.
    """
    with FileIO(path, "r+b") as raw:
        _lock(raw)
        file = TokenFile(raw, model=model)
        _check_append(file, tokens, None if tokenizer is None else identify(tokenizer))
        header, start = file.header, file.header.end
        blocks, entries, bits = _encode(tokens, labels, file.description, file.coder)
        entries["offset"] += start
        page_bytes, page = container.add_entries(file.pages, entries, start + len(blocks))
        end = start + len(blocks) + len(page_bytes)
        grown = replace(header, items=header.items + len(tokens), page=page, end=end)
        if _read_at(raw, 0, Header.SIZE) != header.to_bytes():  # an append was killed while it wrote this
            _write_at(raw, 0, header.to_bytes())
        raw.truncate(start)
        _write_at(raw, start, blocks + page_bytes + header.to_bytes() + grown.to_bytes())
        _write_at(raw, 0, grown.to_bytes())
        raw.truncate(end)  # the two headers behind it were for `read_header`, had this been the last line run
    return Written(len(tokens), bits, end)


def _describe(tokens: Tokens, identity: TokenizerId | None, coding: str | None, model: Model | None) -> Description:
    if isinstance(model, Frequencies):
        stored = model if model.stored else None
        crc = zlib.crc32(model.to_bytes())
        return Description.of(tokens, identity, coding="static", frequencies=stored, frequencies_crc=crc)
    return Description.of(tokens, identity, coding=coding or "generated")


def _encode(
    tokens: Tokens, labels: Sequence[str] | None, description: Description, coder: Coder | None
) -> tuple[bytes, NDArray[Any], int]:
    """Blocks, their index entries with offsets from the first of them, and the bits of their payload."""
    if labels is not None and (isinstance(labels, str) or len(labels) != len(tokens)):
        raise TokenFileError(f"labels must name each of the {len(tokens)} samples; got {len(labels)}")
    length = tokens.num_tokens
    if length * description.numbers_per_token > LARGEST_BLOCK:
        raise TokenFileError(f"one sample holds at most {LARGEST_BLOCK} numbers; got {length} tokens")
    step = description.samples_per_block(length)
    if description.coding == "generated":
        step = max(1, min(step, GENERATED_SAMPLES, GENERATED_VALUES // max(description.levels or (1,))))
    starts = range(0, len(tokens), step)
    blocks = [
        encode_block(tokens[i : i + step], None if labels is None else labels[i : i + step], description, coder)
        for i in starts
    ]
    entries = np.zeros(len(blocks), ENTRY)
    entries["size"] = [len(block.data) for block in blocks]
    entries["offset"] = np.cumsum(entries["size"], dtype=np.uint64) - entries["size"]
    entries["items"] = [min(step, len(tokens) - i) for i in starts]
    entries["tokens"] = length
    entries["crc"] = [zlib.crc32(block.data) for block in blocks]
    return b"".join(block.data for block in blocks), entries, sum(block.payload_bits for block in blocks)


def _check_append(file: TokenFile, tokens: Tokens, identity: TokenizerId | None) -> None:
    if file.tokenizer is not None:
        if identity is None:
            raise TokenFileError(f"the file holds tokens of {file.tokenizer}; say with tokenizer= that these are too")
        check_identity(file.tokenizer, identity)
    elif identity is not None:
        raise TokenFileError(f"the file does not say whose tokens it holds; those of {identity} go into another file")
    here = file.description.common()
    there = Description.of(tokens, identity, coding="plain").common()
    if differing := [f"{name} {there[name]} for {here[name]}" for name in here if here[name] != there[name]]:
        raise TokenFileError(f"these tokens do not fit the file, which has other {'; other '.join(differing)}")


def _read_at(file: FileIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _write_at(file: FileIO, offset: int, data: bytes) -> None:
    """Writes all of it and has it on the disk before returning."""
    file.seek(offset)
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _lock(file: FileIO) -> None:
    """Waits until no other process appends to the file."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
