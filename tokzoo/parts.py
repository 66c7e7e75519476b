"""The three parts of a tokenizer, as types. B batch, L tokens, C channels, H W pixels.

A part is a module of its own: it takes numbers, knows neither the other two nor the tokenizer that uses it.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tokzoo.tokens import Features, Layout, Quantized

if TYPE_CHECKING:
    from tokzoo.losses.entropy import Entropy


class Encoder(nn.Module):
    """Images (B, 3, H, W), and whatever the system is conditioned on, to `Features`."""

    __call__: Callable[..., Features]


class Decoder(nn.Module):
    """`Features` whose latents are codes to images; decoders that draw take `noise` or a `generator`.

    Where the codes lie, which count and how large the picture is to be come with them.
    """

    __call__: Callable[..., Tensor]
    draws = False  # whether it is called with `noise` and `generator`


class Quantizer(nn.Module):
    """Latents (B, L, C) to `Quantized`, and back from indices. A continuous bottleneck has no levels and no `decode`.

    `forward(latents, layout=None, *, sample=False, generator=None)`; it computes in float32.
    """

    __call__: Callable[..., Quantized]
    code_dim: int
    draws = False  # whether training is on draws: `sample=True`

    @property
    def latent_dim(self) -> int:
        """Width of the latents that it takes; `code_dim` is the width of what it gives."""
        return self.code_dim

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
        """Indices (B, L) or (B, L, D) -> codes (B, L, C), float32, with gradients to what the codes are made of."""
        raise TypeError(f"{type(self).__name__} has no indices")

    def index(self, latents: Tensor, layout: Layout | None = None) -> Tensor:
        """Latents -> the indices alone, without gradients: what quantizers that are made of others call."""
        with torch.no_grad():
            indices = self(latents, layout).indices
        if indices is None:
            raise TypeError(f"{type(self).__name__} has no indices")
        return indices

    def learn(self, latents: Tensor, indices: Tensor) -> None:
        """Takes in what was assigned in a training step, where codes learn by other means than gradients."""

    def entropy(self, latents: Tensor) -> "Entropy":
        """How sure each token is of its code, and how evenly the codes are used, with gradients."""
        raise TypeError(f"{type(self).__name__} has no entropy term; set its weight to 0")


# --- what quantizers check and measure alike -------------------------------------------------------------------------


def check_width(quantizer: Quantizer, latents: Tensor) -> None:
    """Raises ValueError unless `latents` (B, L, C) are as wide as the quantizer takes."""
    if latents.ndim != 3 or latents.shape[-1] != quantizer.latent_dim:
        raise ValueError(
            f"{type(quantizer).__name__} takes latents (B, L, C) of {quantizer.latent_dim} channels; "
            f"got {tuple(latents.shape)}"
        )


def check_indices(indices: Tensor, levels: tuple[int, ...]) -> None:
    """Raises ValueError unless every slot's indices (B, L) or (B, L, D) are in [0, levels[slot])."""
    slots = 1 if indices.ndim == 2 else indices.shape[-1]
    if slots != len(levels) or indices.ndim not in (2, 3):
        shape = "(B, L)" if len(levels) == 1 else f"(B, L, {len(levels)})"
        raise ValueError(f"indices must be {shape}; got {tuple(indices.shape)}")
    if torch.compiler.is_compiling() or indices.device.type == "meta" or not indices.numel():
        return
    rows = indices.reshape(-1, slots)
    bad = (rows < 0) | (rows >= rows.new_tensor(levels))
    if bool(bad.any()):
        slot = int(bad.any(0).nonzero()[0])
        worst = rows[:, slot][bad[:, slot]][0].item()
        raise ValueError(
            f"{int(bad.sum())} of {rows.numel()} indices are out of range, {worst} in slot {slot} among them; "
            f"allowed are 0 to {' / '.join(str(level - 1) for level in levels)}. Is a vocabulary offset still in them?"
        )


def mean_square(difference: Tensor) -> Tensor:
    """Mean of squares; 0 of an empty batch, which some process of several may hold."""
    return difference.square().mean() if difference.numel() else difference.sum()
