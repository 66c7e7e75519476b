"""The entropy coder: every value comes back from its interval, at about the bits that its probability gives."""

import math
from collections.abc import Sequence as PySequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokzoo.token_files import Frequencies, TokenFileError, rans
from tokzoo.token_files.entropy import Adaptive, Coder, Static
from tokzoo.token_files.frequencies import Table
from tokzoo.token_files.generated import Generated, Intervals
from tokzoo.token_files.symbols import Symbols
from tokzoo.tokens import Sequence, Tokens

several = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def drawn(probabilities: np.ndarray, count: int) -> np.ndarray:
    return np.random.default_rng(0).choice(len(probabilities), size=count, p=probabilities)[:, None]


def static(codes: np.ndarray, levels: PySequence[int]) -> Static:
    tokens = Tokens(layout=Sequence(len(codes)), indices=torch.from_numpy(codes)[None], levels=tuple(levels))
    return Static(levels, Frequencies.of(tokens))


def coded(coder: Coder, codes: np.ndarray) -> bytes:
    """The codes' bytes, of which they were decoded again."""
    mask = np.ones((1, len(codes)), np.bool_)
    data = coder.encode(codes, mask)
    assert np.array_equal(coder.decode(memoryview(data), mask), codes)
    return data


@given(
    precision=st.sampled_from([8, 16, 19, 24]),
    lanes=st.integers(1, 9),
    steps=st.lists(st.floats(0, 1), max_size=30),
    seed=st.integers(0, 99),
)
@several
def test_the_coder_gives_back_what_it_took_whatever_the_steps(
    precision: int, lanes: int, steps: list[float], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    sizes = [1 + int(share * (lanes - 1)) for share in steps]
    last = generator.integers(0, 1 << precision, generator.integers(0, lanes, endpoint=True))
    frequencies = 1 + (generator.random(sum(sizes)) ** 8 * ((1 << precision) - 1)).astype(np.int64)  # rare ones, too
    starts = (generator.random(sum(sizes)) * ((1 << precision) - frequencies)).astype(np.int64)
    data = rans.encode(frequencies, starts, sizes, last, lanes=lanes, precision=precision)

    decoder, at = rans.Decoder(memoryview(data), precision=precision, fewest=1, most=lanes), 0
    for size in sizes:
        slots, here = decoder.slots(size), slice(at, at + size)
        assert ((starts[here] <= slots) & (slots < starts[here] + frequencies[here])).all()
        decoder.advance(frequencies[here], starts[here])
        at += size
    assert np.array_equal(decoder.last(len(last)), last)
    bits = (precision - np.log2(frequencies)).sum()
    assert 8 * len(data) < 1.01 * bits + lanes * (precision + rans.WORD) + 8 * rans.HEAD + 16


@given(levels=st.lists(st.integers(1, 40), min_size=1, max_size=20), count=st.integers(0, 9), seed=st.integers(0, 99))
@several
def test_codes_are_joined_to_symbols_and_split(levels: list[int], count: int, seed: int) -> None:
    symbols, generator = Symbols(levels), np.random.default_rng(seed)
    codes = np.stack([generator.integers(0, level, count) for level in levels], axis=1)
    joined = symbols.join(codes)
    assert len(joined) == symbols.count(count)
    assert np.array_equal(symbols.split(joined, count), codes)
    assert all(size <= 256 for size in symbols.sizes)
    padding = -count % symbols.tokens
    for slot, counts in enumerate(symbols.counts(joined)):
        wanted = np.bincount(codes[:, slot], minlength=levels[slot])
        wanted[0] += padding
        assert levels[slot] == 1 or np.array_equal(counts, wanted)


def test_eight_bits_or_two_codes_of_sixteen_values_make_one_symbol() -> None:
    assert [Symbols(levels).count(64) for levels in ([2], [16], [17], [256], [8, 5, 5, 5], [2] * 18)] == [
        8,
        32,
        64,
        64,
        128,
        192,
    ]


@given(seed=st.integers(0, 99), values=st.integers(1, 300), precision=st.integers(9, 20))
@several
def test_each_symbol_has_an_interval_about_its_share(seed: int, values: int, precision: int) -> None:
    weights = np.random.default_rng(seed).random(values) ** 9 + 1e-9
    table = Table([weights, np.ones(2)], precision)
    first, second = np.split(table.frequencies, [values])
    assert first.min() >= 1 and first.sum() == second.sum() == 1 << precision
    assert np.abs(first - 1 - weights / weights.sum() * ((1 << precision) - values)).max() <= 1
    assert np.array_equal(np.bincount(table.symbols, minlength=values + 2), table.frequencies)


@pytest.mark.parametrize("values", [2, 16, 256, 1000, 16384])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_a_block_takes_at_most_two_percent_more_than_its_model_says(values: int, exponent: float) -> None:
    weights = np.arange(1, values + 1) ** -exponent
    width = (values - 1).bit_length()
    codes = drawn(weights / weights.sum(), (1 << 20) // width)
    counts = np.bincount(codes[:, 0], minlength=values)
    shares = (counts + 0.5) / (len(codes) + values / 2)
    modelled = float(-(counts * np.log2(shares)).sum())
    floor = len(codes) / 40  # bits: each value's own part of the interval, however seldom it is
    assert 0.999 * modelled < 8 * len(coded(static(codes, (values,)), codes)) < 1.02 * modelled + floor + 100
    learning = 2 * max(256, values // 4) * width + values * math.log2(1 + len(codes) / values)
    assert 0.999 * modelled < 8 * len(coded(Adaptive((values,)), codes)) < 1.02 * modelled + 3 * floor + learning


@pytest.mark.parametrize("levels", [(1,), (2,), (7, 1, 3), (256,)])
@pytest.mark.parametrize("count", [0, 1, 2, 300, 40_000])
def test_one_value_alone_costs_next_to_nothing(levels: tuple[int, ...], count: int) -> None:
    codes = np.zeros((count, len(levels)), np.int64) + [level // 2 for level in levels]
    assert 8 * len(coded(static(codes, levels), codes)) < 100 + count / 2
    assert 8 * len(coded(Adaptive(levels), codes)) < 100 + min(count, 600) * 8 + count / 10
    few = codes[:300]
    assert 8 * len(coded(Generated(levels, lambda before: _sure(levels, before)), few)) < 100 + len(few) / 10


def _sure(levels: PySequence[int], before: torch.Tensor) -> torch.Tensor:
    level = levels[before.shape[1] % len(levels)]
    return torch.nn.functional.one_hot(torch.tensor([level // 2]), level).float().expand(len(before), -1)


def test_few_bytes_never_stand_for_many_steps() -> None:
    codes = np.zeros((1 << 20, 1), np.int64)
    mask = np.ones((1, len(codes)), np.bool_)
    coder = Adaptive((256,))
    data = coder.encode(codes, mask)
    one_lane = data[:4] + (1).to_bytes(2, "little") + data[6:10]
    with pytest.raises(TokenFileError, match="cannot have 1 lanes"):
        coder.decode(memoryview(one_lane), mask)
    with pytest.raises(TokenFileError, match="cannot have 1024 lanes"):
        coder.decode(memoryview(data[:1000]), mask)


@pytest.mark.parametrize("values", [1, 16, 31, 33, 1000, 20_000])
def test_intervals_of_probabilities_share_out_all_that_is_there(values: int) -> None:
    generator = np.random.default_rng(values)
    probabilities = (generator.random((3, values)) ** 9).astype(np.float32)
    probabilities[1] = 0
    probabilities[1, -1] = 3.0
    intervals, place = Intervals(probabilities, 24), np.arange(3)
    found = [intervals.of(np.full(3, value)) for value in range(values)]
    frequencies, starts = np.stack([one[0] for one in found]), np.stack([one[1] for one in found])  # (values, 3)
    assert frequencies.min() >= 1 and starts.min() >= 0
    assert (starts[1:] >= (starts + frequencies)[:-1]).all() and ((starts + frequencies)[-1] <= 1 << 24).all()
    shares = probabilities / probabilities.sum(axis=1, keepdims=True)
    assert np.abs(frequencies.T / (1 << 24) - shares).max() < 2e-3
    for value in {0, values // 2, values - 1}:
        for slots in (starts[value], starts[value] + frequencies[value] - 1):
            codes, sizes, begins = intervals.find(slots, 0)
            assert (codes == value).all()
            assert np.array_equal(sizes, frequencies[value]) and np.array_equal(begins, starts[value])
    assert intervals.find(starts[0][2:], 2)[0] == [0]
    assert place.size == 3


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf])
def test_numbers_that_are_no_probabilities_are_refused(bad: float) -> None:
    probabilities = np.full((2, 40), 0.5, np.float32)
    probabilities[1, 39] = bad
    for given_ in (probabilities, np.zeros((2, 40), np.float32)):
        with pytest.raises(ValueError, match="must not be negative, NaN, infinite or all zero"):
            Intervals(given_, 16)
