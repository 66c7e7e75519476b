"""KID, Inception score, precision and recall: what they must say of sets whose answer is known."""

import math

import pytest
import torch

from tokzoo.metrics.diversity import inception_score, vendi_score
from tokzoo.metrics.kernel import kernel_distance, squared_mmd
from tokzoo.metrics.neighbours import manifold_hits, manifold_scores, neighbour_radii


def rows(count: int, width: int = 6, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    return torch.rand(count, width, generator=torch.Generator().manual_seed(seed)) + shift


def test_mmd_of_one_distribution_lies_around_zero_and_grows_with_a_shift():
    near = [float(squared_mmd(rows(50, seed=seed), rows(50, seed=100 + seed))) for seed in range(20)]
    assert abs(sum(near)) / 20 < 0.01
    assert min(near) < 0 < max(near)
    assert float(squared_mmd(rows(50), rows(50, seed=1, shift=0.5))) > 10 * max(near)


def test_kid_takes_all_of_fewer_images_than_a_subset():
    assert kernel_distance(rows(30), rows(30, seed=1), subsets=3, subset_size=1000).std == pytest.approx(0, abs=1e-9)


def test_mmd_refuses_unequal_counts():
    with pytest.raises(ValueError, match="in equal number; got 5 and 6"):
        squared_mmd(rows(5), rows(6))


def test_inception_score_counts_classes_that_are_sure_and_even():
    sure = 50 * torch.eye(8).repeat(10, 1)
    assert inception_score(sure, splits=1).mean == pytest.approx(8, rel=1e-6)
    assert inception_score(torch.zeros(40, 8), splits=4).mean == pytest.approx(1, rel=1e-9)
    with pytest.raises(ValueError, match="10 splits need as many images"):
        inception_score(torch.zeros(9, 8))


def test_vendi_counts_distinct_directions():
    assert vendi_score(torch.eye(5).repeat(7, 1)) == pytest.approx(5, rel=1e-9)


def test_equal_sets_have_full_precision_and_recall_and_far_ones_none():
    assert manifold_scores(rows(40), rows(40)) == pytest.approx((1, 1, 40 / 40 * 4 / 3, 1), abs=0.35)
    assert tuple(manifold_scores(rows(40), rows(40, shift=9.0))) == (0, 0, 0, 0)


def test_chunks_change_no_hit(monkeypatch):
    whole = manifold_hits(rows(37), rows(29, seed=1))
    monkeypatch.setattr("tokzoo.metrics.neighbours.MOST_VALUES", 29 * 5)
    assert all(torch.equal(a, b) for a, b in zip(whole, manifold_hits(rows(37), rows(29, seed=1)), strict=True))


def test_the_radius_leaves_the_point_itself_out():
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert neighbour_radii(line, 1).tolist() == pytest.approx([1, 1, 2, 4])


def test_too_few_images_and_nan_are_named():
    with pytest.raises(ValueError, match="balls of k = 3 neighbours need 4 images; got 3"):
        manifold_scores(rows(3), rows(9))
    with pytest.raises(ValueError, match="NaN"):
        manifold_scores(rows(9) * math.nan, rows(9))
