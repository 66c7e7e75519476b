"""Writing, appending to and reading .tkz files."""

import os
import zlib
from collections.abc import Sequence
from dataclasses import replace
from io import FileIO
from types import TracebackType
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tokzoo._files import replace_atomically
from tokzoo.token_files import container
from tokzoo.token_files.blocks import decode_block, encode_block
from tokzoo.token_files.container import ENTRY, LARGEST_BLOCK, Description, Header
from tokzoo.token_files.entropy import Adaptive, Coder, Frequencies, Generated, NextCode, Plain, Static
from tokzoo.token_files.errors import TokenFileError
from tokzoo.token_files.identity import Identifiable, TokenizerId, identify
from tokzoo.tokens import Tokens, bit_width

Coding = Literal["plain", "static", "adaptive"] | Frequencies | NextCode
Model = Frequencies | NextCode

BLOCK_BITS = 1 << 19  # of plain code in one block: what reading one sample decodes at most, if a sample is no larger


class Written(NamedTuple):
    """What a save or append wrote: samples, the bits of their codes (latents, geometry) alone, bytes of the whole file."""

    items: int
    payload_bits: int
    file_bytes: int


def save(
    tokens: Tokens,
    path: str | os.PathLike[str],
    *,
    tokenizer: Identifiable | TokenizerId | None = None,
    coding: Coding = "plain",
    labels: Sequence[str] | None = None,
) -> Written:
    """Writes tokens into a .tkz file, which takes the place of `path` in one step.

    Of tokens that are not valid nothing is stored; they are read as zeros.

    Args:
        tokenizer: whose tokens they are, so that `decode` can refuse strangers.
        coding: `plain`: each code at ceil(log2(level)) bits. `static`: range coded over how often each value occurs in
            these tokens, or by given `Frequencies`. `adaptive`: over how often it occurred before in its block. A
            function: over the probabilities that a generator gives, see `NextCode`; needed again for reading.
        labels: a name per sample, such as its photo's.

    Raises:
        TokenFileError: indices without levels or out of range, labels that are no plain file names.
        ImportError: entropy coding without `tokzoo[codec]`.
    """
    identity = None if tokenizer is None else identify(tokenizer)
    description, coder = _describe(tokens, identity, coding)
    described = description.to_bytes()
    start = Header.SIZE + len(described)
    body, entries, bits = _encode(tokens, labels, description, coder, start)
    page_bytes, page = container.add_entries([], entries, start + len(body))
    end = start + len(body) + len(page_bytes)
    header = Header(len(described), zlib.crc32(described), len(tokens), page, end)
    with replace_atomically(path) as temporary:
        temporary.write_bytes(header.to_bytes() + described + body + page_bytes)
    return Written(len(tokens), bits, end)


def append(
    tokens: Tokens,
    path: str | os.PathLike[str],
    *,
    tokenizer: Identifiable | TokenizerId | None = None,
    labels: Sequence[str] | None = None,
    model: Model | None = None,
) -> Written:
    """Adds tokens to a .tkz file, coded as the file is. Two processes that append wait for each other (on POSIX).

    What was written before stays as it is: new bytes lie behind it and count only once the header names them, which is
    written last. A crash in between leaves the old samples, and the next append overwrites what it left.

    Args:
        tokenizer: must be the file's, if the file names one.
        model: frequencies or generator, where the file's coding needs it.

    Raises:
        FileNotFoundError: no such file.
        TokenFileError: a damaged file, or tokens of another tokenizer, layout, extent, levels or dtype.
    """
    with FileIO(path, "r+b") as raw:
        _lock(raw)
        with TokenFile(raw, model=model) as file:
            _check_append(file, tokens, None if tokenizer is None else identify(tokenizer))
            header, pages = file._header, file._pages
            body, entries, bits = _encode(tokens, labels, file.description, file._coder, header.end)
            page_bytes, page = container.add_entries(pages, entries, header.end + len(body))
            raw.truncate(header.end)  # what an append left that did not finish
            _write_at(raw, header.end, body + page_bytes)
            end = header.end + len(body) + len(page_bytes)
            _write_at(raw, 0, replace(header, items=header.items + len(tokens), page=page, end=end).to_bytes())
    return Written(len(tokens), bits, end)


