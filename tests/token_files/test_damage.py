"""Damaged, foreign and hostile files: one kind of error with a clear message, and never wrong tokens."""

import io
import json
import random
import re
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
import torch

from tests.token_files.anatomy import ENTRY, HEADER, example, seal, with_header
from tests.token_files.samples import NANO, OTHER, opened, row, same, written
from tokzoo.token_files import TokenFile, TokenFileError, TokenizerId, append, load, safe_label, save
from tokzoo.tokens import Gaussians, Grid, Octree, Sequence, Tokens


def read(data: bytes) -> Tokens:
    with opened(data) as file:
        file.labels()
        return file[:]


def grown(folder: Path) -> bytes:
    """A file of three appends with two blocks of names, in which a page was not the first."""
    save(row(2), folder / "grown.tkz", tokenizer=NANO, labels=["a", "b"])
    append(row(1, seed=1), folder / "grown.tkz", tokenizer=NANO)
    append(row(3, seed=2), folder / "grown.tkz", tokenizer=NANO, labels=["c", "d", "e"])
    return (folder / "grown.tkz").read_bytes()


def test_a_file_cut_short_at_any_byte_is_refused(tmp_path: Path) -> None:
    for data in (example(), grown(tmp_path), written(row(), tmp_path, coding="adaptive")):
        for size in range(len(data)):
            with pytest.raises(TokenFileError, match=r"cut short|no \.tkz file"):
                read(data[:size])


def test_each_flipped_bit_of_the_header_is_noticed() -> None:
    data = example()
    for bit in range(8 * HEADER.size):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TokenFileError, match=r"no \.tkz file|of version|header is damaged"):
            opened(bytes(damaged))


def test_each_flipped_bit_behind_the_header_is_noticed(tmp_path: Path) -> None:
    for data in (example(), written(row(), tmp_path, coding="adaptive")):
        for bit in range(8 * HEADER.size, 8 * len(data)):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(TokenFileError, match="damaged: its checksum does not hold"):
                read(bytes(damaged))


@pytest.mark.parametrize(
    ("version", "remedy"), [(0, "encode the images"), (1, "encode the images"), (3, "update"), (1 << 31, "update")]
)
def test_a_file_of_another_version_says_which_and_what_to_do(version: int, remedy: str) -> None:
    with pytest.raises(TokenFileError, match=f"of version {version}, and this tokzoo reads version 2: {remedy}"):
        opened(with_header(example(), f1=version))


@pytest.mark.parametrize("data", [b"", b"\x89", b"\x89PNG\r\n\x1a\n" + bytes(100), b"tokens", bytes(1000)])
def test_what_is_no_token_file_is_called_so(data: bytes) -> None:
    with pytest.raises(TokenFileError, match=r"no \.tkz file|cut short"):
        opened(data)


def test_a_file_that_is_not_there_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TokenFile(tmp_path / "none.tkz")
    with pytest.raises(FileNotFoundError):
        append(row(), tmp_path / "none.tkz")


ABSURD = {"f2": 1 << 31, "f4": (1 << 64) - 1, "f5": 1 << 63, "f6": (1 << 32) - 1, "f8": (1 << 64) - 1}


@pytest.mark.parametrize("field", ABSURD)
def test_absurd_lengths_in_the_header_allocate_nothing(field: str, tmp_path: Path) -> None:
    hostile = with_header(example(), **{field: ABSURD[field]})  # its checksums hold
    unsealed = hostile[: HEADER.size - 4] + b"\0\0\0\0" + hostile[HEADER.size :]
    for data in (hostile, unsealed):
        (tmp_path / "a.tkz").write_bytes(data)
        tracemalloc.start()
        with pytest.raises(TokenFileError):
            TokenFile(tmp_path / "a.tkz")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000


