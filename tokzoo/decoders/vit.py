"""A plain ViT from a grid of codes. B batch, P patches, D width, C code_dim."""

import torch
from torch import Tensor, nn

from tokzoo.decoders.mask_token import PixelHead
from tokzoo.layers.patches import to_map
from tokzoo.layers.transformer import TransformerBlock
from tokzoo.parts import Decoder
from tokzoo.tokens import Features


class VitDecoder(Decoder):
    """One patch of pixels per code, after some transformer blocks. ViT, arXiv:2010.11929, section 3.1.

    Args: as `VitEncoder`; `code_dim` channels come in.

    Shapes:
        codes (B, P, C) -> images (B, 3, grid_size * patch_size, same), nominally in [0, 1]
    """

    def __init__(self, *, grid_size: int, patch_size: int, width: int, depth: int, num_heads: int, code_dim: int):
        super().__init__()
        self.grid_size = grid_size
        self.embed = nn.Linear(code_dim, width)
        self.positions = nn.Parameter(torch.randn(grid_size**2, width) * width**-0.5)
        self.norm_in = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(TransformerBlock(width, num_heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.head = PixelHead(width, patch_size)

    def forward(self, codes: Features) -> Tensor:
        hidden = self.norm_in(self.embed(codes.latents) + self.positions)  # (B, P, D)
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(to_map(self.norm_out(hidden), self.grid_size, self.grid_size))
