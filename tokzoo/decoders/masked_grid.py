"""A ViT that fills a grid from those tokens of a row that count. B batch, P patches, T tokens, D width, C code_dim."""

import torch
from torch import Tensor, nn

from tokzoo.layers.patches import to_map
from tokzoo.layers.position_map import sample_positions
from tokzoo.layers.transformer import TransformerBlock
from tokzoo.parts import Decoder
from tokzoo.tokens import Features


class MaskedGridDecoder(Decoder):
    """Mask tokens of the picture and the codes that count share a ViT; the mask tokens go through `head`.

    A code keeps its place in the row whichever of the others count. KARL, arXiv:2507.07995, section 3.

    Args:
        grid_size: patches per side of the square picture.
        max_tokens: codes per image at most.
        position_side: side of the table of positions, from which those of the grid are taken.
        width, depth, num_heads: of the transformer.
        code_dim: channels of a code.
        head: module from the map (B, D, grid_size, grid_size) to the output.

    Shapes:
        codes (B, T <= max_tokens, C), valid (B, T) or None -> what `head` returns
    """

    def __init__(
        self,
        *,
        grid_size: int,
        max_tokens: int,
        position_side: int,
        width: int,
        depth: int,
        num_heads: int,
        code_dim: int,
        head: nn.Module,
    ):
        super().__init__()
        self.grid_size = grid_size
        self.embed = nn.Linear(code_dim, width)
        self.code_positions = nn.Parameter(torch.empty(max_tokens, width))
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(width, position_side, position_side))
        self.norm_in = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(TransformerBlock(width, num_heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.head = head
        for parameter in (self.code_positions, self.mask_token, self.positions):
            nn.init.normal_(parameter, std=width**-0.5)

    def forward(self, codes: Features) -> Tensor:
        return self.head(self.fill(codes))

    def fill(self, codes: Features) -> Tensor:
        """Codes -> the map (B, D, grid_size, grid_size) that the head reads."""
        batch, length, _ = codes.latents.shape
        embedded = self.embed(codes.latents) + self.code_positions[:length]  # (B, T, D)
        picture = self.mask_token + sample_positions(self.positions, self.grid_size, self.grid_size)  # (1, P, D)
        hidden = self.norm_in(torch.cat([picture.expand(batch, -1, -1), embedded], dim=1))
        mask = visible(codes.valid, self.grid_size**2)
        for block in self.blocks:
            hidden = block(hidden, mask)
        return to_map(self.norm_out(hidden[:, : self.grid_size**2]), self.grid_size, self.grid_size)


def visible(valid: Tensor | None, before: int) -> Tensor | None:
    """The attention mask (B, 1, 1, before + T) that hides the codes which do not count by `valid` (B, T).

    Each image has its own. What a hidden code sees is never read: it needs no row of its own. None where all count.
    """
    if valid is None:
        return None
    return torch.cat([valid.new_ones(len(valid), before), valid], dim=1)[:, None, None]
