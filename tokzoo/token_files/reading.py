"""Reading .tkz files: samples by index, whole files, and the refusal of other tokenizers."""

import io
import os
import zlib
from collections.abc import Sequence
from dataclasses import replace
from io import FileIO
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from tokzoo.token_files import container
from tokzoo.token_files.blocks import decode_block
from tokzoo.token_files.container import ENTRY, Description, Header
from tokzoo.token_files.entropy import Adaptive, Coder, Plain, Static
from tokzoo.token_files.errors import TokenFileError
from tokzoo.token_files.frequencies import Frequencies
from tokzoo.token_files.generated import Generated, NextCode
from tokzoo.token_files.identity import Identifiable, TokenizerId, identify
from tokzoo.tokens import Tokens

Path = str | os.PathLike[str]
Model = Frequencies | NextCode


class TokenFile:
    """An open .tkz file: `file[i]` and `file[i:j]` are Tokens on the CPU, as indexing the whole would give.

    Opening reads header, description and index: one after the other, without a seek, in a file that was saved at once;
    with a seek for each of its few index pages in one that grew. A sample after that is one seek and one read: of its
    block, about 64 KiB (256 KiB, entropy coded), which is kept until another is read. Each process or thread opens its
    own.

    Args:
        source: a path, or a binary file that can seek.
        model: frequencies or generator, where the file's coding needs it.

    Raises:
        FileNotFoundError: no such file.
        TokenFileError: no .tkz file, a damaged one, one of another version, one that needs a `model`.
    """

    def __init__(self, source: Path | BinaryIO | FileIO, *, model: Model | None = None):
        self._owned = isinstance(source, str | os.PathLike)
        self._file: Any = FileIO(source, "rb") if isinstance(source, str | os.PathLike) else source
        try:
            self._size = _size(self._file)
            self._position = self._file.tell()
            self.header = container.read_header(self._read_at, self._size)
            described = self._read_at(Header.SIZE, self.header.description_size)
            if zlib.crc32(described) != self.header.description_crc:
                raise TokenFileError("the description is damaged: its checksum does not hold. Get the file again")
            self.description = Description.from_bytes(described)
            self.pages = container.read_pages(self.header, self._read_at)
            self._entries: NDArray[Any] = np.concatenate([np.zeros(0, ENTRY), *(part for _, part in self.pages)])
            container.check_entries(self._entries, self.header, self.description)
            self.coder = coder_to_read(self.description, model)
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
        return self.header.end

    def __len__(self) -> int:
        return self.header.items

    def __getitem__(self, key: int | slice) -> Tokens:
        return cat([tokens for tokens, _ in self._pieces(self._range(key))])

    def labels(self, key: int | slice = slice(None)) -> list[str | None]:
        """Names of samples, None where they were written without."""
        named: list[str | None] = []
        for tokens, labels in self._pieces(self._range(key)):
            named += labels or [None] * len(tokens)
        return named

    def check(self, tokenizer: Identifiable | TokenizerId) -> None:
        """Raises TokenFileError, naming both, unless these are tokens of `tokenizer`."""
        check_identity(self.tokenizer, identify(tokenizer))

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
            return [(_no_samples(self.description), None)]
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
            self._kept = block, decode_block(data, items, length, self.description, self.coder)
        return self._kept[1]

    def _read_at(self, offset: int, size: int) -> bytes:
        if offset + size > self._size:
            raise TokenFileError(f"the file is cut short: {size} bytes at {offset} are not all there")
        if self._position != offset:
            self._file.seek(offset)
        data: bytes = self._file.read(size)
        self._position = offset + len(data)
        if len(data) != size:
            raise TokenFileError(f"the file became shorter while it was read: {size} bytes at {offset} are missing")
        return data


def load(
    path: Path,
    *,
    tokenizer: Identifiable | TokenizerId | None = None,
    any_tokenizer: bool = False,
    model: Model | None = None,
) -> Tokens:
    """All tokens of a .tkz file, on the CPU.

    Args:
        tokenizer: who will decode them; tokens of another one are refused. None: nothing is checked.
        any_tokenizer: take them whoever made them.
        model: frequencies or generator, where the file's coding needs it.

    Raises:
        FileNotFoundError: no such file.
        TokenFileError: a damaged file, or one of another tokenizer.
    """
    with TokenFile(path, model=model) as file:
        if tokenizer is not None and not any_tokenizer:
            file.check(tokenizer)
        return file[:]


def cat(parts: Sequence[Tokens]) -> Tokens:
    """`Tokens.cat`, also where only some have `valid`, or some have fewer tokens: missing ones do not count."""
    length = max(part.num_tokens for part in parts)
    masked = any(part.valid is not None or part.num_tokens < length for part in parts)
    return Tokens.cat([_pad(part, length) if masked else part for part in parts])


def _pad(tokens: Tokens, length: int) -> Tokens:
    more = length - tokens.num_tokens
    valid = torch.ones(len(tokens), tokens.num_tokens, dtype=torch.bool) if tokens.valid is None else tokens.valid
    padded = {
        name: torch.cat([value, value.new_zeros(len(tokens), more, *value.shape[2:])], dim=1)
        for name, value in {**tokens._tensors(), "valid": valid}.items()
    }
    return replace(tokens, **padded)  # type: ignore[arg-type]


def _no_samples(description: Description) -> Tokens:
    coder = None if description.levels is None else Plain(description.levels)
    return decode_block(b"\0", 0, description.layout.num_tokens or 0, description, coder)[0]


def _size(file: Any) -> int:
    """Bytes of a file; only of one that is not on a disk they are found by seeking."""
    try:
        return os.fstat(file.fileno()).st_size
    except (AttributeError, io.UnsupportedOperation):
        size = int(file.seek(0, os.SEEK_END))
        file.seek(0)
        return size


def check_identity(written: TokenizerId | None, given: TokenizerId) -> None:
    """Raises TokenFileError, naming both, unless `given` is the tokenizer that a file names."""
    if written is None:
        raise TokenFileError(
            f"the file does not say whose tokens it holds; nothing shows that they are of {given}. "
            "any_tokenizer takes them all the same"
        )
    if not given.accepts(written):
        raise TokenFileError(
            f"the file holds tokens of {written}; this is {given}, which would make other pictures of them. "
            "Take the first, or say any_tokenizer"
        )


def coder_to_read(description: Description, model: Model | None) -> Coder | None:
    """The coder of a file's indices, None for latents; `model` where the file does not hold what it was coded with."""
    if description.levels is None:
        return None
    if description.coding == "generated":
        if isinstance(model, Frequencies) or not callable(model):
            raise TokenFileError("these codes were coded with a generator's probabilities; give the same one as model=")
        return Generated(description.levels, model)
    if description.coding == "static":
        model = description.frequencies or model
        if not isinstance(model, Frequencies):
            raise TokenFileError("this file does not hold its frequency table; give the one it was made with as model=")
        if zlib.crc32(model.to_bytes()) != description.frequencies_crc:
            raise TokenFileError("model= is another frequency table than the one the file was made with")
        return Static(description.levels, model)
    return Plain(description.levels) if description.coding == "plain" else Adaptive(description.levels)