@pytest.mark.parametrize("field", range(4))
@pytest.mark.parametrize("value", [0, 1, 5, 1 << 20, (1 << 32) - 1])
def test_absurd_lengths_in_the_index_allocate_nothing(field: int, value: int) -> None:
    data = bytearray(example())
    (page_at,) = struct.unpack_from("<Q", data, 28)
    entry = list(ENTRY.unpack_from(data, page_at + 16))
    entry[field] = value
    struct.pack_into(ENTRY.format, data, page_at + 16, *entry)
    tracemalloc.start()
    with pytest.raises(TokenFileError):
        read(seal(bytes(data)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000


def described(**changes: object) -> bytes:
    """`example()` with a changed description; all checksums hold."""
    data = example()
    size, page_at = struct.unpack_from("<I", data, 12)[0], struct.unpack_from("<Q", data, 28)[0]
    record = json.loads(data[HEADER.size + 4 : HEADER.size + size]) | changes
    text = json.dumps(record).encode()
    return _with_description(data, len(text).to_bytes(4, "little") + text, page_at)


def _with_description(data: bytes, description: bytes, page_at: int) -> bytes:
    more = len(description) - (page_at - HEADER.size)
    body = bytearray(data[page_at:])
    (block_at,) = struct.unpack_from("<Q", body, 16)
    struct.pack_into("<Q", body, 16, block_at + more)
    values = list(HEADER.unpack_from(data))
    values[2], values[5], values[8] = len(description), page_at + more, values[8] + more
    return seal(HEADER.pack(*values) + description + body)


def test_the_helper_makes_valid_files() -> None:
    assert same(read(described(extent=[64, 64])), read(example()))


@pytest.mark.parametrize(
    "changes",
    [
        {"layout": {"kind": "Sequence", "num_tokens": 1 << 60}},
        {"layout": {"kind": "Sequence", "num_tokens": -4}},
        {"layout": {"kind": "Sequence", "num_tokens": 4.0}},
        {"layout": {"kind": "Sequence"}},
        {"layout": {"kind": "Tokens", "num_tokens": 4}},
        {"layout": {"kind": "Pyramid", "scales": [[1, 2, 3]]}},
        {"layout": {"kind": "Grid", "height": 2, "width": True}},
        {"layout": {"kind": "Octree", "depth": 1 << 40}, "geometry": ["int64", 3]},
        {"layout": "Sequence"},
        {"levels": []},
        {"levels": [1 << 64]},
        {"levels": [0]},
        {"levels": [1000, 1000]},
        {"levels": "1000"},
        {"levels": [10] * 100_000, "grouped": True},
        {"levels": None},
        {"grouped": 0},
        {"latents": ["float16", 1 << 40]},
        {"geometry": ["complex64", 3]},
        {"geometry": ["float32", 1 << 62]},
        {"extent": [1 << 40, 1 << 40]},
        {"extent": [64]},
        {"extent": {"a": 1}},
        {"coding": "zip"},
        {"coding": "static"},
        {"coding": ["plain"]},
        {"frequencies_crc": 5},
        {"tokenizer": "titok"},
        {"tokenizer": {"name": "a\x1b[2J", "weights": {}}},
        {"tokenizer": {"name": "a" * 1000, "weights": {}}},
        {"tokenizer": {"name": ["a"], "weights": {}}},
        {"tokenizer": {"name": "a", "weights": {"encoder": "../../etc"}}},
        {"tokenizer": {"name": "a", "weights": [1]}},
    ],
)
def test_nonsense_in_the_description_is_refused(changes: dict) -> None:
    with pytest.raises(TokenFileError) as refused:
        read(described(**changes))
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"null", b"\xff", b"[" * 100_000, b'{"a":' * 50_000, b"1" * 9999])
def test_a_description_that_is_no_record_is_refused(text: bytes) -> None:
    data = example()
    (page_at,) = struct.unpack_from("<Q", data, 28)
    with pytest.raises(TokenFileError, match="description is not as"):
        opened(_with_description(data, len(text).to_bytes(4, "little") + text, page_at))


def test_an_index_that_goes_round_in_a_circle_is_refused(tmp_path: Path) -> None:
    data = bytearray(grown(tmp_path))
    page_at, entries = struct.unpack_from("<QI", data, 28)
    struct.pack_into("<QI", data, page_at, page_at, entries)  # the page before is the page itself
    with pytest.raises(TokenFileError, match="does not fit the file"):
        opened(seal(bytes(data)))


# --- names ------------------------------------------------------------------------------------------------------------

