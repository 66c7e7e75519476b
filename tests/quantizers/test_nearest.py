"""The nearest row is the nearest row, found within the memory that was promised."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from tokzoo.quantizers.nearest import BLOCK, MOST_VALUES, nearest_rows


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 3 * BLOCK), st.integers(1, 9), st.integers(0, 2**31))
def test_on_whole_numbers_it_is_the_first_of_the_nearest_rows(points: int, rows: int, channels: int, seed: int) -> None:
    """Whole numbers leave nothing to round, and are often equally far."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-2, 3, (points, channels), generator=generator).float()
    y = torch.randint(-2, 3, (rows, channels), generator=generator).float()
    distances = (x[:, None] - y).square().sum(-1)
    assert torch.equal(nearest_rows(x, y), distances.argmin(-1))


def test_it_agrees_with_cdist_but_for_rows_equally_near_to_float32() -> None:
    points, rows = draw(4096, 8), draw(5000, 8, seed=1)
    ours, theirs = nearest_rows(points, rows), torch.cdist(points, rows).argmin(-1)
    differ = ours != theirs
    far = [(points.double() - rows.double()[index]).square().sum(-1)[differ] for index in (ours, theirs)]
    torch.testing.assert_close(*far, atol=1e-6, rtol=1e-6)
    assert differ.sum() <= 4


class LargestTensor(TorchDispatchMode):
    """Notes the most bytes that any operation returned."""

    most = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):  # type: ignore[no-untyped-def]
        result = function(*arguments, **(keywords or {}))
        if isinstance(result, torch.Tensor):
            self.most = max(self.most, result.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_no_tensor_is_larger_than_64_mib(device: str) -> None:
    """The meta device takes the large pieces that accelerators take."""
    points, rows = draw(3000, 4).to(device), draw(16384, 4).to(device)
    assert len(points) * len(rows) > 2 * MOST_VALUES
    with LargestTensor() as watched:
        nearest_rows(points, rows)
    assert 0 < watched.most <= 64 * 2**20


def test_it_compiles_as_one_graph() -> None:
    points, rows = draw(600, 4), draw(300, 4, seed=1)
    compiled = torch.compile(nearest_rows, backend="eager", fullgraph=True)
    assert torch.equal(compiled(points, rows), nearest_rows(points, rows))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_point_that_is_no_number_still_gets_an_index_within_the_table(value: float) -> None:
    assert nearest_rows(torch.full((2, 4), value), draw(5, 4).abs()).max() < 5
