"""Quantizers that do one thing more to another, whatever it is. B batch, L tokens, C channels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo.losses.entropy import Entropy
from tokzoo.parts import Quantizer
from tokzoo.tokens import Layout, Quantized


class WrappedQuantizer(Quantizer):
    """Base: all as `inner` has it. A subclass overrides `forward`.

    Args:
        inner: any discrete quantizer.

    Raises:
        TypeError: a continuous one.
    """

    def __init__(self, inner: Quantizer):
        super().__init__()
        if inner.levels is None:
            raise TypeError(f"{type(self).__name__} is for discrete quantizers; {type(inner).__name__} has no indices")
        self.inner = inner
        self.code_dim = inner.code_dim
        self.draws = inner.draws

    @property
    def latent_dim(self) -> int:
        return self.inner.latent_dim

    @property
    def levels(self) -> tuple[int, ...] | None:
        return self.inner.levels

    def token_layout(self, layout: Layout) -> Layout:
        return self.inner.token_layout(layout)

    def code_layout(self, layout: Layout) -> Layout:
        return self.inner.code_layout(layout)

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        return self.inner(latents, layout, sample=sample, generator=generator)

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        return self.inner.decode(indices, layout)

    def index(self, latents: Tensor, layout: Layout | None = None) -> Tensor:
        return self.inner.index(latents, layout)

    def learn(self, latents: Tensor, indices: Tensor) -> None:
        self.inner.learn(latents, indices)

    def entropy(self, latents: Tensor) -> Entropy:
        return self.inner.entropy(latents)


class UnitLatents(WrappedQuantizer):
    """Latents at unit length, then another quantizer: XQ-GAN's binary scales, arXiv:2412.01762."""

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        return self.inner(F.normalize(latents.float(), dim=-1), layout, sample=sample, generator=generator)

    def index(self, latents: Tensor, layout: Layout | None = None) -> Tensor:
        return self.inner.index(F.normalize(latents.float(), dim=-1), layout)

    def learn(self, latents: Tensor, indices: Tensor) -> None:
        self.inner.learn(F.normalize(latents.float(), dim=-1), indices)

    def entropy(self, latents: Tensor) -> Entropy:
        return self.inner.entropy(F.normalize(latents.float(), dim=-1))

    def place(self, latents: Tensor) -> Tensor:
        """Latents as they are compared, float32."""
        return placed(self.inner, F.normalize(latents.float(), dim=-1))


def placed(quantizer: Quantizer, latents: Tensor) -> Tensor:
    """Latents as a quantizer compares them with its codes, float32."""
    if isinstance(quantizer, WrappedQuantizer) and not isinstance(quantizer, UnitLatents):
        return placed(quantizer.inner, latents)
    place = getattr(quantizer, "place", None)
    return latents.float() if place is None else place(latents)


def unwrapped(quantizer: Quantizer) -> Quantizer:
    """The innermost one."""
    return unwrapped(quantizer.inner) if isinstance(quantizer, WrappedQuantizer) else quantizer
