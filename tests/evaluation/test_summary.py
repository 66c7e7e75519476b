"""What intervals cover, on sets whose true distance is known."""

import dataclasses

import pytest
import torch

from tokzoo.evaluation.protocol import Bootstrap
from tokzoo.evaluation.summary import frechet_score, infinity_score
from tokzoo.metrics.statistics import Moments

WIDTH, COUNT = 6, 150
REFERENCE = Moments(torch.full((WIDTH,), 0.3).double(), 1.44 * torch.eye(WIDTH).double())
TRUTH = WIDTH * (0.3**2 + (1.2 - 1) ** 2)  # of a standard normal distribution to that of the reference


def test_intervals_at_infinity_hold_the_true_distance_where_most_plain_values_lie_above_it():
    generator = torch.Generator().manual_seed(0)
    boot = Bootstrap(set_draws=20)
    sets = [torch.randn(COUNT, WIDTH, generator=generator) for _ in range(20)]
    scores = [infinity_score(features, REFERENCE, boot) for features in sets]
    assert sum(score.low <= TRUTH <= score.high for score in scores) >= 17
    values = torch.tensor([score.value for score in scores])
    widths = torch.tensor([score.high - score.low for score in scores])
    assert float(widths.mean()) == pytest.approx(3.92 * float(values.std()), rel=0.3)  # as the values scatter
    assert sum(frechet_score(features, REFERENCE, boot).value > TRUTH for features in sets) >= 15


def test_pairs_without_a_difference_have_an_interval_without_width():
    features = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(0))
    score = infinity_score(features, features.clone(), Bootstrap(set_draws=4))
    assert max(abs(each) for each in dataclasses.astuple(score)) < 1e-6
