"""Learned queries that know what error is asked for, and halt. B batch, P patches, T tokens, D width, C code_dim."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.patches import to_tokens
from tokzoo.layers.position_map import sample_positions
from tokzoo.layers.transformer import TransformerBlock
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Sequence

FINE = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.09, 0.1)
ERRORS = (*FINE, 0.12, 0.14, 0.16, 0.18, 0.2, 0.24, 0.28, 0.32, 0.38)  # mean absolute, in [0, 1]: each has an embedding
HALT = 0.75  # probability above which a token is dropped


class HaltingQueryEncoder(Encoder):
    """As many tokens as an image needs for a given error, in one pass: a budget of queries, of which some halt.

    A token of the asked error, the picture (another tokenizer's features and patches) and T queries share a ViT; each
    query gives a latent and the probability that it is not needed. KARL, arXiv:2507.07995, section 3.

    Args:
        base: encoder whose features of each patch the picture holds beside the pixels; None: pixels alone.
        base_dim: their channels.
        patch_size: pixels per side of a patch.
        num_tokens, max_tokens: the usual budget, and the greatest.
        position_side: side of the table of positions, from which those of a grid are taken.
        width, depth, num_heads: of the transformer.
        halting_width: of the hidden layer that says who halts.
        code_dim: channels out.

    Shapes:
        images (B, 3, H, W) in [0, 1] -> latents (B, T, C), valid (B, T): who did not halt, anywhere in the row;
        aux `halt_logits` (B, T), and `base` (B, P, base_dim) if there is one
    """

    def __init__(
        self,
        *,
        base: Encoder | None,
        base_dim: int,
        patch_size: int,
        num_tokens: int,
        max_tokens: int,
        position_side: int,
        width: int,
        depth: int,
        num_heads: int,
        halting_width: int,
        code_dim: int,
    ):
        super().__init__()
        self.num_tokens = num_tokens
        self.base = base
        self.patch_embed = nn.Conv2d(3, width - base_dim, patch_size, stride=patch_size)
        self.positions = nn.Parameter(torch.empty(width, position_side, position_side))
        self.queries = nn.Parameter(torch.empty(max_tokens, width))
        self.error_embeddings = nn.Parameter(torch.empty(len(ERRORS), width))
        self.norm_in = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(TransformerBlock(width, num_heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.to_code = nn.Linear(width, code_dim)
        self.norm_halt = nn.LayerNorm(width)
        self.halting = nn.Sequential(nn.Linear(width, halting_width), nn.Tanh(), nn.Linear(halting_width, 1))
        with torch.no_grad():  # an untrained encoder sees pixels around mid-grey, at about the scale of the positions
            self.patch_embed.weight.mul_(4)
            self.patch_embed.bias.copy_(-self.patch_embed.weight.sum((1, 2, 3)) / 2)  # type: ignore[union-attr]
            ladder = torch.linspace(-2, 2, len(ERRORS)).unsqueeze(1)  # errors that are near begin near
            self.error_embeddings.copy_(ladder * torch.randn(width) * width**-0.5)
        for parameter in (self.positions, self.queries):
            nn.init.normal_(parameter, std=width**-0.5)

    def forward(
        self,
        images: Tensor,
        *,
        num_tokens: int | None = None,
        max_error: float | Tensor = 0.05,
        **base_options: Any,
    ) -> Features:
        """`max_error` may be one for each image, (B,); `base_options` go to the base encoder."""
        num_tokens = num_tokens or self.num_tokens
        patches = self.patch_embed(images)  # (B, D - base_dim, h, w)
        picture, aux = to_tokens(patches), {}
        if self.base is not None:
            aux["base"] = self.base(images, **base_options).latents
            picture = torch.cat([picture, aux["base"]], dim=-1)  # (B, P, D)
        picture = picture + sample_positions(self.positions, *patches.shape[2:])
        asked = F.embedding(error_bin(max_error, images), self.error_embeddings).unsqueeze(1)  # (B, 1, D)
        queries = self.queries[:num_tokens].expand(len(images), -1, -1)  # (B, T, D)
        hidden = self.norm_in(torch.cat([asked, picture, queries], dim=1))
        *blocks, final = self.blocks
        for block in blocks:
            hidden = block(hidden)
        hidden = final(hidden, last=num_tokens)  # (B, T, D)
        aux["halt_logits"] = self.halting(self.norm_halt(hidden)).squeeze(-1).float()  # (B, T)
        latents = self.to_code(self.norm_out(hidden))  # (B, T, C)
        return Features(latents, Sequence(num_tokens), valid=aux["halt_logits"].sigmoid() <= HALT, aux=aux)


def error_bin(max_error: float | Tensor, images: Tensor) -> Tensor:
    """Index (B,) of the least of `ERRORS` that is at least `max_error`; of the last where it exceeds them all."""
    asked = torch.as_tensor(max_error, dtype=torch.float32, device=images.device).expand(len(images))
    return torch.bucketize(asked.contiguous(), torch.tensor(ERRORS, device=images.device)).clamp_max(len(ERRORS) - 1)
