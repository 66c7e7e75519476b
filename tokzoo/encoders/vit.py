"""A plain ViT over patches. B batch, P patches, D width, C code_dim."""

import torch
from torch import Tensor, nn

from tokzoo.layers.patches import to_tokens
from tokzoo.layers.transformer import TransformerBlock
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Grid


class VitEncoder(Encoder):
    """One token per patch, after some transformer blocks. ViT, arXiv:2010.11929, section 3.1, without a class token.

    Args:
        grid_size: patches per side of the square image.
        patch_size: pixels per side of a patch.
        width, depth, num_heads: of the transformer.
        code_dim: channels out.

    Shapes:
        images (B, 3, grid_size * patch_size, same) in [0, 1] -> latents (B, P, C) on a grid
    """

    def __init__(self, *, grid_size: int, patch_size: int, width: int, depth: int, num_heads: int, code_dim: int):
        super().__init__()
        self.grid_size = grid_size
        self.patch_embed = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.positions = nn.Parameter(torch.randn(grid_size**2, width) * width**-0.5)
        self.norm_in = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(TransformerBlock(width, num_heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.to_code = nn.Linear(width, code_dim)

    def forward(self, images: Tensor) -> Features:
        hidden = self.norm_in(to_tokens(self.patch_embed(images * 2 - 1)) + self.positions)  # (B, P, D)
        for block in self.blocks:
            hidden = block(hidden)
        return Features(self.to_code(self.norm_out(hidden)), Grid(self.grid_size, self.grid_size))
