"""Two or more codebooks under one index. B batch, L tokens, C channels, K codebook_size."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.quantizers.through import Through, straight_through
from tokzoo.quantizers.vector import VectorQuantizer


class SharedIndexQuantizer(VectorQuantizer):
    """One index addresses a row in each of several tables, as their weighted distances choose. TokenFlow, 2412.03069.

    Channels are cut into consecutive parts, each compared at unit length with its own table, and the squared distances
    are added. A code is the parts' unit rows side by side.

    Args:
        codebook_size: K of every table.
        code_dims: width of each part (semantic 32, pixels 8).
        weights: of the parts' squared distances; None: 1 each.

    Shapes:
        latents (B, L, sum of code_dims) -> codes (B, L, sum), indices (B, L)

    Losses as `VectorQuantizer`, over the unit parts.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dims: Sequence[int],
        *,
        weights: Sequence[float] | None = None,
        through: Through = straight_through,
    ):
        self.code_dims = list(code_dims)
        self.weights = [1.0] * len(self.code_dims) if weights is None else list(weights)
        if len(self.weights) != len(self.code_dims) or min(self.weights) < 0:
            raise ValueError(f"give one weight, 0 or more, for each of {len(self.code_dims)} parts; got {self.weights}")
        super().__init__(codebook_size, sum(self.code_dims), through=through)

    def _make_codebook(self) -> None:
        self.tables = nn.ParameterList(torch.randn(self.codebook_size, width) for width in self.code_dims)

    def rows(self) -> Tensor:
        return torch.cat([F.normalize(table.float(), dim=-1) for table in self.tables], dim=-1)

    def place(self, latents: Tensor) -> Tensor:
        parts = latents.float().split(self.code_dims, dim=-1)
        return torch.cat([F.normalize(part, dim=-1) for part in parts], dim=-1)

    def assign(self, points: Tensor, rows: Tensor) -> Tensor:
        if all(weight == 1 for weight in self.weights):
            return super().assign(points, rows)
        shares = zip(self.weights, self.code_dims, strict=True)
        scale = torch.cat([points.new_full((width,), weight**0.5) for weight, width in shares])
        return super().assign(points * scale, rows * scale)

    @torch.no_grad()
    def replace_rows(self, which: Tensor, rows: Tensor) -> None:
        for table, part in zip(self.tables, rows.split(self.code_dims, dim=-1), strict=True):
            table[which] = part.to(table)
