"""The numbers by which GPSToken's mechanism is judged."""

import pytest
import torch

from eval.bootstrap import Bootstrap
from eval.gpstoken_mechanism import GRIDS, centroids, grid_regions, moved, spread_of_detail
from tests.helpers import tiny


@pytest.mark.parametrize("count", GRIDS)
def test_a_grid_has_as_many_regions_as_tokens_and_they_tile_the_picture(count: int) -> None:
    regions, covered = grid_regions(64, *GRIDS[count]), torch.zeros(64, 64)
    assert len(regions) == count
    for left, top, right, bottom in regions.tolist():
        covered[top : bottom + 1, left : right + 1] += 1
    assert bool((covered == 1).all())


def test_detail_on_one_side_is_spread_more_unevenly_than_everywhere() -> None:
    photos = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    photos[0, :, :, 32:] = 0.5
    uneven, even = spread_of_detail(tiny("gpstoken"), photos).tolist()
    assert uneven > 3 * even


def test_the_mean_of_some_photos_is_theirs_alone_in_every_draw() -> None:
    bootstrap, values = Bootstrap(9), torch.rand(9, generator=torch.Generator().manual_seed(0)).double()
    chosen = torch.tensor([1, 4, 5])
    for draw in (0, 3):
        drawn = [row for row in chosen.tolist() for _ in range(int(bootstrap.weights[draw, row]))]
        torch.testing.assert_close(bootstrap.mean(values, chosen)[draw], values[drawn].mean())


@torch.no_grad()
def test_one_gaussian_goes_half_a_unit_and_the_centroid_of_its_change_is_on_the_picture() -> None:
    tok, photos = tiny("gpstoken"), torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ways = moved(tok, photos)
    torch.testing.assert_close(ways.gaussians.norm(dim=1), torch.full((3,), 0.5))
    tokens = tok.encode(photos)
    found = centroids(tok, tokens, torch.zeros(3, 3, 16, 16))
    assert bool((found.abs() < 1).all())
