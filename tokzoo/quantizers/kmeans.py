"""Codebooks that begin where the latents are. N points, C channels, K rows."""

import torch
from torch import Tensor

from tokzoo.parts import Quantizer
from tokzoo.quantizers.nearest import nearest_rows
from tokzoo.quantizers.ranks import draw_over_ranks, sum_over_ranks
from tokzoo.quantizers.revival import codebook_of
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.quantizers.wrapped import WrappedQuantizer
from tokzoo.tokens import Layout, Quantized


class KmeansStartQuantizer(WrappedQuantizer):
    """The first training batch's k-means centres become the codebook. SoundStream, arXiv:2107.03312, section III-C.

    Args:
        inner: a codebook whose rows can be replaced.
        iterations: of Lloyd's algorithm.

    The batch is that of all processes. Whether it has begun is in the state dict.

    Raises:
        TypeError: a quantizer without a codebook.
    """

    begun: Tensor

    def __init__(self, inner: Quantizer, *, iterations: int = 10):
        super().__init__(codebook_of(inner, "started by k-means"))
        self.draws = True
        self.iterations = iterations
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        if self.training and not bool(self.begun):
            inner: VectorQuantizer = self.inner  # type: ignore[assignment]
            points = inner.place(latents.detach()).flatten(0, 1)
            centres = kmeans(points, inner.codebook_size, iterations=self.iterations, generator=generator)
            inner.replace_rows(torch.arange(inner.codebook_size, device=centres.device), centres)
            self.begun.fill_(True)
        return super().forward(latents, layout, sample=sample, generator=generator)


@torch.no_grad()
def kmeans(points: Tensor, count: int, *, iterations: int = 10, generator: torch.Generator | None = None) -> Tensor:
    """Centres of k-means over the finite points of all processes; a centre that nothing is near to is drawn anew.

    Shapes:
        points (N, C), float32 -> (count, C)
    """
    points = points[points.isfinite().all(-1)]
    centres = draw_over_ranks(points, count, generator)
    for _ in range(iterations):
        nearest = nearest_rows(points, centres)
        counts = torch.bincount(nearest, minlength=count).to(points)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        sum_over_ranks(counts, sums)
        fresh = draw_over_ranks(points, count, generator)
        empty = (counts == 0).unsqueeze(-1)
        centres = torch.where(empty, fresh, sums / counts.clamp_min(1).unsqueeze(-1))
    return centres
