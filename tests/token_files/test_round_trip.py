"""What is written is read again, whole and sample by sample, in every coding."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.token_files.samples import NANO, any_tokens, row, same
from tokzoo.token_files import Frequencies, TokenFile, TokenFileError, append, cat, load, save
from tokzoo.token_files.bits import pack, packed_size, unpack
from tokzoo.tokens import Grid, Octree, Sequence, Tokens

several = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@given(width=st.integers(0, 63), count=st.integers(0, 40), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_codes_are_packed_at_their_width_and_unpacked(width: int, count: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, (1 << width) - 1, count, endpoint=True)
    data = pack(codes, width)
    assert len(data) == packed_size(count, width) == math.ceil(count * width / 8)
    assert np.array_equal(unpack(data, count, width), codes)
    number = int.from_bytes(data, "little")  # the bits of the first code are the lowest
    assert [number >> (i * width) & ((1 << width) - 1) for i in range(count)] == codes.tolist()


@given(tokens=any_tokens(), labelled=st.booleans())
@several
def test_any_tokens_are_read_as_they_were_written(tokens: Tokens, labelled: bool, tmp_path: Path) -> None:
    labels = [f"photo {i}" for i in range(len(tokens))] if labelled else None
    written = save(tokens, tmp_path / "any.tkz", tokenizer=NANO, labels=labels)
    assert same(load(tmp_path / "any.tkz", tokenizer=NANO), tokens)
    if (bits := tokens.bits()) is not None:
        assert written.payload_bits == bits.sum()
    assert written.file_bytes == (tmp_path / "any.tkz").stat().st_size


@pytest.mark.parametrize("coding", ["static", "adaptive"])
@given(tokens=any_tokens(discrete=True))
@several
def test_any_indices_are_entropy_coded_and_decoded(coding: str, tokens: Tokens, tmp_path: Path) -> None:
    save(tokens, tmp_path / "any.tkz", coding=coding)
    assert same(load(tmp_path / "any.tkz"), tokens)


@given(tokens=any_tokens(discrete=True, biggest_level=4096))
@settings(several, max_examples=20)
def test_any_indices_are_coded_by_a_generators_probabilities(tokens: Tokens, tmp_path: Path) -> None:
    def next_code(before: torch.Tensor) -> torch.Tensor:
        levels = tokens.levels[before.shape[1] % len(tokens.levels)]
        return ((before.sum(1, keepdim=True) % 7 + torch.arange(levels)) % 11).double()  # looks at all that came before

    save(tokens, tmp_path / "any.tkz", coding=next_code)
    assert same(load(tmp_path / "any.tkz", model=next_code), tokens)


@pytest.mark.parametrize("masked", [False, True])
def test_a_file_that_grew_holds_all_its_parts_in_order(masked: bool, tmp_path: Path) -> None:
    file = tmp_path / "grown.tkz"
    pieces = [row(count, seed=count + 7 * i) for i, count in enumerate([3, 0, 5, *[1] * 35])]
    if masked:
        pieces[20] = replace(pieces[20], valid=torch.arange(8).unsqueeze(0) % 3 > 0)
    save(pieces[0], file, tokenizer=NANO, labels=["a", "b", "c"])
    for piece in pieces[1:]:
        written = append(piece, file, tokenizer=NANO)
    assert written.file_bytes == file.stat().st_size  # nothing is left behind
    whole = cat(pieces)
    with TokenFile(file) as opened:
        assert same(opened[:], whole)
        assert opened.labels() == ["a", "b", "c"] + [None] * 40
        assert all(same(cat([opened[i], whole[:1]]), cat([whole[i], whole[:1]])) for i in range(-43, 43))


def test_samples_are_read_by_index_and_by_slice(tmp_path: Path) -> None:
    tokens = row(30_000)  # several blocks
    save(tokens, tmp_path / "row.tkz")
    with TokenFile(tmp_path / "row.tkz") as file:
        for key in (0, 7, 29_999, -1, slice(None), slice(6_000, 14_000), slice(-3, None), slice(5, 5)):
            assert same(file[key], tokens[key])
        with pytest.raises(IndexError, match="holds 30000 samples; got index 30000"):
            file[30_000]
        with pytest.raises(IndexError, match="step 1"):
            file[::2]
    save(tokens[:3], tmp_path / "row.tkz")
    with TokenFile(tmp_path / "row.tkz") as file:
        assert [len(sample) for sample in file] == [1, 1, 1]


@pytest.mark.parametrize(("levels", "bits"), [((1000,), 10), ((8, 5, 5, 5), 12), ((256,) * 16, 128), ((1,), 0)])
def test_a_code_takes_the_bits_of_its_levels(levels: tuple[int, ...], bits: int, tmp_path: Path) -> None:
    indices = torch.stack([torch.randint(level, (64, 4)) for level in levels], dim=-1)
    written = save(Tokens(layout=Grid(2, 2), indices=indices, levels=levels), tmp_path / "a.tkz")
    assert written.payload_bits == 64 * 4 * bits
    assert written.file_bytes < 64 * 4 * bits / 8 + 500


def test_what_does_not_count_is_not_stored(tmp_path: Path) -> None:
    valid = torch.arange(256) < torch.tensor([[256], [16]])
    tokens = Tokens(layout=Sequence(256), indices=torch.full((2, 256), 999), levels=(1000,), valid=valid)
    assert save(tokens, tmp_path / "a.tkz").payload_bits == (256 + 16) * 10
    assert load(tmp_path / "a.tkz").indices[1].tolist() == [999] * 16 + [0] * 240


def test_latents_keep_their_precision(tmp_path: Path) -> None:
    latents = torch.randn(2, 32, 16)
    for dtype, bits in ((torch.float16, 16), (torch.float32, 32)):
        tokens = Tokens(layout=Sequence(32), latents=latents.to(dtype))
        assert save(tokens, tmp_path / "a.tkz").payload_bits == 2 * 32 * 16 * bits
        assert torch.equal(load(tmp_path / "a.tkz").latents, latents.to(dtype))


def test_octrees_of_unequal_size_grow_one_file(tmp_path: Path) -> None:
    trees = [
        Tokens(
            layout=Octree(5), indices=torch.ones(1, n).long(), levels=(8,), geometry=torch.full((1, n, 3), 31).byte()
        )
        for n in (3, 9, 0)
    ]
    save(trees[0], tmp_path / "trees.tkz")
    for tree in trees[1:]:
        append(tree, tmp_path / "trees.tkz")
    with TokenFile(tmp_path / "trees.tkz") as file:
        assert [file[i].num_tokens for i in range(3)] == [3, 9, 0]
        assert file[:].lengths.tolist() == [3, 9, 0]
        assert file[:].geometry.max() == 31


def skewed(count: int = 512) -> Tokens:
    """Codes of which few are frequent: 256 levels, about 4.4 bits of entropy."""
    weights = 0.9 ** torch.arange(256.0)
    generator = torch.Generator().manual_seed(0)
    indices = torch.multinomial(weights, count * 64, replacement=True, generator=generator).view(count, 64)
    return Tokens(layout=Sequence(64), indices=indices, levels=(256,))


def test_entropy_coding_comes_near_the_entropy(tmp_path: Path) -> None:
    tokens = skewed()
    counts = torch.bincount(tokens.indices.flatten()).double()
    share = counts[counts > 0] / counts.sum()
    entropy = float(-(share * share.log2()).sum() * counts.sum())
    static = save(tokens, tmp_path / "static.tkz", coding="static").payload_bits
    adaptive = save(tokens, tmp_path / "adaptive.tkz", coding="adaptive").payload_bits
    assert entropy < static < 1.015 * entropy  # about 20 bits for each 1,536 are the lanes' own
    assert entropy < adaptive < 1.035 * entropy
    assert save(tokens, tmp_path / "plain.tkz").payload_bits > 1.7 * entropy


def test_levels_that_are_no_power_of_two_cost_their_logarithm_when_entropy_coded(tmp_path: Path) -> None:
    levels = 1100  # 11 bits plain, 10.1 coded
    tokens = Tokens(layout=Sequence(64), indices=torch.randint(levels, (1024, 64)), levels=(levels,))
    static = save(tokens, tmp_path / "static.tkz", coding="static").payload_bits / (64 * 1024)
    assert static < math.log2(levels) + 0.06
    assert save(tokens, tmp_path / "plain.tkz").payload_bits == 64 * 1024 * 11


def test_a_frequency_table_may_stay_outside(tmp_path: Path) -> None:
    frequencies = Frequencies.of(skewed(), stored=False)
    one = skewed()[7]
    written = save(one, tmp_path / "one.tkz", coding=frequencies)
    assert written.payload_bits < 0.75 * 64 * 8 and written.file_bytes < 400
    assert same(load(tmp_path / "one.tkz", model=frequencies), one)
    append(one, tmp_path / "one.tkz", model=frequencies)
    with pytest.raises(TokenFileError, match="does not hold its frequency table"):
        load(tmp_path / "one.tkz")
    with pytest.raises(TokenFileError, match="another frequency table"):
        load(tmp_path / "one.tkz", model=Frequencies.of(one))


def test_a_generator_that_knows_the_codes_makes_them_nearly_free(tmp_path: Path) -> None:
    counting = Tokens(layout=Sequence(64), indices=torch.arange(64).repeat(70, 1), levels=(256,))

    def next_code(before: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.full((len(before),), before.shape[1]), 256).float()

    written = save(counting, tmp_path / "a.tkz", coding=next_code)
    assert written.payload_bits < 0.02 * counting.bits().sum()
    with TokenFile(tmp_path / "a.tkz", model=next_code) as file:
        assert same(file[66], counting[66])


def test_a_generator_that_answers_differently_is_noticed(tmp_path: Path) -> None:
    def probabilities(exponent: float) -> object:
        return lambda before: torch.linspace(0.1, 1, 256).pow(exponent).expand(len(before), -1)

    save(skewed(8), tmp_path / "a.tkz", coding=probabilities(1.0))
    with pytest.raises(TokenFileError, match=r"same weights, device and dtype|were other probabilities used"):
        load(tmp_path / "a.tkz", model=probabilities(1.001))
    with pytest.raises(TokenFileError, match="give the same one as model="):
        load(tmp_path / "a.tkz")
    with pytest.raises(ValueError, match="negative, NaN"):
        save(skewed(8), tmp_path / "b.tkz", coding=probabilities(float("nan")))
    with pytest.raises(ValueError, match=r"must give probabilities \(8, 256\)"):
        save(skewed(8), tmp_path / "b.tkz", coding=lambda before: torch.ones(len(before), 255))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": None}, "do not say their levels"),
        ({"indices": torch.full((1, 4), 16)}, "codes outside 0 to 15 cannot be stored: 16 in slot 0"),
        ({"indices": torch.full((1, 4), -1)}, "cannot be stored: -1"),
        ({"extent": (1, 2, 3, 4)}, "2 or 3 sides"),
        ({"levels": (0,)}, "levels from 1"),
        ({"geometry": torch.ones(1, 4, 2).bool()}, "geometry of float16"),
        ({"layout": Octree(3), "geometry": torch.full((1, 4, 3), 8)}, "no cells of this octree: 8"),
    ],
)
def test_tokens_that_no_file_can_hold_are_refused(changes: dict, message: str, tmp_path: Path) -> None:
    values = {"layout": Sequence(4), "indices": torch.zeros(1, 4).long(), "levels": (16,)} | changes
    with pytest.raises(TokenFileError, match=message):
        save(Tokens(**values), tmp_path / "a.tkz")
    assert not list(tmp_path.iterdir())


def test_an_unknown_coding_and_entropy_coded_latents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="coding plain, static, adaptive, generated"):
        save(row(), tmp_path / "a.tkz", coding="zip")
    latents = Tokens(layout=Sequence(2), latents=torch.zeros(1, 2, 3))
    with pytest.raises(TokenFileError, match="plain for latents"):
        save(latents, tmp_path / "a.tkz", coding="adaptive")
    with pytest.raises(TokenFileError, match="counted over indices"):
        save(latents, tmp_path / "a.tkz", coding="static")


def test_tokens_save_and_load_themselves(tmp_path: Path) -> None:
    row().save(tmp_path / "row.tkz", tokenizer=NANO, coding="adaptive")
    assert same(Tokens.load(tmp_path / "row.tkz", tokenizer=NANO), row())


def test_an_older_file_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    save(row(), tmp_path / "a.tkz")
    with pytest.raises(TokenFileError):
        save(row(), tmp_path / "a.tkz", labels=["../a", "b", "c"])
    assert same(load(tmp_path / "a.tkz"), row())
