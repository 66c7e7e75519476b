"""Tokens slice, concatenate, count their bits and go through a language model's vocabulary."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokzoo.tokens import Gaussians, Grid, Octree, Pyramid, Sequence, Tokens, TokenSpec


def row(batch: int = 3, length: int = 8, levels: int = 16) -> Tokens:
    indices = torch.arange(batch * length).view(batch, length) % levels
    return Tokens(layout=Sequence(length), indices=indices, levels=(levels,))


def test_exactly_one_of_indices_and_latents_is_held() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Tokens(layout=Sequence(2))
    with pytest.raises(ValueError, match="exactly one"):
        Tokens(layout=Sequence(2), indices=torch.zeros(1, 2).long(), latents=torch.zeros(1, 2, 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indices": torch.zeros(1, 8)}, "int64"),
        ({"layout": Grid(2, 3)}, "6 tokens a sample; got 8"),
        ({"levels": (4, 4)}, "1 slots"),
        ({"valid": torch.ones(3, 7).bool()}, "valid must begin with"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(changes: dict, message: str) -> None:
    values = {"layout": Sequence(8), "indices": row().indices, "levels": (16,)} | changes
    with pytest.raises(ValueError, match=message):
        Tokens(**values)


def test_a_prefix_of_a_sequence_is_a_shorter_sequence() -> None:
    tokens = row()[:, :5]
    assert tokens.layout == Sequence(5)
    assert torch.equal(tokens.indices, row().indices[:, :5])


def test_an_index_keeps_the_batch_dimension() -> None:
    assert torch.equal(row()[-1].indices, row().indices[-1:])
    assert len(row()[1]) == 1


def test_a_pyramid_is_cut_at_whole_scales_only() -> None:
    pyramid = Pyramid(((1, 1), (2, 2), (3, 3)))
    tokens = Tokens(layout=pyramid, indices=torch.zeros(1, 14).long())
    assert tokens[:, :5].layout == Pyramid(((1, 1), (2, 2)))
    with pytest.raises(ValueError, match="whole scales"):
        tokens[:, :4]


def test_a_grid_is_not_cut() -> None:
    with pytest.raises(ValueError, match="not a layout"):
        Tokens(layout=Grid(2, 2), indices=torch.zeros(1, 4).long())[:, :2]


def test_concatenation_undoes_indexing_and_refuses_strangers() -> None:
    tokens = row()
    assert torch.equal(Tokens.cat([tokens[0], tokens[1:]]).indices, tokens.indices)
    with pytest.raises(ValueError, match="different layout"):
        Tokens.cat([tokens, row(length=4)])


def test_bits_are_counted_per_code_width_and_only_where_valid() -> None:
    valid = torch.tensor([[True] * 8, [True] * 3 + [False] * 5])
    tokens = Tokens(layout=Sequence(8), indices=torch.zeros(2, 8, 2).long(), levels=(1000, 5), valid=valid)
    assert tokens.bits().tolist() == [8 * (10 + 3), 3 * (10 + 3)]
    assert tokens.lengths.tolist() == [8, 3]


def test_continuous_parts_have_no_bit_count_and_octree_coordinates_do() -> None:
    assert Tokens(layout=Sequence(2), latents=torch.zeros(1, 2, 4)).bits() is None
    moving = Tokens(layout=Gaussians(2), indices=torch.zeros(1, 2).long(), levels=(4,), geometry=torch.zeros(1, 2, 5))
    assert moving.bits() is None
    cells = torch.zeros(1, 2, 3).long()
    octree = Tokens(layout=Octree(6), indices=torch.zeros(1, 2).long(), levels=(4,), geometry=cells)
    assert octree.bits().tolist() == [2 * (2 + 18)]


@given(
    levels=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    offset=st.integers(0, 50_000),
    seed=st.integers(0, 9),
)
def test_a_sequence_of_ids_gives_the_tokens_back(levels: tuple[int, ...], offset: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    slots = torch.stack([torch.randint(level, (2, 4), generator=generator) for level in levels], dim=-1)
    indices = slots.squeeze(-1) if len(levels) == 1 else slots
    tokens = Tokens(layout=Sequence(4), indices=indices, levels=levels)
    ids = tokens.to_sequence(offset)
    assert ids.min() >= offset and ids.max() < offset + sum(levels)
    spec = TokenSpec(layout=Sequence(4), levels=levels, channels=1, lengths=(4, 4))
    assert torch.equal(Tokens.from_sequence(ids, spec, offset).indices, indices)


def test_ids_of_tokens_that_do_not_count_are_padding_both_ways() -> None:
    valid = torch.tensor([[True, True, False]])
    tokens = Tokens(layout=Sequence(3), indices=torch.tensor([[1, 2, 3]]), levels=(4,), valid=valid)
    ids = tokens.to_sequence(10, pad=0)
    assert ids.tolist() == [[11, 12, 0]]
    spec = TokenSpec(layout=Sequence(3), levels=(4,), channels=1, lengths=(3, 3))
    assert Tokens.from_sequence(ids, spec, 10, pad=0).valid.tolist() == valid.tolist()


def test_ids_of_another_offset_are_refused() -> None:
    spec = TokenSpec(layout=Sequence(8), levels=(16,), channels=1, lengths=(8, 8))
    with pytest.raises(ValueError, match="offset=0 right"):
        Tokens.from_sequence(row().to_sequence(100), spec)
