"""Distances of shapes whose distance is known."""

import math

import pytest
import torch

from tokzoo.metrics.shapes import nearest_distances, shape_scores


def sphere(count: int, radius: float = 1.0, seed: int = 0) -> torch.Tensor:
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return radius * torch.nn.functional.normalize(points, dim=1)


def test_equal_points_are_no_distance_apart():
    assert shape_scores(sphere(50), sphere(50), threshold=1e-9) == (0, 0, 1)


def test_a_shift_of_one_point_is_counted_both_ways():
    one, other = torch.zeros(1, 3), torch.tensor([[3.0, 0.0, 4.0]])
    assert shape_scores(one, other, threshold=1.0) == (10, 50, 0)
    assert shape_scores(one, other, threshold=5.0).f_score == 1


def test_two_spheres_are_their_radii_apart():
    scores = shape_scores(sphere(3000), sphere(3000, radius=1.2, seed=1), threshold=0.25)
    assert scores.chamfer == pytest.approx(0.4, abs=0.03)
    assert scores.f_score > 0.95


def test_chunks_change_no_distance(monkeypatch):
    whole = nearest_distances(sphere(40), sphere(30, seed=1))
    monkeypatch.setattr("tokzoo.metrics.shapes.MOST_VALUES", 90)
    assert torch.equal(whole, nearest_distances(sphere(40), sphere(30, seed=1)))


@pytest.mark.parametrize("bad", [torch.zeros(0, 3), torch.zeros(4, 2), torch.full((2, 3), math.nan)])
def test_what_is_no_shape_is_refused(bad):
    with pytest.raises(ValueError, match="a shape is one finite point or more"):
        shape_scores(bad, sphere(5), threshold=0.1)
