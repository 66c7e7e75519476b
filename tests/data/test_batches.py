"""Batches depend on the seed and the step alone; the prefetcher keeps their order."""

import threading

import numpy as np
import pytest
import torch

from tokzoo.data.batches import Prefetcher, TrainingImages, evaluation_images


def photo(index: int, height: int = 18, width: int = 20) -> np.ndarray:
    """Red holds the photo's number, green the row, blue the column."""
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    pixels[:, :, 0] = index
    pixels[:, :, 1] = np.arange(height)[:, None]
    pixels[:, :, 2] = np.arange(width)
    return pixels


PHOTOS = [photo(index, width=18 + index % 5) for index in range(10)]


@pytest.fixture
def images() -> TrainingImages:
    return TrainingImages(PHOTOS, 16)


def test_a_batch_depends_on_seed_and_step_alone(images):
    asked_first = images.batch(7, seed=3, batch_size=4)
    for step in (0, 9, 2):
        images.batch(step, seed=1, batch_size=4)
    assert torch.equal(images.batch(7, seed=3, batch_size=4), asked_first)
    assert torch.equal(TrainingImages(PHOTOS, 16).batch(7, seed=3, batch_size=4), asked_first)
    assert not torch.equal(images.batch(7, seed=4, batch_size=4)[:, 0, 0, 0], asked_first[:, 0, 0, 0])


def test_photos_give_the_same_batches_whether_they_are_kept_or_not(images):
    photos = [photo(index, 40, 100) for index in range(10)]
    kept, decoded = TrainingImages(photos, 16), TrainingImages(photos, 16, cache_bytes=0)
    assert torch.equal(kept.batch(5, seed=0, batch_size=8), decoded.batch(5, seed=0, batch_size=8))


@pytest.mark.parametrize("batch_size", [3, 10, 25])
def test_every_photo_is_seen_once_an_epoch_and_batches_run_on_across_its_end(images, batch_size):
    seen = torch.cat([images.batch(step, seed=0, batch_size=batch_size)[:, 0, 0, 0] for step in range(10)])
    epochs = [epoch.tolist() for epoch in seen.split(10) if len(epoch) == 10]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_crops_are_connected_windows_of_their_photo_and_reach_its_corners(images):
    sides, offsets = set(), set()
    for step in range(60):
        batch = images.batch(step, seed=0, batch_size=10, flip=False)
        side = batch.shape[-1]
        top, left = batch[:, 1, 0, 0].long(), batch[:, 2, 0, 0].long()
        assert torch.equal(batch[:, 1].long(), (top[:, None, None] + torch.arange(side)[:, None]).expand(-1, -1, side))
        assert torch.equal(batch[:, 2].long(), (left[:, None, None] + torch.arange(side)).expand(-1, side, -1))
        sides.add(side)
        offsets |= {(side, *offset) for offset in zip(top.tolist(), left.tolist(), strict=True)}
    assert sides == {16, 17, 18}
    assert {(16, 0, 0), (16, 2, 0), (16, 0, 6), (16, 2, 6)} <= offsets


def test_about_half_of_the_crops_are_mirrored(images):
    batch = torch.cat([images.batch(step, seed=0, batch_size=50)[:, 2, 0, :2] for step in range(20)]).long()
    steps = batch[:, 1] - batch[:, 0]
    assert steps.abs().unique().tolist() == [1]
    assert 0.45 < (steps == -1).float().mean() < 0.55


def test_long_photos_keep_their_middle_up_to_two_to_one():
    images = TrainingImages([photo(0, 18, 200)], 16)
    columns = torch.cat([images.batch(step, seed=0, batch_size=50)[:, 2].flatten() for step in range(20)])
    assert (columns.min(), columns.max()) == (82, 117)


def test_photos_are_resized_to_the_shorter_side_of_the_largest_crop():
    images = TrainingImages([np.full((50, 75, 3), 200, dtype=np.uint8)], 16, zoom=1.25)
    batch = images.batch(0, seed=0, batch_size=2)
    assert images.largest_crop == 20
    assert batch.unique().tolist() == [200]


def test_a_zoom_below_one_and_no_photos_are_refused():
    with pytest.raises(ValueError, match=r"zoom of at least 1; got 10 and 0\.9"):
        TrainingImages(PHOTOS, 16, zoom=0.9)
    with pytest.raises(ValueError, match="got 0 and 1"):
        TrainingImages([], 16)


def test_evaluation_images_are_centre_squares_in_order():
    squares = evaluation_images([photo(index, 16, 24) for index in range(3)], 16, limit=2)
    assert squares.shape == (2, 3, 16, 16)
    assert squares.dtype == torch.uint8
    assert squares[:, 0, 0, 0].tolist() == [0, 1]
    assert squares[1, 2, 5].tolist() == list(range(4, 20))


def test_the_prefetcher_yields_in_order_from_its_first_step():
    release = threading.Event()

    def slow_at_first(step: int) -> int:
        if step == 5:
            release.wait(timeout=10)
        else:
            release.set()  # a later step is done before step 5
        return step * step

    with Prefetcher(slow_at_first, 5) as batches:
        assert [next(batches) for _ in range(10)] == [(step, step * step) for step in range(5, 15)]


def test_an_error_is_raised_at_its_step_and_ends_the_iteration():
    def fail_at_two(step: int) -> int:
        if step == 2:
            raise ValueError("photo 17 is broken")
        return step

    batches = Prefetcher(fail_at_two, 0)
    assert [next(batches), next(batches)] == [(0, 0), (1, 1)]
    with pytest.raises(ValueError, match="photo 17 is broken"):
        next(batches)
    assert list(batches) == []


def test_closing_stops_the_threads_and_the_work_ahead():
    made = []
    before = threading.active_count()
    batches = Prefetcher(lambda step: made.append(step), 0, depth=4, workers=2)
    next(batches)
    batches.close()
    batches.close()
    assert threading.active_count() == before
    assert len(made) <= 5
    assert list(batches) == []
