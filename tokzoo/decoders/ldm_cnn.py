"""The convolutional decoder of VQGAN and latent diffusion. B batch, C channels, H W pixels, h w latent places."""

from collections.abc import Sequence as PySequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.convs import GROUPS, ConvLevel, Upsample, conv_middle, group_norm, same_size_conv
from tokzoo.layers.patches import to_map
from tokzoo.parts import Decoder
from tokzoo.tokens import Features, Grid


class LdmCnnDecoder(Decoder):
    """The mirror of `LdmCnnEncoder`, with one residual block more per level. VQGAN, arXiv:2012.09841, appendix A.

    Args: as the encoder's; levels are listed from full resolution (0) to the coarsest, of which `code_dim` channels
    come (None: `latent_dim`, without the first conv) and `out_channels` leave.
        extra_blocks: residual blocks per level beyond `num_blocks`.
        norm_in: whether the codes pass a GroupNorm first.

    Shapes:
        codes (B, h * w, C) on Grid(h, w) -> images (B, 3, h * f, w * f), nominally in [0, 1], f = 2 ** (levels - 1)
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
        out_channels: int = 3,
        signed: bool = True,
        activate_out: bool = True,
        extra_blocks: int = 1,
        norm_in: bool = False,
        groups: int = GROUPS,
    ):
        super().__init__()
        self.signed = signed
        self.activate_out = activate_out
        widths = [width * multiplier for multiplier in multipliers]
        self.from_code = same_size_conv(code_dim, latent_dim, code_kernel) if code_dim is not None else None
        self.norm_in = group_norm(latent_dim, groups) if norm_in else None
        self.conv_in = nn.Conv2d(latent_dim, widths[-1], 3, padding=1)
        self.middle = conv_middle(widths[-1], attention=middle_attention, groups=groups)
        self.levels = nn.ModuleList(
            ConvLevel(
                before,
                after,
                num_blocks + extra_blocks,
                attention=level in attention_levels,
                resample=Upsample(after) if level else None,
                groups=groups,
            )
            for level, (after, before) in enumerate(pairwise([*widths, widths[-1]]))
        )
        self.norm_out = group_norm(widths[0], groups)
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, codes: Features) -> Tensor:
        if not isinstance(codes.layout, Grid):
            raise ValueError(f"a convolutional decoder reads codes on a Grid; got {codes.layout}")
        return self.decode_map(to_map(codes.latents, codes.layout.height, codes.layout.width))

    def decode_map(self, codes: Tensor) -> Tensor:
        """A map of codes (B, C, h, w) -> images."""
        hidden = codes if self.from_code is None else self.from_code(codes)
        if self.norm_in is not None:
            hidden = self.norm_in(hidden)
        hidden = self.middle(self.conv_in(hidden))
        for level in reversed(self.levels):
            hidden = level(hidden)
        hidden = self.norm_out(hidden)
        images = self.conv_out(F.silu(hidden) if self.activate_out else hidden)
        return (images + 1) / 2 if self.signed else images


class LatentHead(nn.Module):
    """Pixels from latents that are predicted: `latents` says them, a variational autoencoder's decoder paints them.

    Shapes:
        hidden (B, D, h, w) -> images (B, 3, H, W)
    """

    def __init__(self, *, latents: nn.Module, decoder: LdmCnnDecoder):
        super().__init__()
        self.latents = latents
        self.decoder = decoder

    def forward(self, hidden: Tensor) -> Tensor:
        return self.paint(self.predict(hidden))

    def predict(self, hidden: Tensor) -> Tensor:
        """The latents (B, C, h, w) that the decoder reads."""
        return self.latents(hidden)

    def paint(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) -> images."""
        return self.decoder.decode_map(latents)
