"""The three parts of a tokenizer, as types. B batch, L tokens, C channels, H W pixels.

A part is a module of its own: it takes numbers, knows neither the other two nor the tokenizer that uses it.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tokzoo.tokens import Features, Layout, Quantized


class Encoder(nn.Module):
    """Images (B, 3, H, W), and whatever the system is conditioned on, to `Features`."""

    __call__: Callable[..., Features]


class Decoder(nn.Module):
    """`Features` whose latents are codes to images; decoders that draw take `noise` or a `generator`.

    Where the codes lie, which count and how large the picture is to be come with them.
    """

    __call__: Callable[..., Tensor]


class Quantizer(nn.Module):
    """Latents (B, L, C) to `Quantized`, and back from indices. A continuous bottleneck has no levels and no `decode`.

    `forward(latents, layout=None, *, sample=False, generator=None)`; it computes in float32.
    """

    __call__: Callable[..., Quantized]
    code_dim: int

    @property
    def levels(self) -> tuple[int, ...] | None:
        """Values per slot of a token; None if tokens are continuous."""
        return None

    @property
    def bits_per_token(self) -> float | None:
        """Information in one token, sum of log2(levels)."""
        return None if self.levels is None else sum(math.log2(level) for level in self.levels)

    def token_layout(self, layout: Layout) -> Layout:
        """How the indices of latents on `layout` lie: the same, except where a vector is told by several scales."""
        return layout

    def code_layout(self, layout: Layout) -> Layout:
        """How the codes of indices on `layout` lie: the way back of `token_layout`."""
        return layout

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        raise TypeError(f"{type(self).__name__} must define forward")

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L) or (B, L, D) -> codes (B, L, C), float32."""
        raise TypeError(f"{type(self).__name__} has no indices")
