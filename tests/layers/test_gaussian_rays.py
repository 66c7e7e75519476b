"""Depth of 3D Gaussians along rays: the paper's formula, what hides what, and gradients."""

import math

import pytest
import torch
from torch import Tensor

from tokzoo.layers.gaussian_rays import ray_depth
from tokzoo.layers.projection import Gaussians3D, covariances

CAMERA = torch.tensor([[[9.0, 0.0, 3.0], [0.0, 8.0, 2.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
SIZE = (5, 7)


def some_gaussians(count: int = 6, batch: int = 2) -> Gaussians3D:
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    mean = normal(batch, count, 3) * 0.4 + torch.tensor([0.0, 0.0, 2.0])
    covariance = covariances(normal(batch, count, 3) * 0.5 - 2, normal(batch, count, 4))
    return Gaussians3D(mean, covariance, torch.rand(batch, count, generator=draw, dtype=torch.float64))


def one(z: float, opacity: float, scale: float = 0.1) -> tuple[list[float], float, float]:
    """A ball straight ahead of the pixel in row 2, column 3."""
    return [0.0, 0.0, z], opacity, scale


def balls(*told: tuple[list[float], float, float]) -> Gaussians3D:
    means, opacities, scales = zip(*told, strict=True)
    covariance = torch.eye(3) * torch.tensor(scales)[:, None, None].square()
    return Gaussians3D(torch.tensor(means)[None], covariance[None], torch.tensor(opacities)[None])


def by_hand(gaussians: Gaussians3D, camera: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The same by one loop over samples, pixels and Gaussians, as the paper writes it."""
    depth, cover = torch.zeros(len(gaussians.mean), *size), torch.zeros(len(gaussians.mean), *size)
    for sample, (means, sigmas, opacities) in enumerate(zip(*gaussians, strict=True)):
        for row in range(size[0]):
            for column in range(size[1]):
                ahead = torch.linalg.inv(camera[0]) @ torch.tensor([column, row, 1.0], dtype=torch.float64)
                ray = ahead / ahead.norm()
                passed = 1.0
                for k in sorted(range(len(means)), key=lambda k: float(means[k].norm())):
                    if means[k, 2] <= 0:
                        continue
                    further = means[k].norm() - means[k] @ ray
                    stops = opacities[k] * math.exp(-0.5 * further**2 / (ray @ sigmas[k] @ ray))
                    depth[sample, row, column] += passed * stops * (means[k] @ ray) / ahead.norm()
                    cover[sample, row, column] += passed * stops
                    passed *= 1 - float(stops)
    return depth, cover


def test_depth_along_rays_is_the_formula_of_the_paper_worked_out_ray_by_ray() -> None:
    gaussians = some_gaussians()
    gaussians.mean[1, 2, 2] *= -1  # behind the camera
    seen = ray_depth(gaussians, CAMERA.expand(2, 3, 3), SIZE)
    depth, cover = by_hand(gaussians, CAMERA, SIZE)
    torch.testing.assert_close(seen.depth.float(), depth)
    torch.testing.assert_close(seen.cover.float(), cover)
    assert float(seen.cover.std()) > 0.05  # rays differ


def test_neither_chunks_of_rays_nor_the_order_of_gaussians_matter() -> None:
    gaussians = some_gaussians()
    whole = ray_depth(gaussians, CAMERA.expand(2, 3, 3), SIZE)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    mixed = Gaussians3D(*(part[:, order] for part in gaussians))
    for other in (
        ray_depth(gaussians, CAMERA.expand(2, 3, 3), SIZE, chunk=4),
        ray_depth(mixed, CAMERA.expand(2, 3, 3), SIZE),
    ):
        torch.testing.assert_close(other.depth, whole.depth)
        torch.testing.assert_close(other.cover, whole.cover)


def test_gradients_of_all_three_parts_are_those_of_small_differences() -> None:
    gaussians = Gaussians3D(*(part.requires_grad_() for part in some_gaussians(3, batch=1)))

    def both(*parts: Tensor) -> Tensor:
        return torch.stack(ray_depth(Gaussians3D(*parts), CAMERA, (2, 3), chunk=4))

    assert torch.autograd.gradcheck(both, tuple(gaussians))


def test_an_opaque_gaussian_hides_what_is_behind_it_and_a_clear_one_nothing() -> None:
    camera = CAMERA.float()
    hidden = ray_depth(balls(one(1.0, 1.0), one(3.0, 1.0)), camera, SIZE).depth[0, 2, 3]
    shown = ray_depth(balls(one(1.0, 0.0), one(3.0, 1.0)), camera, SIZE).depth[0, 2, 3]
    half = ray_depth(balls(one(3.0, 1.0), one(1.0, 0.5)), camera, SIZE).depth[0, 2, 3]
    assert (float(hidden), float(shown)) == (1.0, 3.0)
    assert float(half) == pytest.approx(0.5 * 1.0 + 0.5 * 3.0)


def test_opaque_and_flat_gaussians_and_those_behind_the_camera_have_finite_gradients() -> None:
    gaussians = balls(one(1.0, 1.0), one(2.0, 1.0, 0.0), one(-1.0, 1.0), one(0.0, 1.0))
    parts = [part.clone().requires_grad_() for part in gaussians]
    seen = ray_depth(Gaussians3D(*parts), CAMERA.float(), SIZE)
    (seen.depth.sum() + seen.cover.sum()).backward()
    for part in (*seen, *(part.grad for part in parts)):
        assert bool(part.isfinite().all())
