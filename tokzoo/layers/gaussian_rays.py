"""Depth of 3D Gaussians along the rays of a camera, front to back. B batch, N Gaussians, R rays, H W pixels."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tokzoo.layers.camera import pixel_rays
from tokzoo.layers.projection import NEAR, Gaussians3D

LEAST = 1e-12  # square metres: variance along a ray that keeps Gaussians of no thickness finite
CHUNK = 1024  # rays whose (N, R) weights are held at a time


class RayDepth(NamedTuple):
    """What rays meet: `depth` (B, H, W), metres along the camera's axis; `cover` (B, H, W), the share that is stopped.

    What passes all Gaussians adds no depth: where the cover is below 1, so is the depth less than that of surfaces.
    """

    depth: Tensor
    cover: Tensor


def ray_depth(gaussians: Gaussians3D, intrinsics: Tensor, size: tuple[int, int], *, chunk: int = CHUNK) -> RayDepth:
    """Front-to-back compositing along the rays of all pixels. GST-VLA, arXiv:2603.09079, depth rendering loss.

    A Gaussian of opacity a at c stops a exp(-(|c| - c.d)^2 / (2 d' S d)) of the ray d: how much further it is than its
    foot on the ray, in deviations along the ray. What it stops is at c.d; nearer Gaussians stop first. Against
    splatting, Gaussians hide each other, and, by the formula, one of deviation s along the ray reaches about
    sqrt(2 s |c|) to the side: a thin one far beyond its own width.

    Args:
        gaussians: N of them, before the camera or not; those behind it stop nothing.
        intrinsics: (B, 3, 3), in pixels.
        size: (H, W).
        chunk: rays at a time; gradients compute each chunk anew, so that memory is N * chunk, not N * H * W.
    """
    distance = gaussians.mean.norm(dim=-1)  # (B, N)
    opacity = torch.where(gaussians.mean[..., 2] > NEAR, gaussians.opacity, 0.0)
    order = distance.argsort(dim=1)
    mean = gaussians.mean.gather(1, order.unsqueeze(-1).expand(-1, -1, 3))
    covariance = gaussians.covariance.flatten(2).gather(1, order.unsqueeze(-1).expand(-1, -1, 9)).unflatten(2, (3, 3))
    ahead = pixel_rays(intrinsics, size).flatten(2).transpose(1, 2)  # (B, R, 3), of depth 1
    length = ahead.norm(dim=-1, keepdim=True)
    parts = [
        checkpoint(_composite, rays, mean, covariance, opacity.gather(1, order), use_reentrant=False)
        for rays in (ahead / length).split(chunk, dim=1)
    ]
    along, cover = torch.cat(parts, dim=1).unbind(-1)
    return RayDepth((along / length.squeeze(-1)).unflatten(1, size), cover.unflatten(1, size))


def _composite(rays: Tensor, mean: Tensor, covariance: Tensor, opacity: Tensor) -> Tensor:
    """Unit rays (B, R, 3), Gaussians from near to far -> summed distance and share of what is stopped, (B, R, 2)."""
    foot = rays @ mean.transpose(1, 2)  # (B, R, N)
    # |c| - c.d, a small difference of large numbers, is |c x d|^2 / (|c| + c.d)
    off = torch.linalg.cross(rays.unsqueeze(2), mean.unsqueeze(1), dim=-1).square().sum(-1)
    further = off / (mean.norm(dim=-1).unsqueeze(1) + foot).clamp_min(NEAR)
    variance = torch.einsum("bri,bnij,brj->brn", rays, covariance, rays)
    stops = opacity.unsqueeze(1) * torch.exp(-0.5 * further.square() / variance.clamp_min(LEAST))
    passed = torch.cumprod(1 - stops, dim=-1)
    weights = stops * torch.cat([torch.ones_like(passed[..., :1]), passed[..., :-1]], dim=-1)
    return torch.stack([(weights * foot).sum(-1), weights.sum(-1)], dim=-1)
