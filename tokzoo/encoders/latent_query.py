"""A ViT whose learned queries read the picture. B batch, P patches, N tokens, D width, C code_dim."""

import torch
from torch import Tensor, nn

from tokzoo.layers.patches import to_tokens
from tokzoo.layers.transformer import TransformerBlock
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Sequence


class LatentQueryEncoder(Encoder):
    """One row of tokens from an image: patches and N learned queries share a ViT, only the queries speak.

    TiTok, arXiv:2406.07550, section 3.2 (and One-D-Piece, TA-TiTok).

    Args:
        image_size, patch_size: pixels per side of the square image, of a patch.
        num_tokens: N, queries per image.
        width, depth, num_heads: of the transformer.
        code_dim: channels out; a KL bottleneck asks for twice its own.
        scrambled: the legacy checkpoints project the memory of (N, D) read as (D, N), which mixes tokens with
            channels, where a transpose was meant. They need it.

    Shapes:
        images (B, 3, image_size, image_size) in [0, 1] -> latents (B, N, C)
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        num_tokens: int,
        width: int,
        depth: int,
        num_heads: int,
        code_dim: int,
        scrambled: bool = False,
    ):
        super().__init__()
        self.num_tokens = num_tokens
        self.scrambled = scrambled
        num_patches = (image_size // patch_size) ** 2
        self.patch_embed = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.empty(1, width))
        self.positions = nn.Parameter(torch.empty(num_patches + 1, width))  # row 0 is the class token's
        self.queries = nn.Parameter(torch.empty(num_tokens, width))
        self.query_positions = nn.Parameter(torch.empty(num_tokens, width))
        self.norm_in = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(TransformerBlock(width, num_heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.to_code = nn.Linear(width, code_dim)
        with torch.no_grad():  # an untrained encoder sees pixels around mid-grey, at about the scale of the positions
            self.patch_embed.weight.mul_(4)
            self.patch_embed.bias.copy_(-self.patch_embed.weight.sum((1, 2, 3)) / 2)  # type: ignore[union-attr]
        for parameter in (self.class_token, self.positions, self.queries, self.query_positions):
            nn.init.normal_(parameter, std=width**-0.5)

    def forward(self, images: Tensor) -> Features:
        batch = len(images)
        patches = to_tokens(self.patch_embed(images))  # (B, P, D)
        class_token = self.class_token.expand(batch, -1, -1)
        picture = torch.cat([class_token, patches], dim=1) + self.positions  # (B, 1 + P, D)
        queries = (self.queries + self.query_positions).expand(batch, -1, -1)  # (B, N, D)
        hidden = self.norm_in(torch.cat([picture, queries], dim=1))
        *blocks, final = self.blocks
        for block in blocks:
            hidden = block(hidden)
        hidden = self.norm_out(final(hidden, last=self.num_tokens))  # (B, N, D)
        if self.scrambled:
            hidden = hidden.reshape(batch, -1, self.num_tokens).transpose(1, 2)
        return Features(self.to_code(hidden), Sequence(self.num_tokens))
