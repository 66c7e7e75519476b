"""Channels coded one by one. B batch, L tokens, C channels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo.layers.precision import KeepsFloat32
from tokzoo.parts import Quantizer, check_indices, check_width, mean_square
from tokzoo.quantizers.through import straight_through
from tokzoo.tokens import Layout, Quantized


class ChannelWiseQuantizer(KeepsFloat32, Quantizer):
    """Base: every channel of a trained latent has a slot of its own. A subclass says which values there are.

    Shapes:
        latents (B, L, C) of any float dtype -> codes (B, L, C) float32, indices (B, L, C), or (B, L) of one channel

    Gradients pass straight through; `commitment_loss` is the mean square distance to the code.
    """

    def nearest(self, points: Tensor) -> Tensor:
        """Float32 latents (B, L, C) -> the level of each channel, int64 (B, L, C)."""
        raise TypeError(f"{type(self).__name__} must define nearest")

    def values_at(self, slots: Tensor) -> Tensor:
        """Levels (B, L, C) -> values, float32 (B, L, C)."""
        raise TypeError(f"{type(self).__name__} must define values_at")

    @torch.no_grad()
    def index(self, latents: Tensor, layout: Layout | None = None) -> Tensor:
        found = self.nearest(latents.float())
        return found.squeeze(-1) if self.code_dim == 1 else found

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        check_width(self, latents)
        indices = self.index(latents)
        points, codes = latents.float(), self._codes(indices)
        losses = {"commitment_loss": mean_square(points - codes)}
        return Quantized(straight_through(points, codes), indices, None, losses)

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L, C), or (B, L) of one channel -> codes (B, L, C) float32."""
        check_indices(indices, self.levels or ())
        return self._codes(indices)

    def _codes(self, indices: Tensor) -> Tensor:
        return self.values_at(indices.unsqueeze(-1) if self.code_dim == 1 else indices)


def count_below(points: Tensor, borders: Tensor) -> Tensor:
    """How many borders lie below each point: points (..., C), borders (K,) or one row a channel (C, K), -> int64.

    Borders ascend. All points halve their range together, in log2 K passes: `torch.searchsorted` goes point by point,
    and a processor guesses half of its branches wrong.
    """
    passes = borders.shape[-1].bit_length()
    room = max(1, 2**passes - 1)
    rows = F.pad(borders, (0, room - borders.shape[-1]), value=torch.inf)
    first = torch.arange(rows.numel() // room, device=points.device, dtype=torch.int32) * room  # of each row
    table, values = rows.flatten(), points.flatten()
    found = first.repeat(len(values) // len(first))
    middle = torch.empty_like(values, dtype=table.dtype)
    above = torch.empty_like(found)  # comparing into integers is three times as fast as into booleans
    for each in reversed(range(passes)):
        torch.index_select(table[2**each - 1 :], 0, found, out=middle)
        found.add_(torch.gt(values, middle, out=above), alpha=2**each)
    return found.view(points.shape).sub_(first).long()
