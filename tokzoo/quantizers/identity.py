"""No bottleneck: tokens are the encoder's own vectors. B batch, L tokens, C channels."""

import torch
from torch import Tensor

from tokzoo.parts import Quantizer
from tokzoo.tokens import Layout, Quantized


class IdentityBottleneck(Quantizer):
    """Continuous tokens as they come, neither drawn nor rounded.

    Args:
        code_dim: C, channels of a token.

    Shapes:
        latents (B, L, C) -> codes (B, L, C), float32; no indices, no losses

    Raises:
        ValueError: latents of another width.
    """

    def __init__(self, code_dim: int):
        super().__init__()
        self.code_dim = code_dim

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        if latents.shape[-1] != self.code_dim:
            raise ValueError(f"tokens have {self.code_dim} channels; got latents {tuple(latents.shape)}")
        return Quantized(latents.float(), None, None, {})
