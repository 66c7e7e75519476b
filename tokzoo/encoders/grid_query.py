"""A ViT with queries on a grid of their own. B batch, P patches, n branches, L places, D width, C code_dim."""

import torch
from torch import Tensor, nn

from tokzoo.layers.patches import to_tokens
from tokzoo.layers.position_map import resize_positions
from tokzoo.layers.transformer import ScaledTransformerBlock
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Grid


class GridQueryEncoder(Encoder):
    """Branches of queries read the picture; each query has a place in it, and shares the patches' positions.

    ImageFolder, arXiv:2410.01756, section 3.2; XQ-GAN, arXiv:2412.01762. The network is DINOv2's ViT.

    Args:
        image_size, patch_size: pixels per side of the square image, of a patch.
        grid_size: queries per side of a branch.
        num_branches: n.
        width, depth, num_heads: of the transformer.
        code_dim: C, channels out of each branch.

    Shapes:
        images (B, 3, image_size, image_size) in [0, 1] -> latents (B, L, n C) on a grid: branch 0's channels first

    The patches' positions are resized (bicubic, antialiased) to the queries' grid.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        grid_size: int,
        num_branches: int,
        width: int,
        depth: int,
        num_heads: int,
        code_dim: int,
    ):
        super().__init__()
        self.grid_size = grid_size
        self.num_branches = num_branches
        num_patches = (image_size // patch_size) ** 2
        self.patch_embed = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.empty(1, width))
        self.positions = nn.Parameter(torch.empty(num_patches + 1, width))  # row 0 is the class token's
        self.queries = nn.Parameter(torch.empty(num_branches * grid_size**2, width))
        self.kinds = nn.Parameter(torch.empty(1 + num_branches, width))  # added to: the picture, branch 0, branch 1 ..
        self.blocks = nn.ModuleList(ScaledTransformerBlock(width, num_heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.to_code = nn.Linear(width, code_dim)
        for parameter in (self.class_token, self.positions, self.queries, self.kinds):
            nn.init.normal_(parameter, std=width**-0.5)

    def forward(self, images: Tensor) -> Features:
        hidden = self.read(images).unflatten(1, (self.num_branches, -1))  # (B, n, L, D)
        latents = self.to_code(hidden).transpose(1, 2).flatten(2)  # (B, L, n C)
        return Features(latents, Grid(self.grid_size, self.grid_size))

    def read(self, images: Tensor) -> Tensor:
        """Images -> what the queries became (B, n L, D), branch after branch."""
        batch = len(images)
        patches = to_tokens(self.patch_embed(images * 2 - 1))  # (B, P, D)
        class_token = self.class_token.expand(batch, -1, -1)
        picture = torch.cat([class_token, patches], dim=1) + self.positions + self.kinds[0]  # (B, 1 + P, D)
        places = resize_positions(self.positions[1:], self.grid_size, self.grid_size)  # (L, D)
        placed = (places + self.kinds[1:].unsqueeze(1)).flatten(0, 1)  # (n L, D)
        queries = (self.queries + placed).expand(batch, -1, -1)
        hidden = torch.cat([picture, queries], dim=1)
        *blocks, final = self.blocks
        for block in blocks:
            hidden = block(hidden)
        return self.norm_out(final(hidden, last=len(self.queries)))
