"""A ViT that paints from codes on a grid of their own. B batch, P patches, L places of codes, D width, C code_dim."""

import torch
from torch import Tensor, nn

from tokzoo.layers.patches import to_map, unpatchify
from tokzoo.layers.position_map import resize_positions
from tokzoo.layers.transformer import ScaledTransformerBlock
from tokzoo.parts import Decoder
from tokzoo.tokens import Features


class GridQueryDecoder(Decoder):
    """Mask tokens of the picture read the codes, which share the patches' positions; then a linear map to pixels.

    ImageFolder, arXiv:2410.01756, section 3.2; XQ-GAN, arXiv:2412.01762. The network is DINOv2's ViT.

    Args: as `GridQueryEncoder`'s; `code_dim` counts the channels of all branches.

    Shapes:
        codes (B, L, C) -> images (B, 3, image_size, image_size), nominally in [0, 1]

    The class token is there twice: before the mask tokens, and before the codes.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        grid_size: int,
        width: int,
        depth: int,
        num_heads: int,
        code_dim: int,
    ):
        super().__init__()
        self.patch_size = patch_size
        self.grid_size = grid_size
        self.side = image_size // patch_size
        self.embed = nn.Linear(code_dim, width)
        self.class_token = nn.Parameter(torch.empty(1, width))
        self.mask_token = nn.Parameter(torch.empty(1, width))
        self.positions = nn.Parameter(torch.empty(self.side**2 + 1, width))  # row 0 is the class token's
        self.kinds = nn.Parameter(torch.empty(2, width))  # added to: the picture, the codes
        self.blocks = nn.ModuleList(ScaledTransformerBlock(width, num_heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.to_pixels = nn.Linear(width, 3 * patch_size**2)
        for parameter in (self.class_token, self.mask_token, self.positions, self.kinds):
            nn.init.normal_(parameter, std=width**-0.5)

    def forward(self, codes: Features) -> Tensor:
        batch, place = len(codes.latents), self.positions[0]
        places = resize_positions(self.positions[1:], self.grid_size, self.grid_size)  # (L, D)
        class_token = self.class_token + place  # (1, D)
        masks = self.mask_token + self.positions[1:]  # (P, D)
        picture = torch.cat([class_token, masks]) + self.kinds[0]  # (1 + P, D): the same for all
        told = torch.cat([class_token.expand(batch, -1, -1), self.embed(codes.latents) + places], dim=1) + self.kinds[1]
        hidden = torch.cat([picture.expand(batch, -1, -1), told], dim=1)  # (B, 1 + P + 1 + L, D)
        for block in self.blocks:
            hidden = block(hidden)
        patches = self.to_pixels(self.norm_out(hidden[:, 1 : 1 + self.side**2]))  # (B, P, p p 3)
        return (unpatchify(to_map(patches, self.side, self.side), self.patch_size) + 1) / 2
