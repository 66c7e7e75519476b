"""A ViT that fills a grid of mask tokens from a row of codes. B batch, P patches, N tokens, D width, C code_dim."""

from typing import Any

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

    def fill(self, codes: Features, guide: Tensor | None = None) -> Tensor:
        """Codes -> the map (B, D, grid_size, grid_size) that the head reads; `guide` (B, T, D) is read beside them."""
        batch, length, _ = codes.latents.shape
        embedded = self.embed(codes.latents) + self.code_positions[:length]  # (B, N, D)
        masks = self.mask_token.expand(batch, self.grid_size**2, -1)
        class_token = self.class_token.expand(batch, -1, -1)
        picture = torch.cat([class_token, masks], dim=1) + self.positions  # (B, 1 + P, D)
        read = [picture, embedded] if guide is None else [picture, embedded, guide]
        seen = None  # by attention: all but the codes that do not count
        if codes.valid is not None:
            around = (picture.shape[1], 0 if guide is None else guide.shape[1])
            seen = F.pad(codes.valid, around, value=True)[:, None, None]  # (B, heads, L, L)
        hidden = self.norm_in(torch.cat(read, dim=1))
        for block in self.blocks:
            hidden = block(hidden, seen)
        hidden = self.norm_out(hidden[:, 1 : 1 + self.grid_size**2])  # (B, P, D)
        return to_map(hidden, self.grid_size, self.grid_size)


class TextMaskTokenDecoder(MaskTokenDecoder):
    """The same, guided by text: its features, projected, follow the codes. TA-TiTok, arXiv:2501.07730, section 3.2.

    Args:
        text_length: T, tokens of text.
        text_dim: E, channels of a text feature.
        sizes: of `MaskTokenDecoder`.

    Shapes:
        codes (B, n <= N, C), text (B, T, E) -> what `head` returns
    """

    def __init__(self, *, text_length: int, text_dim: int, **sizes: Any):
        super().__init__(**sizes)
        width = self.embed.out_features
        self.embed_text = nn.Linear(text_dim, width)
        self.text_positions = nn.Parameter(torch.empty(text_length, width))
        nn.init.normal_(self.text_positions, std=width**-0.5)

    def forward(self, codes: Features, *, text: Tensor) -> Tensor:  # type: ignore[override]
        return self.head(self.fill(codes, self.embed_text(text) + self.text_positions))


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
