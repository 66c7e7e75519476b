"""Index backpropagation quantization. B batch, L tokens, N tokens in all, C code_dim, K codebook_size."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.precision import without_autocast
from tokzoo.losses.entropy import CHUNK_VALUES, Entropy, codebook_entropy
from tokzoo.parts import check_width, mean_square
from tokzoo.quantizers.nearest import best_rows
from tokzoo.quantizers.vector import ENTROPY_TEMPERATURE, VectorQuantizer
from tokzoo.tokens import Layout, Quantized


class IndexBackpropQuantizer(VectorQuantizer):
    """The row of the greatest inner product, with the gradient of a softmax over all. IBQ, arXiv:2412.02692, 3.2.

    codes = (hard + soft - sg(soft)) E for the one-hot choice `hard` and `soft` = softmax(latents E'), so that every row
    learns from every token. Neither is ever held as (N, K): the softmax is made in pieces when gradients are.

    Args:
        codebook_size, code_dim: K, C.

    Losses: `index_loss`, mean square distance of latents and codes with the gradient above; `commitment_loss` and
    `codebook_loss` as `VectorQuantizer`.
    """

    def __init__(self, codebook_size: int, code_dim: int):
        super().__init__(codebook_size, code_dim)

    def _fill(self, codebook: Tensor) -> None:
        nn.init.uniform_(codebook, -1 / self.codebook_size, 1 / self.codebook_size)

    def assign(self, points: Tensor, rows: Tensor) -> Tensor:
        return best_rows(points, rows)

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        check_width(self, latents)
        with without_autocast(latents.device):
            points, rows = latents.float(), self.rows()
            flat = points.flatten(0, -2)
            indices = self.assign(flat.detach(), rows.detach())
            codes = _IndexBackprop.apply(flat, rows, indices).view_as(points)
            losses = self._losses(points, F.embedding(indices, rows).view_as(points))
            losses["index_loss"] = mean_square(codes - points)
            return Quantized(codes, indices.view(latents.shape[:-1]), None, losses)

    def entropy(self, latents: Tensor) -> Entropy:
        """Of a softmax over the inner products at temperature 0.01."""
        with without_autocast(latents.device):
            return codebook_entropy(latents.float().flatten(0, -2), self.rows() / ENTROPY_TEMPERATURE)


class _IndexBackprop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, rows: Tensor, indices: Tensor) -> Tensor:
        ctx.save_for_backward(points, rows, indices)
        return F.embedding(indices, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        points, rows, indices = ctx.saved_tensors
        to_rows = torch.zeros_like(rows).index_add_(0, indices, gradient)  # of the hard choice
        to_points = torch.empty_like(points)
        chunk = max(1, CHUNK_VALUES // len(rows))
        for start in range(0, len(points), chunk):
            part = slice(start, start + chunk)
            soft = (points[part] @ rows.t()).softmax(-1)
            slope = gradient[part] @ rows.t()  # d loss / d soft
            slope -= (soft * slope).sum(-1, keepdim=True)
            slope *= soft  # d loss / d logits
            to_points[part] = slope @ rows
            to_rows.addmm_(slope.t(), points[part])
        return to_points, to_rows, None
