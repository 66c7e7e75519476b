"""The convolutional encoder of VQGAN and latent diffusion. B batch, C channels, H W pixels, h w latent places."""

from collections.abc import Sequence as PySequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.convs import GROUPS, ConvLevel, Downsample, conv_middle, group_norm, same_size_conv
from tokzoo.layers.patches import to_tokens
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Grid


class LdmCnnEncoder(Encoder):
    """Residual levels with strided convs between them and attention at some. VQGAN, arXiv:2012.09841, appendix A.

    Args:
        width: channels at full resolution; level i has `width * multipliers[i]`.
        multipliers: one per level; the image shrinks by 2 after each but the last.
        num_blocks: residual blocks per level.
        latent_dim: channels that the network gives.
        code_dim: C, channels after a last conv on top; None: no such conv, C is `latent_dim`. A Gaussian bottleneck
            wants twice its own in both.
        code_kernel: side of that last conv's kernel, odd.
        attention_levels: levels (0 is full resolution) whose blocks are followed by self-attention.
        middle_attention: whether self-attention lies between the two blocks after the last level.
        in_channels: of an image.
        signed: the network sees pixels in [-1, 1]; otherwise as they come.
        activate_out: whether a SiLU follows the last GroupNorm.
        groups: of every GroupNorm.

    Shapes:
        images (B, 3, H, W) in [0, 1], sides multiples of 2 ** (levels - 1) -> latents (B, h * w, C) on a grid
    """

    def __init__(
        self,
        *,
        width: int,
        multipliers: PySequence[int],
        num_blocks: int,
        latent_dim: int,
        code_dim: int | None = None,
        code_kernel: int = 1,
        attention_levels: PySequence[int] = (),
        middle_attention: bool = True,
        in_channels: int = 3,
        signed: bool = True,
        activate_out: bool = True,
        groups: int = GROUPS,
    ):
        super().__init__()
        self.signed = signed
        self.activate_out = activate_out
        widths = [width * multiplier for multiplier in multipliers]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)
        self.levels = nn.ModuleList(
            ConvLevel(
                before,
                after,
                num_blocks,
                attention=level in attention_levels,
                resample=Downsample(after) if level < last else None,
                groups=groups,
            )
            for level, (before, after) in enumerate(pairwise([width, *widths]))
        )
        self.middle = conv_middle(widths[-1], attention=middle_attention, groups=groups)
        self.norm_out = group_norm(widths[-1], groups)
        self.conv_out = nn.Conv2d(widths[-1], latent_dim, 3, padding=1)
        self.to_code: nn.Module | None = None
        if code_dim is not None:
            self.to_code = same_size_conv(latent_dim, code_dim, code_kernel)

    def forward(self, images: Tensor) -> Features:
        latents = self.latent_map(images)
        if self.to_code is not None:
            latents = self.to_code(latents)  # (B, C, h, w)
        return Features(to_tokens(latents), Grid(*latents.shape[2:]))

    def latent_map(self, images: Tensor) -> Tensor:
        """Images -> (B, latent_dim, h, w), before the last conv on top."""
        hidden = self.conv_in(images * 2 - 1 if self.signed else images)
        for level in self.levels:
            hidden = level(hidden)
        hidden = self.norm_out(self.middle(hidden))
        return self.conv_out(F.silu(hidden) if self.activate_out else hidden)
