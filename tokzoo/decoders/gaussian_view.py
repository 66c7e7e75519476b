"""3D Gaussians, seen by a camera. B batch, L tokens, H W pixels."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.precision import without_autocast
from tokzoo.layers.projection import Gaussians3D, Projected, project
from tokzoo.layers.splatting import splat
from tokzoo.parts import Decoder
from tokzoo.tokens import Features

EMPTY = 1e-3  # weight, at every pixel, of the mean of all Gaussians: what is seen where none reaches


class View(NamedTuple):
    """What a camera sees of Gaussians: `depth` (B, H, W) metres, `spread` its variance, `paint` (B, C, H, W).

    `cover` (B, H, W) is the sum of the weights: next to 0 where none reaches, and the mean of all is seen.
    """

    depth: Tensor
    spread: Tensor
    paint: Tensor
    cover: Tensor


class GaussianViewDecoder(Decoder):
    """What Gaussians carry is splatted by a camera, as means by opacity; a few convolutions make pixels of it.

    A Gaussian gives each pixel the depth of its own points there, so that flat ones are seen as the surfaces that they
    lie on. Nothing hides anything else: the tokens are of what one picture shows.

    Args:
        code_dim: of a token.
        paint_width: C, channels painted with, and of the convolutions.
        cutoff: standard deviations that a Gaussian reaches.

    Shapes:
        codes (B, L, code_dim), geometry (B, L, 10), extent (H, W), intrinsics (B, 3, 3) -> images (B, 3, H, W)
    """

    def __init__(self, *, image_size: int, code_dim: int, paint_width: int, cutoff: float):
        super().__init__()
        self.image_size, self.cutoff = image_size, cutoff
        self.to_paint = nn.Linear(code_dim, paint_width)
        self.conv_in = nn.Conv2d(paint_width, paint_width, 3, padding=1)
        self.conv_middle = nn.Conv2d(paint_width, paint_width, 3, padding=1)
        self.conv_out = nn.Conv2d(paint_width, 3, 3, padding=1)

    def forward(self, codes: Features, intrinsics: Tensor) -> Tensor:
        return self.colour(self.view(codes, intrinsics).paint)

    def view(self, codes: Features, intrinsics: Tensor) -> View:
        """What is seen, before pixels are made of it."""
        if codes.geometry is None:
            raise ValueError("codes to be seen need geometry (B, L, 10): mean, covariance, opacity of their Gaussians")
        height, width = codes.extent or (self.image_size, self.image_size)
        paint = self.to_paint(codes.latents)
        with without_autocast(paint.device):
            gaussians = Gaussians3D.unpack(codes.geometry.float())
            seen = project(gaussians, intrinsics.float(), (height, width))
            # depth + slope . (pixel - centre) is linear in the pixel: three numbers a Gaussian paint the whole of it
            rest = seen.depth - (seen.slope * seen.centre).sum(-1)
            told = torch.cat([rest.unsqueeze(-1), seen.slope, seen.spread.unsqueeze(-1), paint.float()], dim=-1)
            weighted = torch.cat([told, torch.ones_like(told[..., :1])], dim=-1)
            mass = torch.where(seen.seen, gaussians.opacity, 0.0).unsqueeze(-1)
            sums = splat(seen.geometry, weighted * mass, (height, width), cutoff=self.cutoff)
            cover = sums[:, -1]
            means = (sums[:, :-1] + EMPTY * self._mean(seen, paint.float(), mass)) / (cover.unsqueeze(1) + EMPTY)
        column, row = (torch.arange(side, device=paint.device) for side in (width, height))
        depth = means[:, 0] + means[:, 1] * column + means[:, 2] * row.unsqueeze(1)
        return View(depth, means[:, 3], means[:, 4:].to(paint.dtype), cover)

    def _mean(self, seen: Projected, paint: Tensor, mass: Tensor) -> Tensor:
        """What is painted with, of all Gaussians as one without a slope: (B, 4 + C, 1, 1)."""
        shares = mass / mass.sum(1, keepdim=True).clamp_min(1e-12)  # (B, L, 1)
        depth = (shares * seen.depth.unsqueeze(-1)).sum(1)  # (B, 1)
        spread = (shares.squeeze(-1) * (seen.spread + (seen.depth - depth).square())).sum(1, keepdim=True)
        flat = torch.zeros_like(depth).expand(-1, 2)
        return torch.cat([depth, flat, spread, (shares * paint).sum(1)], dim=1)[:, :, None, None]

    def colour(self, paint: Tensor) -> Tensor:
        """Pixels of what was painted (B, C, H, W)."""
        hidden = F.gelu(self.conv_in(paint))
        hidden = F.gelu(self.conv_middle(hidden))
        return self.conv_out(hidden) + 0.5
