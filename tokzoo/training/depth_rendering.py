"""What pictures with depth teach a tokenizer. B batch, H W pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.data.rgbd import noised
from tokzoo.layers.gaussian_rays import ray_depth
from tokzoo.layers.projection import Gaussians3D
from tokzoo.losses.depth import scale_invariant_log, spread_likelihood
from tokzoo.tokenizers.base import TokenizerOutput
from tokzoo.tokens import Tokens
from tokzoo.training.config import DepthConfig, LossConfig
from tokzoo.training.objectives import Losses, Objective


class DepthRendering(Objective):
    """The depth that a camera sees of the Gaussians is the one that was measured, and the colours are.

    GST-VLA's depth loss (arXiv:2603.09079), the scale-invariant log error, of depth that is splatted, or composited
    along rays as in the paper; beside it the pixel error, and the likelihood that makes Gaussians as thin as surfaces
    are. Where noise is asked for, the encoder is given depth with noise in some squares, and asked for it without.

    Args:
        weights: `mse` and `l1` are used.
        depth: weights of the terms of depth, their view and noise.
    """

    def __init__(self, weights: LossConfig, depth: DepthConfig):
        super().__init__(weights)
        self.depth = depth

    def forward(
        self, tok: nn.Module, images: Tensor, step: int, generator: torch.Generator, **conditions: Tensor
    ) -> Losses:
        wanted = conditions["depth"].float()
        given = conditions
        if self.depth.noised > 0:
            wrong = noised(wanted, share=self.depth.noised, deviation=self.depth.noise, generator=generator)
            given = {**conditions, "depth": wrong.depth}
        output: TokenizerOutput = tok(images, **given)
        made = output.reconstruction.float()
        valid = wanted.isfinite() & (wanted > 0)
        seen, spread = output.aux["depth"].float(), output.aux["spread"].float()
        logged = along_rays(output.tokens, conditions["intrinsics"]) if self.depth.view == "rays" else seen
        terms = {
            "mse": F.mse_loss(made, images),
            "l1": F.l1_loss(made, images),
            "depth": scale_invariant_log(logged, wanted, valid, share=self.depth.share),
            "spread": spread_likelihood(seen, spread, wanted, valid, floor=self.depth.floor),
        }
        scale = {"mse": self.weights.mse, "l1": self.weights.l1, "depth": self.depth.depth, "spread": self.depth.spread}
        total = torch.stack([scale[name] * value for name, value in terms.items()]).sum()
        return Losses(total, terms, output)


def along_rays(tokens: Tokens, intrinsics: Tensor) -> Tensor:
    """The depth (B, H, W) of tokens that are Gaussians, composited along the rays of a camera."""
    if tokens.geometry is None or tokens.extent is None:
        raise ValueError("depth along rays is that of Gaussians: tokens need geometry and an extent (H, W)")
    height, width = tokens.extent
    return ray_depth(Gaussians3D.unpack(tokens.geometry.float()), intrinsics.float(), (height, width)).depth
