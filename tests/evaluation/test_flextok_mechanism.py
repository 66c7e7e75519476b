"""The numbers by which FlexTok's mechanism is judged."""

import torch

from eval.bootstrap import Bootstrap, estimate
from tokzoo.metrics.kernel import cubic_kernel


def test_the_distance_of_a_draw_is_over_pairs_of_different_photos() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(6, 3, generator=generator).double() + shift for shift in (0.0, 0.5))
    bootstrap = Bootstrap(6)
    distances = bootstrap.kernel_distance(ours, theirs)
    for draw in (0, 1, 7):
        drawn = torch.repeat_interleave(torch.arange(6), bootstrap.weights[draw].long())
        pairs = [(one, other) for one in drawn for other in drawn if one != other]
        first, second = (torch.stack(side) for side in zip(*pairs, strict=True))
        kernels = [
            cubic_kernel(rows, columns)[first, second].mean()
            for rows, columns in ((ours, ours), (theirs, theirs), (ours, theirs), (theirs, ours))
        ]
        torch.testing.assert_close(distances[draw], kernels[0] + kernels[1] - kernels[2] - kernels[3])


def test_the_interval_of_a_mean_is_about_twice_its_standard_error_on_either_side() -> None:
    values = torch.randn(500, generator=torch.Generator().manual_seed(0))
    found = estimate(Bootstrap(500).mean(values))
    error = float(values.std()) / 500**0.5
    assert abs(found.value - float(values.mean())) < 1e-5
    assert 1.7 * error < found.high - found.value < 2.3 * error
    assert 1.7 * error < found.value - found.low < 2.3 * error