class TokenFile:
    """An open .tkz file: `file[i]` and `file[i:j]` are Tokens, as indexing the whole would give, on the CPU.

    Opening reads the header, the description and the index. A sample after that is one seek and one read: of its block,
    about 64 KiB, which is kept until another is read.

    Args:
        source: a path, or a binary file that can seek.
        model: frequencies or generator, where the file's coding needs it.

    Raises:
        FileNotFoundError: no such file.
        TokenFileError: no .tkz file, a damaged one, one of a later version, one that needs a `model`.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO | FileIO, *, model: Model | None = None):
        self._owned = isinstance(source, str | os.PathLike)
        self._file: Any = FileIO(source, "rb") if isinstance(source, str | os.PathLike) else source
        try:
            size = self._file.seek(0, os.SEEK_END)
            self._header = Header.read(self._read_at(0, min(size, Header.SIZE)), size)
            described = self._read_at(Header.SIZE, self._header.description_size)
            if zlib.crc32(described) != self._header.description_crc:
                raise TokenFileError("the description is damaged: its checksum does not hold. Get the file again")
            self.description = Description.from_bytes(described)
            self._pages = container.read_pages(self._header, self._read_at)
            self._entries: NDArray[Any] = np.concatenate([np.zeros(0, ENTRY), *(part for _, part in self._pages)])
            container.check_entries(self._entries, self._header, self.description)
            self._coder = _coder_to_read(self.description, model)
        except BaseException:
            self.close()
            raise
        self._ends = np.cumsum(self._entries["items"], dtype=np.int64)  # of each block, in samples
        self._kept: tuple[int, tuple[Tokens, list[str] | None]] | None = None

    @property
    def tokenizer(self) -> TokenizerId | None:
        """Whose tokens they are, if the file says it."""
        return self.description.tokenizer

    @property
    def file_bytes(self) -> int:
        """Of the whole file, without what an unfinished append left."""
        return self._header.end

    def __len__(self) -> int:
        return self._header.items

    def __getitem__(self, key: int | slice) -> Tokens:
        return _cat([tokens for tokens, _ in self._pieces(self._range(key))])

    def labels(self, key: int | slice = slice(None)) -> list[str | None]:
        """Names of samples, None where they were written without."""
        pieces = self._pieces(self._range(key))
        return [label for tokens, labels in pieces for label in labels or [None] * len(tokens)]

    def check(self, tokenizer: Identifiable | TokenizerId) -> None:
        """Raises TokenFileError, naming both, unless these are tokens of `tokenizer`."""
        _check_identity(self.tokenizer, identify(tokenizer))

    def close(self) -> None:
        """Closes the file if it was opened here."""
        if self._owned:
            self._file.close()

    def __enter__(self) -> "TokenFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _range(self, key: int | slice) -> range:
        if isinstance(key, slice):
            chosen = range(len(self))[key]
            if chosen.step != 1:
                raise IndexError(f"samples are read in order, with step 1; got {key}")
            return chosen
        index = key + len(self) if key < 0 else key
        if not 0 <= index < len(self):
            raise IndexError(f"the file holds {len(self)} samples; got index {key}")
        return range(index, index + 1)

    def _pieces(self, chosen: range) -> list[tuple[Tokens, list[str] | None]]:
        """The chosen samples, block by block; for none, an empty piece."""
        if not chosen:
            return [(_empty(self.description), None)]
        first, last = np.searchsorted(self._ends, [chosen.start, chosen.stop - 1], side="right")
        pieces = []
        for block in range(int(first), int(last) + 1):
            tokens, labels = self._block(block)
            begins = int(self._ends[block]) - len(tokens)
            part = slice(max(0, chosen.start - begins), chosen.stop - begins)
            pieces.append((tokens[part], labels and labels[part]))
        return pieces

    def _block(self, block: int) -> tuple[Tokens, list[str] | None]:
        if self._kept is None or self._kept[0] != block:
            offset, size, items, length, crc = (int(value) for value in self._entries[block])
            data = self._read_at(offset, size)
            if zlib.crc32(data) != crc:
                raise TokenFileError(f"block {block} is damaged: its checksum does not hold. Get the file again")
            self._kept = block, decode_block(data, items, length, self.description, self._coder)
        return self._kept[1]

    def _read_at(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        data: bytes = self._file.read(size)
        if len(data) != size:
            raise TokenFileError(f"the file is cut short: {size} bytes at {offset} are not all there")
        return data


# --- coding ----------------------------------------------------------------------------------------------------------


def _describe(tokens: Tokens, identity: TokenizerId | None, coding: Coding) -> tuple[Description, Coder | None]:
    """How these tokens will be described and coded."""
    if coding == "static":
        coding = Frequencies.of(tokens)
    if isinstance(coding, Frequencies):
        table = {"frequencies": coding if coding.stored else None, "frequencies_crc": zlib.crc32(coding.to_bytes())}
        description = Description.of(tokens, identity, coding="static", **table)
    else:
        description = Description.of(tokens, identity, coding="generated" if callable(coding) else coding)
    return description, _coder(description, None if isinstance(coding, str) else coding)


def _coder(description: Description, model: Model | None) -> Coder | None:
    """The coder of a file's indices; None for latents."""
    levels = description.levels
    if levels is None:
        return None
    if description.coding == "static":
        assert isinstance(model, Frequencies)
        return Static(levels, model)
    if description.coding == "generated":
        assert callable(model)
        return Generated(levels, model)
    return Plain(levels) if description.coding == "plain" else Adaptive(levels)


