"""Pictures are cut where there is most to see."""

import functools
import heapq

import pytest
import torch

from tokzoo.layers.partition import complexity, most_regions, partition


def busy_on_the_left(side: int = 64) -> torch.Tensor:
    grey = torch.full((1, side, side), 0.5)
    grey[:, :, : side // 2] = torch.rand(1, side, side // 2, generator=torch.Generator().manual_seed(0))
    return grey


def some_grey(count: int = 3, height: int = 64, width: int = 64) -> torch.Tensor:
    coarse = torch.rand(count, 1, 6, 5, generator=torch.Generator().manual_seed(3))
    fine = torch.rand(count, height, width, generator=torch.Generator().manual_seed(4))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").squeeze(1).clamp(0, 1)
    return 0.8 * smooth + 0.2 * fine * smooth


def plain_partition(grey: torch.Tensor, num_regions: int, least_side: int) -> list[list[int]]:
    """The greedy search as its definition reads: one image, one region after another."""

    @functools.cache
    def score(box: tuple[int, ...]) -> float:
        return float(complexity(grey[None], torch.zeros(1, dtype=torch.int64), torch.tensor([box]))[0])

    height, width = grey.shape
    heap, made = [(-score((0, 0, width - 1, height - 1)), 0, (0, 0, width - 1, height - 1))], 1
    whole: list[tuple[float, int, tuple[int, ...]]] = []
    while len(heap) + len(whole) < num_regions:
        item = heapq.heappop(heap)
        left, top, right, bottom = item[2]
        if right - left <= least_side and bottom - top <= least_side:
            whole.append(item)
            continue
        x, y = left + (right - left + 1) // 2, top + (bottom - top + 1) // 2
        beside = [(left, top, x - 1, bottom), (x, top, right, bottom)]
        stacked = [(left, top, right, y - 1), (left, y, right, bottom)]
        wide, high = right - left, bottom - top
        chosen = beside if wide > high else stacked
        if wide == high and min(map(score, beside)) < min(map(score, stacked)):
            chosen = beside
        for half in chosen:
            heapq.heappush(heap, (-score(half), made, half))
            made += 1
    before, last = (sorted(item for item in heap + whole if (item[1] >= made - 2) == new) for new in (False, True))
    return [list(box) for _, _, box in before + sorted(last, key=lambda item: item[1])]


@pytest.mark.parametrize(("height", "width", "number"), [(64, 64, 13), (48, 80, 21), (37, 61, 9)])
def test_the_batched_search_is_the_greedy_one(height: int, width: int, number: int) -> None:
    grey = some_grey(2, height, width)
    found = partition(grey, number)
    for image, regions in zip(grey, found.tolist(), strict=True):
        assert regions == plain_partition(image, number, 8)


@pytest.mark.parametrize("number", [1, 2, 7, 64])
def test_regions_tile_the_picture(number: int) -> None:
    covered = torch.zeros(3, 64, 64)
    for image, regions in enumerate(partition(some_grey(), number).tolist()):
        for left, top, right, bottom in regions:
            covered[image, top : bottom + 1, left : right + 1] += 1
    assert bool((covered == 1).all())


def test_detail_gets_more_regions() -> None:
    left = partition(busy_on_the_left(), 16)[0, :, 2] < 32
    assert int(left.sum()) >= 13


def test_a_picture_without_detail_is_cut_evenly() -> None:
    regions = partition(torch.full((2, 64, 64), 0.3), 16)
    area = (regions[..., 2:] - regions[..., :2] + 1).prod(-1)
    assert bool((area == 256).all())


def test_more_regions_than_there_can_be_are_refused() -> None:
    assert most_regions(64, 64, 8) == 64
    assert most_regions(9, 9, 8) == 1
    assert partition(some_grey(1, 9, 9), 1).tolist() == [[[0, 0, 8, 8]]]
    with pytest.raises(ValueError, match=r"cut into 1 to 64 regions .* got 65"):
        partition(some_grey(1), 65)
    with pytest.raises(ValueError, match="cut into 1 to 1 regions"):
        partition(some_grey(1, 5, 7), 2)
    assert partition(some_grey(1, 1, 1), 1).tolist() == [[[0, 0, 0, 0]]]


def test_nan_is_refused() -> None:
    grey = some_grey(2)
    grey[1, 3, 4] = torch.nan
    with pytest.raises(ValueError, match="1 NaN values"):
        partition(grey, 4)


def test_regions_looked_at_in_less_detail_still_tile_the_picture_and_follow_detail() -> None:
    regions = partition(busy_on_the_left(), 16, looked_side=16)
    assert int((regions[..., 2:] - regions[..., :2] + 1).prod(-1).sum()) == 64 * 64
    assert int((regions[0, :, 2] < 32).sum()) >= 12


def test_an_image_is_cut_the_same_alone_and_in_a_batch() -> None:
    grey = some_grey()
    assert torch.equal(partition(grey, 20)[1:2], partition(grey[1:2], 20))
