"""How much of a file is read for one sample, and whose tokens they are said to be."""

import os
from io import FileIO
from pathlib import Path

import pytest
import torch

from tests.helpers import tiny
from tests.token_files.anatomy import BEGIN, DOCUMENT, END, documented, example, parts, seal
from tests.token_files.samples import row
from tokzoo.token_files import TokenFile, TokenFileError, TokenizerId, append, identify, load, save


class Counting(FileIO):
    """Counts seeks, reads and bytes read."""

    def __init__(self, path: Path):
        super().__init__(path, "rb")
        self.seeks = self.reads = self.bytes = 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self.seeks += 1
        return super().seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.reads, self.bytes = self.reads + 1, self.bytes + len(data)
        return data


@pytest.mark.parametrize(("coding", "block"), [("plain", 65_536), ("adaptive", 262_144)])
def test_one_of_100_000_samples_costs_one_seek_with_the_opening(coding: str, block: int, tmp_path: Path) -> None:
    tokens = row(100_000, length=32, levels=4096)
    written = save(tokens, tmp_path / "many.tkz", coding=coding)
    with Counting(tmp_path / "many.tkz") as counting:
        file = TokenFile(counting)
        assert counting.seeks == 0
        assert torch.equal(file[54_321].indices, tokens[54_321].indices)
        assert counting.seeks == 1 and counting.reads == 4  # header, description, index; block
        assert counting.bytes < 1.1 * block < written.file_bytes / 15
        assert torch.equal(file[54_322].indices, tokens[54_322].indices)  # of the same block
        assert counting.seeks == 1
        assert torch.equal(file[-1].indices, tokens[-1].indices)
        assert counting.seeks == 2


def test_a_file_that_grew_by_single_samples_opens_with_few_seeks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no crash is awaited
    save(row(1), tmp_path / "grown.tkz")
    for number in range(300):
        append(row(1, seed=number), tmp_path / "grown.tkz")
    with Counting(tmp_path / "grown.tkz") as counting:
        file = TokenFile(counting)
        assert counting.seeks <= 32
        opening = counting.seeks
        assert torch.equal(file[100].indices, row(1, seed=99).indices)
        assert counting.seeks == opening + 1


# --- identity ---------------------------------------------------------------------------------------------------------


def test_a_tokenizer_is_known_by_its_weights_and_its_name(tmp_path: Path) -> None:
    family = "titok"
    tok, other = tiny(family), tiny(family)
    tok.name = other.name = "tiny.test"
    save(row(), tmp_path / "a.tkz", tokenizer=tok)
    assert identify(tok) == identify(other)
    load(tmp_path / "a.tkz", tokenizer=other)
    load(tmp_path / "a.tkz", tokenizer=other.to(torch.bfloat16))
    with torch.no_grad():
        next(other.decoder.parameters()).view(-1)[0] += 1
    with pytest.raises(TokenFileError, match=r"tokens of tiny\.test \(.*\); this is tiny\.test \(.*decoder"):
        load(tmp_path / "a.tkz", tokenizer=other)
    load(tmp_path / "a.tkz", tokenizer=other, any_tokenizer=True)


def test_one_half_of_a_tokenizer_knows_the_tokens_of_the_other(tmp_path: Path) -> None:
    family = "titok"
    encoding, decoding = tiny(family), tiny(family)
    encoding.keep_part("encoder")
    decoding.keep_part("decoder")
    save(row(), tmp_path / "a.tkz", tokenizer=encoding)
    shared = set(identify(encoding).weights) & set(identify(decoding).weights)
    assert shared == {"quantizer"}  # by which each knows the other's tokens
    assert torch.equal(load(tmp_path / "a.tkz", tokenizer=decoding).indices, row().indices)
    with torch.no_grad():
        next(decoding.quantizer.parameters()).view(-1)[0] += 1
    with pytest.raises(TokenFileError, match=r"quantizer"):
        load(tmp_path / "a.tkz", tokenizer=decoding)


def test_identities_are_checked() -> None:
    for name, weights in (("a\nb", {}), ("a" * 201, {}), ("a", {"encoder": "12"})):
        with pytest.raises(ValueError, match=r"printable|hexadecimal"):
            TokenizerId(name, weights)


# --- the document -----------------------------------------------------------------------------------------------------


def test_the_dump_in_the_document_is_what_is_written() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    shown = text[text.index(BEGIN) : text.index(END) + len(END)]
    assert shown == documented(), "run: python -m tests.token_files.anatomy --write"


def test_the_dump_tells_of_every_byte_and_all_checksums_are_where_it_says() -> None:
    assert b"".join(part.data for part in parts(example())) == example()
    assert seal(example()) == example()
