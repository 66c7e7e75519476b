"""3D Gaussians and cameras: points, covariances, mixtures, and what is seen of them."""

import math

import pytest
import torch

from tokzoo.layers.camera import check_intrinsics, default_intrinsics, lift, pixel_rays
from tokzoo.layers.fourier import octave_code
from tokzoo.layers.projection import Gaussians3D, covariances, mixtures, normals, project, rotation_matrices

CAMERA = torch.tensor([[[50.0, 0.0, 30.0], [0.0, 40.0, 20.0], [0.0, 0.0, 1.0]]])


def some_gaussians(count: int, scale: float = 0.02, seed: int = 0) -> Gaussians3D:
    draw = torch.Generator().manual_seed(seed)
    mean = torch.randn(1, count, 3, generator=draw) * torch.tensor([0.2, 0.2, 0.3]) + torch.tensor([0.0, 0.0, 2.0])
    log_scales = math.log(scale) + torch.randn(1, count, 3, generator=draw) * 0.5
    covariance = covariances(log_scales, torch.randn(1, count, 4, generator=draw))
    return Gaussians3D(mean, covariance, torch.rand(1, count, generator=draw))


def samples_of(mean: torch.Tensor, covariance: torch.Tensor, count: int = 200_000) -> torch.Tensor:
    """Points (count, 3) of one Gaussian."""
    draw = torch.randn(count, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return mean.double() + draw @ torch.linalg.cholesky(covariance.double()).T


def test_a_pixel_with_depth_is_the_point_that_is_worked_out_by_hand() -> None:
    points = lift(torch.full((1, 41, 61), 2.0), CAMERA)
    torch.testing.assert_close(points[0, :, 20, 30], torch.tensor([0.0, 0.0, 2.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(points[0, :, 40, 55], torch.tensor([1.0, 1.0, 2.0]))  # 25 / 50 and 20 / 40, twice as far
    skewed = CAMERA.clone()
    skewed[0, 0, 1] = 8.0
    back = skewed[0] @ pixel_rays(skewed, (41, 61))[0, :, 7, 13]
    torch.testing.assert_close(back, torch.tensor([13.0, 7.0, 1.0]))


def test_an_unknown_camera_sees_sixty_degrees() -> None:
    camera = default_intrinsics((48, 64))
    left = math.atan(float(camera[0, 2] / camera[0, 0]))
    assert math.degrees(left) == pytest.approx(30)
    assert camera[1, 1] == camera[0, 0] and camera[1, 2] == 24


@pytest.mark.parametrize(
    "change", [((0, 0), 0.0), ((1, 1), -40.0), ((0, 2), torch.nan), ((2, 0), 1.0), ((2, 2), 2.0)], ids=str
)
def test_what_is_no_camera_is_refused(change: tuple[tuple[int, int], float]) -> None:
    check_intrinsics(CAMERA)
    (row, column), value = change
    bad = CAMERA.clone()
    bad[0, row, column] = value
    with pytest.raises(ValueError, match="fx and fy above 0"):
        check_intrinsics(bad)


def test_a_covariance_is_symmetric_with_the_squared_scales_on_the_turned_axes() -> None:
    draw = torch.Generator().manual_seed(0)
    log_scales, turn = torch.randn(64, 3, generator=draw), torch.randn(64, 4, generator=draw) * 3
    made, rotation = covariances(log_scales, turn), rotation_matrices(turn)
    torch.testing.assert_close(made, made.transpose(-1, -2))
    torch.testing.assert_close(
        torch.linalg.eigvalsh(made), (2 * log_scales).exp().sort(-1).values, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(rotation @ rotation.transpose(-1, -2), torch.eye(3).expand(64, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(64))
    first = made @ rotation[..., :1]
    torch.testing.assert_close(first, (2 * log_scales[:, :1, None]).exp() * rotation[..., :1], atol=1e-4, rtol=1e-4)


def test_a_quarter_turn_about_the_third_axis_takes_the_first_to_the_second() -> None:
    half = math.sqrt(0.5)
    turned = rotation_matrices(torch.tensor([half, 0.0, 0.0, half])) @ torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(turned, torch.tensor([0.0, 1.0, 0.0]))


def test_gaussians_packed_as_ten_numbers_come_back() -> None:
    gaussians = some_gaussians(5)
    packed = gaussians.pack()
    assert packed.shape == (1, 5, 10)
    for before, after in zip(gaussians, Gaussians3D.unpack(packed), strict=True):
        torch.testing.assert_close(after, before)


def test_a_mixture_has_the_moments_of_its_samples() -> None:
    parts = some_gaussians(3, scale=0.1)._replace(opacity=torch.tensor([[0.9, 0.5, 0.1]]))
    weights = torch.tensor([[[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]]])
    whole = mixtures(weights, parts)
    masses = torch.tensor([0.18, 0.25, 0.03], dtype=torch.float64)
    torch.testing.assert_close(whole.opacity[0, 0], masses.sum().float())
    counts = (masses / masses.sum() * 400_000).round().int().tolist()
    drawn = [samples_of(parts.mean[0, k], parts.covariance[0, k], counts[k]) for k in range(3)]
    points = torch.cat(drawn)
    torch.testing.assert_close(whole.mean[0, 0].double(), points.mean(0), atol=2e-3, rtol=0)
    torch.testing.assert_close(whole.covariance[0, 0].double(), points.T.cov(), atol=2e-3, rtol=2e-2)
    torch.testing.assert_close(whole.covariance[0, 1], parts.covariance[0, 1])  # a mixture of one is itself
    assert bool((torch.linalg.eigvalsh(whole.covariance) > 0).all())


def test_a_projected_gaussian_has_the_moments_of_its_projected_samples() -> None:
    gaussians = some_gaussians(6)
    seen = project(gaussians, CAMERA, (41, 61), blur=0.0)
    for number in range(6):
        points = samples_of(gaussians.mean[0, number], gaussians.covariance[0, number])
        scaled = points @ CAMERA[0].double().T
        pixels, depth = scaled[:, :2] / scaled[:, 2:], points[:, 2]
        covariance = pixels.T.cov()
        torch.testing.assert_close(seen.centre[0, number].double(), pixels.mean(0), atol=0.02, rtol=0)
        deviations = covariance.diagonal().sqrt()
        half = torch.tensor([30.0, 20.0], dtype=torch.float64)
        torch.testing.assert_close(seen.geometry[0, number, :2].double() * half, deviations, atol=0, rtol=0.02)
        correlation = covariance[0, 1] / deviations.prod()
        assert float(seen.geometry[0, number, 2]) == pytest.approx(float(correlation), abs=0.02)
        # depth given the pixel: the least-squares plane, and what is left of the variance
        design = torch.cat([torch.ones(len(pixels), 1, dtype=torch.float64), pixels - pixels.mean(0)], dim=1)
        plane = torch.linalg.lstsq(design, depth.unsqueeze(1)).solution
        rest = (depth.unsqueeze(1) - design @ plane).var()
        assert float(seen.spread[0, number]) == pytest.approx(float(rest), rel=0.1)
        torch.testing.assert_close(seen.slope[0, number].double(), plane[1:, 0], atol=2e-3, rtol=0.1)


def test_a_flat_gaussian_has_the_slope_of_the_surface_that_it_lies_on() -> None:
    normal = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, -0.8]), dim=0)
    across = torch.linalg.cross(normal, torch.tensor([1.0, 0.0, 0.0]))
    across = across / across.norm()
    axes = torch.stack([torch.linalg.cross(across, normal), across, normal], dim=1)
    covariance = (axes * torch.tensor([0.05, 0.04, 1e-4]).square()) @ axes.T
    mean = torch.tensor([0.1, -0.2, 2.0])
    seen = project(Gaussians3D(mean[None, None], covariance[None, None], torch.ones(1, 1)), CAMERA, (41, 61))
    # the depth of the plane normal . p = normal . mean at the pixels around the centre
    step = torch.tensor([[0.0, 0.0], [0.2, 0.0], [0.0, 0.2]])
    pixels = torch.cat([seen.centre[0, 0] + step, torch.ones(3, 1)], dim=1)
    depth = (normal @ mean) / ((pixels @ torch.linalg.inv(CAMERA[0]).T) @ normal)
    slope = (depth[1:] - depth[0]) / 0.2
    torch.testing.assert_close(seen.slope[0, 0], slope, atol=0, rtol=0.02)
    assert float(seen.spread[0, 0]) < 1e-5
    assert abs(float(normals(covariance) @ normal)) == pytest.approx(1.0, abs=1e-4)


def test_what_lies_behind_the_camera_is_not_seen_and_stays_finite() -> None:
    gaussians = some_gaussians(3)
    mean = gaussians.mean.clone()
    mean[0, 0, 2], mean[0, 1, 2] = -2.0, 0.0
    mean.requires_grad_()
    seen = project(gaussians._replace(mean=mean), CAMERA, (41, 61))
    assert seen.seen.tolist() == [[False, False, True]]
    sum(part.float().sum() for part in seen[:5]).backward()
    assert bool(mean.grad.isfinite().all()) and all(bool(part.isfinite().all()) for part in seen)


def test_a_code_holds_sine_and_cosine_of_octaves_coordinate_by_coordinate() -> None:
    code = octave_code(torch.tensor([0.25, 0.5]), 2)
    wanted = [0.25, 0.5, 0.5, 1.0]
    pairs = [(math.sin(math.pi * value), math.cos(math.pi * value)) for value in wanted]
    torch.testing.assert_close(code, torch.tensor([number for pair in pairs for number in pair]), atol=1e-6, rtol=0)