TRICKS = [
    "../car",
    "..",
    ".ssh",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:\\a",
    "C:a",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    "a\u202egnp",
    "",
    "con",
    "NUL.png",
    "lpt1",
    "car.",
    "car ",
    " car",
    "x" * 201,
    "*",
    "a|b",
]


@pytest.mark.parametrize("label", TRICKS)
def test_labels_that_lead_elsewhere_are_refused_when_written(label: str, tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match=r"the label .*safe_label\(text\) makes one that fits"):
        save(row(1), tmp_path / "a.tkz", labels=[label])
    save(row(1), tmp_path / "a.tkz", labels=[safe_label(label)])
    with TokenFile(tmp_path / "a.tkz") as file:
        assert file.labels() == [safe_label(label)]


@pytest.mark.parametrize("label", [trick for trick in TRICKS if "\n" not in trick])
def test_labels_that_lead_elsewhere_are_refused_when_read(label: str, tmp_path: Path) -> None:
    data = written(row(1), tmp_path, labels=["nice"])
    name = label.encode()
    with pytest.raises(TokenFileError, match="the label"):
        read(_replaced_in_block(data, b"\4\0\0\0nice", len(name).to_bytes(4, "little") + name))


def _replaced_in_block(data: bytes, old: bytes, new: bytes) -> bytes:
    """The file of one block with some of its bytes replaced; all checksums hold."""
    start = data.rindex(old)
    changed = bytearray(data[:start] + new + data[start + len(old) :])
    (page_at,) = struct.unpack_from("<Q", changed, 28)
    (size,) = struct.unpack_from("<I", changed, page_at + 16 + 8)
    struct.pack_into("<I", changed, page_at + 16 + 8, size + len(new) - len(old))
    return with_header(bytes(changed), f8=len(changed))


def test_safe_label_keeps_what_is_safe_and_cuts_whole_characters() -> None:
    assert safe_label("Rose 2, caf\u00e9") == "Rose 2, caf\u00e9"
    assert safe_label("a/b") == "a_b"
    assert len(safe_label("\u00e9" * 500).encode()) <= 200


def test_labels_must_be_one_for_each_sample(tmp_path: Path) -> None:
    for labels in (["a"], "abc"):
        with pytest.raises(TokenFileError, match="labels must name each of the 3 samples"):
            save(row(3), tmp_path / "a.tkz", labels=labels)


# --- other tokenizers, other tokens -----------------------------------------------------------------------------------


def test_tokens_of_another_tokenizer_or_other_weights_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "a.tkz"
    save(row(), file, tokenizer=NANO)
    strangers = (OTHER, TokenizerId("titok_l32.in1k", NANO.weights), TokenizerId(None, {"encoder": "f" * 32}))
    for stranger in strangers:
        both = f"tokens of {re.escape(str(NANO))}; this is {re.escape(str(stranger))}"
        with pytest.raises(TokenFileError, match=both):
            load(file, tokenizer=stranger)
        with pytest.raises(TokenFileError, match=both):
            append(row(), file, tokenizer=stranger)
        assert same(load(file, tokenizer=stranger, any_tokenizer=True), row())
    for half in ({"encoder": "0" * 32, "quantizer": "1" * 32}, {"quantizer": "1" * 32, "decoder": "2" * 32}):
        assert same(load(file, tokenizer=TokenizerId(NANO.name, half)), row())
    with pytest.raises(TokenFileError, match="say with tokenizer="):
        append(row(), file)


def test_a_file_that_names_no_tokenizer_proves_nothing(tmp_path: Path) -> None:
    save(row(), tmp_path / "a.tkz")
    with pytest.raises(TokenFileError, match="does not say whose tokens"):
        load(tmp_path / "a.tkz", tokenizer=NANO)
    with pytest.raises(TokenFileError, match="go into another file"):
        append(row(), tmp_path / "a.tkz", tokenizer=NANO)