def _coder_to_read(description: Description, model: Model | None) -> Coder | None:
    """The same for a file at hand, which may hold its own frequencies, or need what it was written with."""
    if description.coding == "generated" and not callable(model):
        raise TokenFileError("these codes were coded with a generator's probabilities; give the same one as model=")
    if description.coding == "static":
        model = description.frequencies or model
        if not isinstance(model, Frequencies):
            raise TokenFileError("this file does not hold its frequency table; give the one it was made with as model=")
        if zlib.crc32(model.to_bytes()) != description.frequencies_crc:
            raise TokenFileError("model= is another frequency table than the file was made with")
    return _coder(description, model)


def _encode(
    tokens: Tokens, labels: Sequence[str] | None, description: Description, coder: Coder | None, offset: int
) -> tuple[bytes, NDArray[Any], int]:
    """Blocks that will lie at `offset`, their index entries, and the bits of their payload."""
    if labels is not None and (isinstance(labels, str) or len(labels) != len(tokens)):
        raise TokenFileError(f"labels must name each of the {len(tokens)} samples; got {len(labels)}")
    length = tokens.num_tokens
    if length * description.numbers_per_token > LARGEST_BLOCK:
        raise TokenFileError(f"one sample holds at most {LARGEST_BLOCK} numbers; got {length} tokens")
    bits = sum(bit_width(level) for level in description.levels or ())
    step = max(1, BLOCK_BITS // max(1, length * max(bits, description.numbers_per_token)))
    blocks = [
        encode_block(tokens[i : i + step], None if labels is None else labels[i : i + step], coder)
        for i in range(0, len(tokens), step)
    ]
    entries = np.zeros(len(blocks), ENTRY)
    entries["size"] = [len(block.data) for block in blocks]
    entries["offset"] = offset + np.cumsum(entries["size"], dtype=np.uint64) - entries["size"]
    entries["items"] = [min(step, len(tokens) - i) for i in range(0, len(tokens), step)]
    entries["tokens"] = length
    entries["crc"] = [zlib.crc32(block.data) for block in blocks]
    return b"".join(block.data for block in blocks), entries, sum(block.payload_bits for block in blocks)


def _check_append(file: TokenFile, tokens: Tokens, identity: TokenizerId | None) -> None:
    if file.tokenizer is not None:
        if identity is None:
            raise TokenFileError(f"the file holds tokens of {file.tokenizer}; say with tokenizer= that these are too")
        _check_identity(file.tokenizer, identity)
    elif identity is not None:
        raise TokenFileError(f"the file does not say whose tokens it holds; those of {identity} go into another file")
    here = file.description.common()
    there = Description.of(tokens, identity, coding="plain").common()
    differing = [f"{name} {there[name]} for {here[name]}" for name in here if here[name] != there[name]]
    if differing:
        raise TokenFileError(f"these tokens do not fit the file, which has other {'; other '.join(differing)}")


def _check_identity(written: TokenizerId | None, given: TokenizerId) -> None:
    if written is None:
        raise TokenFileError(f"the file does not say whose tokens it holds; nothing shows that they are of {given}")
    if not given.accepts(written):
        raise TokenFileError(f"the file holds tokens of {written}; this is {given}, which cannot read them")


def _cat(parts: list[Tokens]) -> Tokens:
    """Concatenates blocks, of which some may have a mask, or fewer tokens than others (an octree's)."""
    length = max(part.num_tokens for part in parts)
    masked = any(part.valid is not None or part.num_tokens < length for part in parts)
    return Tokens.cat([_pad(part, length) if masked else part for part in parts])


def _pad(tokens: Tokens, length: int) -> Tokens:
    more = length - tokens.num_tokens
    valid = tokens.valid if tokens.valid is not None else torch.ones(len(tokens), tokens.num_tokens, dtype=torch.bool)
    tensors = tokens._tensors() | {"valid": valid}
    padded = {
        name: torch.cat([value, value.new_zeros(len(tokens), more, *value.shape[2:])], dim=1)
        for name, value in tensors.items()
    }
    return replace(tokens, **padded)  # type: ignore[arg-type]


def _empty(description: Description) -> Tokens:
    """No samples of a file's kind."""
    length = description.layout.num_tokens or 0
    return decode_block(
        b"\0", 0, length, description, None if description.levels is None else Plain(description.levels)
    )[0]


# --- bytes -----------------------------------------------------------------------------------------------------------


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
