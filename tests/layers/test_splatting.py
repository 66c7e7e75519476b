"""Sparse painting with Gaussians equals the formula, and its gradients are the formula's."""

import pytest
import torch
from torch import Tensor

from tokzoo.layers.splatting import splat, splat_mean, tile_pairs

NAN, INF = float("nan"), float("inf")


def dense(geometry: Tensor, features: Tensor, size: tuple[int, int], cutoff: float = 3.0) -> Tensor:
    """The formula, with its (B, N, H, W)."""
    scale_x, scale_y, rho, x, y = geometry[..., None, None].unbind(2)
    height, width = size
    dx = torch.linspace(-1, 1, width, dtype=geometry.dtype) - x
    dy = torch.linspace(-1, 1, height, dtype=geometry.dtype)[:, None] - y
    form = (dx / scale_x) ** 2 - 2 * rho * dx * dy / (scale_x * scale_y) + (dy / scale_y) ** 2
    inside = (dx.abs() <= cutoff * scale_x) & (dy.abs() <= cutoff * scale_y)
    weights = torch.exp(-form / (2 * (1 - rho**2))) * inside
    return torch.einsum("bnhw,bnc->bchw", weights, features)


def some(
    batch: int = 2, number: int = 9, channels: int = 4, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(batch, number, 5, generator=generator, dtype=dtype)
    scales, rho, centres = unit[..., :2] * 0.4 + 0.02, unit[..., 2:3] * 1.8 - 0.9, unit[..., 3:] * 2.6 - 1.3
    features = torch.randn(batch, number, channels, generator=generator, dtype=dtype)
    return torch.cat([scales, rho, centres], dim=-1), features


@pytest.mark.parametrize("size", [(14, 22), (16, 16), (33, 70), (64, 3)])
@pytest.mark.parametrize("cutoff", [3.0, 1.0])
def test_it_equals_the_formula(size: tuple[int, int], cutoff: float) -> None:
    geometry, features = some(dtype=torch.float64)
    torch.testing.assert_close(splat(geometry, features, size, cutoff=cutoff), dense(geometry, features, size, cutoff))
    single = splat(geometry.float(), features.float(), size, cutoff=cutoff)
    torch.testing.assert_close(single.double(), dense(geometry, features, size, cutoff), atol=1e-5, rtol=1e-5)


def test_gradients_are_the_derivatives() -> None:
    geometry, features = some(number=5, channels=3, dtype=torch.float64)
    inputs = (geometry.requires_grad_(), features.requires_grad_())
    assert torch.autograd.gradcheck(lambda *both: splat(*both, (19, 21)), inputs)


def test_a_crowded_tile_takes_several_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry, features = some(number=50, dtype=torch.float64)
    inputs = (geometry.requires_grad_(), features.requires_grad_())
    whole = splat(*inputs, (40, 24))
    wanted = torch.autograd.grad(whole.square().sum(), inputs)
    monkeypatch.setattr("tokzoo.layers.splatting.MOST", 7)
    monkeypatch.setattr("tokzoo.layers.splatting.STEP", 5000)
    again = splat(*inputs, (40, 24))
    torch.testing.assert_close(again, whole)
    torch.testing.assert_close(torch.autograd.grad(again.square().sum(), inputs), wanted)


def test_a_mean_of_equal_features_is_that_feature_where_gaussians_reach() -> None:
    geometry, features = some(number=30)
    features = torch.ones_like(features) * torch.tensor([0.5, -1.0, 2.0, 0.0])
    painted, reached = splat_mean(geometry, features, (20, 20)), splat(geometry, features, (20, 20))[:, 2] > 0.02
    wanted = features[0, 0].view(1, 4, 1, 1).expand_as(painted)
    torch.testing.assert_close(painted.movedim(1, -1)[reached], wanted.movedim(1, -1)[reached], atol=1e-3, rtol=1e-3)


def test_the_order_of_gaussians_is_kept_in_every_tile() -> None:
    geometry, _ = some(number=40)
    pairs = tile_pairs(geometry, (50, 50), cutoff=3.0)
    for part in pairs.gaussian.split(pairs.tile_sizes.tolist()):
        assert bool((part.diff() > 0).all())


def test_no_gaussians_paint_nothing() -> None:
    geometry, features = some(number=0)
    assert torch.equal(splat(geometry, features, (20, 20)), torch.zeros(2, 4, 20, 20))


@pytest.mark.parametrize(
    "gaussian",
    [
        (0.0, 0.1, 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 0.0, 0.0),
        (-1.0, 0.1, 0.0, 0.0, 0.0),
        (INF, 1e30, 0.0, 0.0, 0.0),
        (0.1, 0.1, 1.0, 0.0, 0.0),
        (0.1, 0.1, -2.0, 0.3, 0.1),
        (0.1, 0.1, 0.5, 50.0, -50.0),
        (0.1, 0.1, 0.5, INF, -INF),
        (1e-30, 1e30, 0.999999, 0.0, 0.0),
    ],
)
def test_degenerate_gaussians_give_finite_pixels_and_gradients(gaussian: tuple[float, ...]) -> None:
    geometry = torch.tensor(gaussian).view(1, 1, 5).requires_grad_()
    features = torch.ones(1, 1, 2, requires_grad=True)
    painted = splat(geometry, features, (17, 17))
    assert bool(painted.isfinite().all()) and painted.detach().max() <= 1
    painted.sum().backward()
    assert bool(geometry.grad.isfinite().all()) and bool(features.grad.isfinite().all())


def test_a_huge_gaussian_paints_all_and_one_off_screen_nothing() -> None:
    wide = torch.tensor([[[1e9, 1e9, 0.0, 0.0, 0.0], [0.1, 0.1, 0.0, 4.0, 0.0]]])
    painted = splat(wide, torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), (30, 30))
    assert torch.equal(painted[0, 0], torch.ones(30, 30)) and torch.equal(painted[0, 1], torch.zeros(30, 30))