def test_other_tokens_are_not_appended(tmp_path: Path) -> None:
    save(row(), tmp_path / "a.tkz")
    before = (tmp_path / "a.tkz").read_bytes()
    for other, what in (
        (row(length=9), "other layout"),
        (row(levels=999), "other levels"),
        (Tokens(**{**vars(row()), "extent": (32, 32)}), "other extent"),
        (Tokens(**{**vars(row()), "layout": Grid(2, 4)}), "other layout"),
        (Tokens(layout=Sequence(8), latents=torch.zeros(1, 8, 4)), "other latents"),
    ):
        with pytest.raises(TokenFileError, match=what):
            append(other, tmp_path / "a.tkz")
    assert (tmp_path / "a.tkz").read_bytes() == before


# --- ten thousand mutations -------------------------------------------------------------------------------------------


def bases(folder: Path) -> list[bytes]:
    """Files of every kind."""
    valid = torch.rand(3, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    masked = Tokens(**{**vars(row()), "valid": valid})
    placed = Tokens(layout=Gaussians(4), latents=torch.randn(2, 4, 3).half(), geometry=torch.randn(2, 4, 5))
    cells = torch.randint(8, (2, 6, 3)).short()
    tree = Tokens(layout=Octree(3), indices=torch.ones(2, 6).long(), levels=(5,), geometry=cells)
    slots = Tokens(layout=Grid(2, 2), indices=torch.randint(5, (4, 4, 3)), levels=(8, 5, 1 << 18))
    return [
        example(),
        grown(folder),
        written(masked, folder, coding="adaptive", labels=["x", "y", "z"]),
        written(slots, folder, coding="static"),
        written(slots, folder, coding="adaptive"),
        written(placed, folder),
        written(tree, folder),
    ]


def mutate(data: bytes, draw: random.Random) -> bytes:
    """One to three faults: flipped bits, absurd numbers, cuts, holes, copies, noise."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        at, size = draw.randrange(len(changed) + 1), draw.choice([1, 2, 4, 8, 24, 60])
        fault = draw.randrange(7)
        if fault == 0 and at < len(changed):
            changed[at] ^= 1 << draw.randrange(8)
        elif fault == 1:
            number = draw.choice([0, 1, 2, 255, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
            changed[at : at + 4] = number.to_bytes(4, "little")
        elif fault == 2:
            changed[at : at + 8] = draw.choice([1 << 40, 1 << 63, (1 << 64) - 1, draw.getrandbits(64)]).to_bytes(
                8, "little"
            )
        elif fault == 3:
            del changed[at : at + size]
        elif fault == 4:
            changed[at:at] = changed[-size:]
        elif fault == 5:
            changed[at : at + size] = draw.randbytes(size)
        else:
            del changed[at:]
            changed = changed or bytearray(data)
    return bytes(changed)


def fuzz(folder: Path, times: int, seed: int) -> dict[str, int]:
    """Outcomes of `times` mutations. Half of them get checksums that hold, to come past the first guards."""
    draw, outcomes = random.Random(seed), {"refused": 0, "unchanged": 0, "another valid file": 0}
    files = bases(folder)
    originals = [read(data) for data in files]
    for number in range(times):
        which = draw.randrange(len(files))
        sealed = draw.random() < 0.5
        data = mutate(files[which], draw)
        data = seal(data) if sealed else data
        began = time.process_time()
        try:
            tokens = read(data)
        except TokenFileError as error:
            assert str(error) and len(str(error)) < 2000
            outcomes["refused"] += 1
        else:
            unchanged = same(tokens, originals[which])
            assert sealed or unchanged, f"mutation {number} of seed {seed} was read as other tokens"
            outcomes["unchanged" if unchanged else "another valid file"] += 1
        assert time.process_time() - began < 5, f"mutation {number} of seed {seed} took too long"
    return outcomes


def test_three_hundred_mutations_are_refused_or_harmless(tmp_path: Path) -> None:
    outcomes = fuzz(tmp_path, 300, seed=0)
    assert outcomes["refused"] > 200


@pytest.mark.slow
def test_ten_thousand_mutations_are_refused_or_harmless(tmp_path: Path) -> None:
    outcomes = fuzz(tmp_path, 10_000, seed=1)
    assert outcomes["refused"] > 7_000
    print(outcomes)


def test_a_stream_that_ends_early_is_an_error_too() -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(size)[:-1]

    with pytest.raises(TokenFileError, match="became shorter"):
        TokenFile(Shrinking(example()))
