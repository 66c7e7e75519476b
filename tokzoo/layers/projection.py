"""3D Gaussians, and how a camera sees them. B batch, N Gaussians.

A Gaussian is ten numbers: its mean, x y z in the camera's frame in metres, its covariance as xx, xy, xz, yy, yz, zz,
and its opacity. Scales and a rotation make a covariance; a covariance can also be that of several Gaussians together.
"""

from typing import NamedTuple

import torch
from torch import Tensor

NUMBERS = 10  # of a Gaussian
NEAR = 1e-2  # metres before the camera, from which on anything is seen
BLUR = 0.3  # variance in pixels that the pixels themselves add, as in arXiv:2308.04079
SHARP = 1e-3  # the same, where it only keeps Gaussians seen edge-on finite


class Gaussians3D(NamedTuple):
    """Means (B, N, 3), covariances (B, N, 3, 3), opacities (B, N)."""

    mean: Tensor
    covariance: Tensor
    opacity: Tensor

    def pack(self) -> Tensor:
        """As geometry (B, N, 10)."""
        row, column = torch.triu_indices(3, 3, device=self.mean.device)
        return torch.cat([self.mean, self.covariance[..., row, column], self.opacity.unsqueeze(-1)], dim=-1)

    @staticmethod
    def unpack(geometry: Tensor) -> "Gaussians3D":
        """The way back of `pack`."""
        mean, upper, opacity = geometry.split((3, 6, 1), dim=-1)
        covariance = upper[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]].unflatten(-1, (3, 3))
        return Gaussians3D(mean, covariance, opacity.squeeze(-1))


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """Quaternions (..., 4), w x y z of any length but 0 -> rotations (..., 3, 3)."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def covariances(log_scales: Tensor, quaternions: Tensor) -> Tensor:
    """R S S R^T: log scales (..., 3) of the axes of R, and quaternions (..., 4) -> (..., 3, 3)."""
    axes = rotation_matrices(quaternions) * log_scales.exp().unsqueeze(-2)
    return axes @ axes.transpose(-1, -2)


def mixtures(weights: Tensor, parts: Gaussians3D) -> Gaussians3D:
    """Each row of weights over Gaussians as the one Gaussian of the same mean and covariance.

    Args:
        weights: (B, N, P), at least 0, rows of sum at most 1.
        parts: P Gaussians; the opacity of each is its mass in the mixture.

    Returns:
        N Gaussians; opacities are the weighted sums of those of the parts.
    """
    masses = weights * parts.opacity.unsqueeze(1)  # (B, N, P)
    opacity = masses.sum(-1)
    shares = masses / opacity.clamp_min(1e-12).unsqueeze(-1)
    mean = shares @ parts.mean
    away = parts.mean.unsqueeze(1) - mean.unsqueeze(2)  # (B, N, P, 3): small, where squares of means are not
    between = (away * shares.unsqueeze(-1)).transpose(-1, -2) @ away
    within = (shares @ parts.covariance.flatten(-2)).unflatten(-1, (3, 3))
    return Gaussians3D(mean, within + between, opacity)


def rounded(gaussians: Gaussians3D) -> Gaussians3D:
    """Balls of the same mean variance over directions."""
    variance = gaussians.covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
    round_ones = torch.eye(3, device=variance.device, dtype=variance.dtype) * variance[..., None, None]
    return gaussians._replace(covariance=round_ones)


class Projected(NamedTuple):
    """Gaussians as a camera sees them, in pixels.

    Args:
        centre: (B, N, 2), column and row.
        geometry: (B, N, 5) for `tokzoo.layers.splatting`, of a picture whose corner pixels lie at -1 and 1.
        depth: (B, N), metres at the centre.
        slope: (B, N, 2), metres of depth a pixel to the right and down: of the surface that a flat Gaussian lies on.
        spread: (B, N), variance of depth behind one pixel.
        seen: (B, N), bool: before the camera.
    """

    centre: Tensor
    geometry: Tensor
    depth: Tensor
    slope: Tensor
    spread: Tensor
    seen: Tensor


def project(gaussians: Gaussians3D, intrinsics: Tensor, size: tuple[int, int], *, blur: float = BLUR) -> Projected:
    """3D Gaussians -> the 2D Gaussians that a camera sees, by its derivative at each mean. arXiv:2308.04079, section 4.

    Depth behind a pixel is Gaussian too: given where a point of the Gaussian is seen, how far it is has the mean
    depth + slope . (pixel - centre) and the variance `spread`.

    Args:
        intrinsics: (B, 3, 3), in pixels.
        size: (H, W) of the picture.
        blur: variance in pixels that is added, so that Gaussians smaller than a pixel are seen.
    """
    seen = gaussians.mean[..., 2] > NEAR
    ahead = torch.where(seen.unsqueeze(-1), gaussians.mean, gaussians.mean.new_tensor([0.0, 0.0, 1.0]))
    scaled = ahead @ intrinsics.transpose(1, 2)  # (B, N, 3): u z, v z, z
    depth = scaled[..., 2]
    centre = scaled[..., :2] / depth.unsqueeze(-1)
    camera = intrinsics.unsqueeze(1)  # (B, 1, 3, 3)
    derivative = (camera[..., :2, :] - centre.unsqueeze(-1) * camera[..., 2:, :]) / depth[..., None, None]  # 2 x 3
    along = derivative @ gaussians.covariance  # (B, N, 2, 3)
    plane = along @ derivative.transpose(-1, -2)  # (B, N, 2, 2)
    a, b, c = plane[..., 0, 0] + SHARP, plane[..., 0, 1], plane[..., 1, 1] + SHARP
    with_u, with_v, of_depth = along[..., 0, 2], along[..., 1, 2], gaussians.covariance[..., 2, 2]
    area = (a * c - b * b).clamp_min(SHARP**2)
    slope = torch.stack([(c * with_u - b * with_v) / area, (a * with_v - b * with_u) / area], dim=-1)
    spread = (of_depth - slope[..., 0] * with_u - slope[..., 1] * with_v).clamp_min(0)
    scale_u, scale_v = (plane[..., 0, 0] + blur).sqrt(), (plane[..., 1, 1] + blur).sqrt()
    half = centre.new_tensor([max(size[1] - 1, 1), max(size[0] - 1, 1)]) / 2
    x, y = (centre / half - 1).unbind(-1)
    geometry = torch.stack([scale_u / half[0], scale_v / half[1], b / (scale_u * scale_v), x, y], dim=-1)
    return Projected(centre, geometry, depth, slope, spread, seen)


def normals(covariance: Tensor) -> Tensor:
    """The direction in which each Gaussian is thinnest, a unit vector of either sign: (..., 3, 3) -> (..., 3)."""
    return torch.linalg.eigh(covariance).eigenvectors[..., 0]
