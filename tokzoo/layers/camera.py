"""A pinhole camera: pixels and depth become points. B batch, H W pixels.

Points are in the camera's frame, in metres: x to the right, y down, z ahead. Intrinsics (B, 3, 3) are in pixels, and
the centre of the first pixel is at (0, 0), as in OpenCV.
"""

import math

import torch
from torch import Tensor

VIEW = 60.0  # degrees across the picture, where nothing is known of the camera


def default_intrinsics(size: tuple[int, int], *, degrees: float = VIEW) -> Tensor:
    """Intrinsics (3, 3), float32, of a camera that sees so many degrees across pictures of `size` (H, W).

    The centre is at (W / 2, H / 2), half a pixel off the middle, as the authors of GST have it.
    """
    height, width = size
    focal = width / (2 * math.tan(math.radians(degrees) / 2))
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def check_intrinsics(intrinsics: Tensor) -> None:
    """Raises ValueError unless all of (B, 3, 3) are of cameras, in pixels."""
    focal = intrinsics.diagonal(dim1=-2, dim2=-1)[..., :2]
    last = intrinsics.new_tensor([0.0, 0.0, 1.0])
    if bool(intrinsics.isfinite().all()) and bool((focal > 0).all()) and bool((intrinsics[..., 2, :] == last).all()):
        return
    raise ValueError(
        "intrinsics are [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels, fx and fy above 0; "
        f"got {intrinsics.flatten(0, -3)[0].tolist()}"
    )


def pixel_rays(intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
    """Where the rays of all pixels of a picture (H, W) reach depth 1, K^-1 [u, v, 1]: (B, 3, H, W)."""
    height, width = size
    row, column = (torch.arange(side, device=intrinsics.device, dtype=intrinsics.dtype) for side in size)
    u, v = column.expand(height, width), row.unsqueeze(1).expand(height, width)
    pixels = torch.stack([u, v, torch.ones_like(u)]).flatten(1)  # (3, H * W)
    return (torch.linalg.inv(intrinsics) @ pixels).unflatten(2, size)


def lift(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """The points that depth (B, H, W) says lie behind the pixels: (B, 3, H, W)."""
    return pixel_rays(intrinsics, (depth.shape[1], depth.shape[2])) * depth.unsqueeze(1)
