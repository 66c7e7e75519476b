"""A ViT that fills a grid of mask tokens from a row of codes. B batch, P patches, N tokens, D width, C code_dim."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.patches import to_map, unpatchify
from tokzoo.layers.transformer import TransformerBlock
from tokzoo.parts import Decoder
from tokzoo.tokens import Features


class MaskTokenDecoder(Decoder):
    """Mask tokens of the picture and the codes share a ViT; what the mask tokens became goes through `head`.

    TiTok, arXiv:2406.07550, section 3.2.

    Args:
        grid_size: patches per side of the square picture.
        num_tokens: N, codes per image at most; fewer are decoded as a prefix.
        width, depth, num_heads: of the transformer.
        code_dim: channels of a code.
        head: module from the map (B, D, grid_size, grid_size) to the output.

    Shapes:
        codes (B, n <= N, C) -> what `head` returns; codes that `valid` (B, n) leaves out are as if absent
    """

    def __init__(
        self,
        *,
        grid_size: int,
        num_tokens: int,
        width: int,
        depth: int,
        num_heads: int,
        code_dim: int,
        head: nn.Module,
    ):
        super().__init__()
        self.grid_size = grid_size
        self.embed = nn.Linear(code_dim, width)
        self.class_token = nn.Parameter(torch.empty(1, width))
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(grid_size**2 + 1, width))  # row 0 is the class token's
        self.code_positions = nn.Parameter(torch.empty(num_tokens, width))
        self.norm_in = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(TransformerBlock(width, num_heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.head = head
        for parameter in (self.class_token, self.mask_token, self.positions, self.code_positions):
            nn.init.normal_(parameter, std=width**-0.5)

    def forward(self, codes: Features) -> Tensor:
        return self.head(self.fill(codes))

    def fill(self, codes: Features) -> Tensor:
        """Codes -> the map (B, D, grid_size, grid_size) that the head reads."""
        batch, length, _ = codes.latents.shape
        embedded = self.embed(codes.latents) + self.code_positions[:length]  # (B, N, D)
        masks = self.mask_token.expand(batch, self.grid_size**2, -1)
        class_token = self.class_token.expand(batch, -1, -1)
        picture = torch.cat([class_token, masks], dim=1) + self.positions  # (B, 1 + P, D)
        hidden = self.norm_in(torch.cat([picture, embedded], dim=1))
        seen = None  # by attention: the picture, and the codes that count
        if codes.valid is not None:
            seen = F.pad(codes.valid, (picture.shape[1], 0), value=True)[:, None, None]  # (B, heads, L, L)
        for block in self.blocks:
            hidden = block(hidden, seen)
        hidden = self.norm_out(hidden[:, 1 : 1 + self.grid_size**2])  # (B, P, D)
        return to_map(hidden, self.grid_size, self.grid_size)


class PixelHead(nn.Module):
    """A linear map to the pixels of each patch, then one 3x3 conv over the whole image, which mends the seams.

    Shapes:
        hidden (B, D, h, w) -> images (B, 3, h * patch_size, w * patch_size)
    """

    def __init__(self, width: int, patch_size: int):
        super().__init__()
        self.patch_size = patch_size
        self.to_patch = nn.Conv2d(width, 3 * patch_size**2, 1)
        self.smooth = nn.Conv2d(3, 3, 3, padding=1)
        # an untrained head paints mid-grey and passes the patches on: training starts about 5 dB better
        nn.init.normal_(self.to_patch.weight, std=0.1 * width**-0.5)
        nn.init.dirac_(self.smooth.weight)
        nn.init.constant_(self.smooth.bias, 0.5)  # type: ignore[arg-type]

    def forward(self, hidden: Tensor) -> Tensor:
        return self.smooth(unpatchify(self.to_patch(hidden), self.patch_size))


class CodeLogitsHead(nn.Module):
    """Logits over another tokenizer's codebook, per patch: 1x1 conv, tanh, 1x1 conv.

    Shapes:
        hidden (B, D, h, w) -> logits (B, codebook_size, h, w)
    """

    def __init__(self, width: int, codebook_size: int):
        super().__init__()
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.to_logits = nn.Conv2d(2 * width, codebook_size, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.to_logits(self.expand(hidden).tanh())
