"""Learned queries that come in rounds. B batch, P patches, N queries per round, R rounds, D width, C code_dim."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.patches import to_tokens
from tokzoo.layers.transformer import TransformerBlock
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Sequence


class Rollout(NamedTuple):
    """Where the rounds stand: `hidden` (B, 1 + P + n * N, D) once n of them began; `base` (B, P, E), if any."""

    hidden: Tensor
    base: Tensor | None


class RecurrentQueryEncoder(Encoder):
    """One ViT that runs R times over the picture and ever more queries: each round refines all and adds N.

    ALIT, arXiv:2411.02393, section 3.

    Args:
        base: encoder whose features of each patch the picture holds before the pixels; None: pixels alone.
        base_dim: E, their channels.
        image_size, patch_size: pixels per side of the square image, of a patch.
        round_tokens: N.
        num_rounds: R.
        width, depth, num_heads: of the transformer.
        code_dim: channels out.

    Shapes:
        images (B, 3, image_size, image_size) in [0, 1] -> latents (B, n * N, C) after n rounds; aux `base` (B, P, E)
    """

    def __init__(
        self,
        *,
        base: Encoder | None,
        base_dim: int,
        image_size: int,
        patch_size: int,
        round_tokens: int,
        num_rounds: int,
        width: int,
        depth: int,
        num_heads: int,
        code_dim: int,
    ):
        super().__init__()
        self.num_rounds = num_rounds
        self.num_patches = (image_size // patch_size) ** 2
        self.base = base
        self.patch_embed = nn.Conv2d(3, width - base_dim, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.empty(1, width))
        self.positions = nn.Parameter(torch.empty(self.num_patches + 1, width))  # row 0 is the class token's
        self.settled_token = nn.Parameter(torch.empty(1, 1, width))
        self.queries = nn.Parameter(torch.empty(round_tokens, width))
        self.query_positions = nn.Parameter(torch.empty(round_tokens, width))
        self.round_embeddings = nn.Parameter(torch.empty(num_rounds, round_tokens, width))
        self.norm_in = nn.LayerNorm(width)
        self.norm_round = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(TransformerBlock(width, num_heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.to_code = nn.Linear(width, code_dim)
        for parameter in self.parameters(recurse=False):
            nn.init.normal_(parameter, std=width**-0.5)

    def forward(self, images: Tensor, *, num_rounds: int | None = None, **base_options: Any) -> Features:
        """The rounds without looking between them at what comes out; `base_options` go to the base encoder."""
        rollout = self.begin(images, **base_options)
        for number in range(num_rounds or self.num_rounds):
            rollout = self.turn(rollout if not number else self.add_queries(rollout, number))
        return self.read(rollout)

    def begin(self, images: Tensor, **base_options: Any) -> Rollout:
        """The picture and the first queries."""
        picture, base = to_tokens(self.patch_embed(images)), None  # (B, P, D - E)
        if self.base is not None:
            base = self.base(images, **base_options).latents
            picture = torch.cat([base, picture], dim=-1)  # (B, P, D)
        class_token = self.class_token.expand(len(images), -1, -1)
        picture = torch.cat([class_token, F.normalize(picture, dim=-1)], dim=1) + self.positions
        return Rollout(self.norm_in(torch.cat([picture, self._new_queries(picture, 0)], dim=1)), base)

    def turn(self, rollout: Rollout) -> Rollout:
        """A run through the transformer."""
        hidden = rollout.hidden
        for block in self.blocks:
            hidden = block(hidden)
        return rollout._replace(hidden=hidden)

    def read(self, rollout: Rollout) -> Features:
        """What the queries say after a turn."""
        latents = self.to_code(self.norm_out(rollout.hidden[:, 1 + self.num_patches :]))
        aux = {} if rollout.base is None else {"base": rollout.base}
        return Features(latents, Sequence(latents.shape[1]), aux=aux)

    def settle(self, rollout: Rollout, settled: Tensor) -> Rollout:
        """Blanks the patches that are told well enough, `settled` (B, P), so that later rounds look at the others."""
        hidden = rollout.hidden
        class_token, picture, queries = hidden.tensor_split((1, 1 + self.num_patches), dim=1)
        blank = (self.settled_token + self.positions[1:]).to(hidden)
        picture = torch.where(settled.unsqueeze(-1), blank, picture)
        return rollout._replace(hidden=torch.cat([class_token, picture, queries], dim=1))

    def add_queries(self, rollout: Rollout, number: int) -> Rollout:
        """N fresh queries for round `number`, from 1 on."""
        hidden = torch.cat([rollout.hidden, self._new_queries(rollout.hidden, number)], dim=1)
        return rollout._replace(hidden=self.norm_round(hidden))

    def _new_queries(self, like: Tensor, number: int) -> Tensor:
        return (self.queries + self.query_positions + self.round_embeddings[number]).expand(len(like), -1, -1)