def test_bad_input_is_refused_by_name() -> None:
    geometry, features = some()
    with pytest.raises(ValueError, match="1 of 18 Gaussians hold NaN"):
        splat(
            geometry.index_put((torch.tensor(0), torch.tensor(3), torch.tensor(2)), torch.tensor(NAN)), features, (9, 9)
        )
    with pytest.raises(ValueError, match=r"features must be \(2, 9, C\)"):
        splat(geometry, features[:, :5], (9, 9))
    with pytest.raises(ValueError, match=r"\(B, N, 5\); got"):
        splat(geometry[..., :4], features, (9, 9))
    with pytest.raises(ValueError, match="at least 1x1 pixels"):
        splat(geometry, features, (0, 9))


def test_half_precision_is_computed_in_float32() -> None:
    geometry, features = some()
    painted = splat(geometry, features.bfloat16(), (20, 20))
    assert painted.dtype == torch.bfloat16
    torch.testing.assert_close(painted, splat(geometry, features.bfloat16().float(), (20, 20)).bfloat16())


def test_autocast_leaves_it_in_float32() -> None:
    geometry, features = some()
    inputs = (geometry.requires_grad_(), features.requires_grad_())
    painted = splat(*inputs, (20, 20))
    wanted = torch.autograd.grad(painted.square().sum(), inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = splat(*inputs, (20, 20))
        got = torch.autograd.grad(again.square().sum(), inputs)
    torch.testing.assert_close(again, painted)
    torch.testing.assert_close(got, wanted)


def test_it_is_one_operator_to_a_compiler() -> None:
    geometry, features = some()
    compiled = torch.compile(lambda *both: splat(*both, (20, 24)) * 2, backend="eager", fullgraph=True)
    assert torch.equal(compiled(geometry, features), splat(geometry, features, (20, 24)) * 2)
    assert splat(geometry.to("meta"), features.to("meta"), (20, 24)).shape == (2, 4, 20, 24)


def test_no_tensor_of_gaussians_times_pixels_is_made() -> None:
    from tokzoo.benchmarks.timing import peak_bytes

    generator = torch.Generator().manual_seed(1)
    centres = torch.rand(1, 1000, 2, generator=generator) * 2 - 1
    geometry = torch.cat([torch.full((1, 1000, 2), 0.02), torch.zeros(1, 1000, 1), centres], dim=-1).requires_grad_()
    features = torch.ones(1, 1000, 3, requires_grad=True)
    peak = peak_bytes(lambda: splat(geometry, features, (256, 256)).sum().backward())
    assert peak < 1000 * 256 * 256 * 4 / 20
