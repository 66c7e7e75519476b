"""What pictures with depth teach a tokenizer. B batch, H W pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.losses.depth import scale_invariant_log, spread_likelihood
from tokzoo.tokenizers.base import TokenizerOutput
from tokzoo.training.config import DepthConfig, LossConfig
from tokzoo.training.objectives import Losses, Objective


class DepthRendering(Objective):
    """The depth that a camera sees of the Gaussians is the one that was measured, and the colours are.

    GST-VLA's depth loss (arXiv:2603.09079), the scale-invariant log error, of depth that is splatted; beside it the
    pixel error, and the likelihood that makes Gaussians as thin as surfaces are.

    Args:
        weights: `mse` and `l1` are used.
        depth: weights of the terms of depth.
    """

    def __init__(self, weights: LossConfig, depth: DepthConfig):
        super().__init__(weights)
        self.depth = depth

    def forward(
        self, tok: nn.Module, images: Tensor, step: int, generator: torch.Generator, **conditions: Tensor
    ) -> Losses:
        output: TokenizerOutput = tok(images, **conditions)
        made, wanted = output.reconstruction.float(), conditions["depth"].float()
        valid = wanted.isfinite() & (wanted > 0)
        seen, spread = output.aux["depth"].float(), output.aux["spread"].float()
        terms = {
            "mse": F.mse_loss(made, images),
            "l1": F.l1_loss(made, images),
            "depth": scale_invariant_log(seen, wanted, valid, share=self.depth.share),
            "spread": spread_likelihood(seen, spread, wanted, valid, floor=self.depth.floor),
        }
        scale = {"mse": self.weights.mse, "l1": self.weights.l1, "depth": self.depth.depth, "spread": self.depth.spread}
        total = torch.stack([scale[name] * value for name, value in terms.items()]).sum()
        return Losses(total, terms, output)
