"""New places for codes that nothing is assigned to. B batch, L tokens, C code_dim."""

import torch
from torch import Tensor

from tokzoo.parts import Quantizer
from tokzoo.quantizers.ranks import draw_over_ranks, sum_over_ranks
from tokzoo.quantizers.usage import CodeUse
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.quantizers.wrapped import WrappedQuantizer
from tokzoo.tokens import Layout, Quantized


class RevivedQuantizer(WrappedQuantizer):
    """Every so many training steps, dead rows move onto latents of the batch. Jukebox, arXiv:2005.00341, section 3.1.

    Args:
        inner: a codebook whose rows can be replaced.
        every: steps between two revivals.

    A row is dead whose running use is below a fiftieth of the mean. The running use and the steps are in the state
    dict, and the same on all processes.

    Raises:
        TypeError: a quantizer without a codebook.
    """

    steps: Tensor

    def __init__(self, inner: Quantizer, *, every: int = 100):
        super().__init__(codebook_of(inner, "revived"))
        if every < 1:
            raise ValueError(f"every must be at least 1 step; got {every}")
        self.draws = True
        self.every = every
        self.use = CodeUse(inner.levels[0])  # type: ignore[index]
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        quantized: Quantized = super().forward(latents, layout, sample=sample, generator=generator)
        if self.training and quantized.indices is not None:
            self._count(latents, quantized.indices, generator)
        return quantized

    def learn(self, latents: Tensor, indices: Tensor) -> None:
        self.inner.learn(latents, indices)
        self._count(latents, indices, None)

    @torch.no_grad()
    def _count(self, latents: Tensor, indices: Tensor, generator: torch.Generator | None) -> None:
        inner: VectorQuantizer = self.inner  # type: ignore[assignment]
        counts = torch.bincount(indices.flatten(), minlength=inner.codebook_size)
        sum_over_ranks(counts)
        self.use.add(counts)
        self.steps += 1
        if int(self.steps) % self.every:
            return
        dead = self.use.dead()
        drawn = draw_over_ranks(inner.place(latents.detach()).flatten(0, 1), len(dead), generator)
        self.use.moved(inner, dead, drawn)


def codebook_of(quantizer: Quantizer, what: str) -> VectorQuantizer:
    """Raises TypeError unless the quantizer is a codebook whose rows can be replaced."""
    if not isinstance(quantizer, VectorQuantizer) or not quantizer.replaceable:
        raise TypeError(f"only a codebook with rows of its own can be {what}; got a {type(quantizer).__name__}")
    return quantizer
