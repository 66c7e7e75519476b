"""Bits drawn from a Bernoulli distribution each. B batch, L tokens, n bits, C code_dim, D slots."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tokzoo.layers.precision import without_autocast
from tokzoo.losses.entropy import Entropy, bit_entropy
from tokzoo.parts import Quantizer, check_indices, check_width
from tokzoo.quantizers.digits import Digits, slots_of
from tokzoo.quantizers.through import straight_through
from tokzoo.tokens import Layout, Quantized


class BernoulliQuantizer(Quantizer):
    """Bits with chances sigmoid(latents), drawn or rounded; a code is the sum of the rows of its set bits.

    The binary autoencoder of arXiv:2304.04820, section 3.1, as ELM (arXiv:2410.16257) uses it.

    Args:
        num_bits: n.
        code_dim: C, width of the table (n, C).
        slot_bits: bits per index, adding up to n; None: one index up to 63 bits, else groups of 8.

    Shapes:
        latents (B, L, n), logits -> codes (B, L, C) float32, indices (B, L) or (B, L, D)

    Channel 0 of a slot is its most significant bit. `sample=True` draws, as training does; else a chance above 1/2 is
    1. The gradient passes straight through to the chances.

    Losses: `commitment_loss`, mean of s (1 - s) for s the sigmoid of the chance, as published: a second sigmoid.
    """

    draws = True

    def __init__(self, num_bits: int, code_dim: int, *, slot_bits: Sequence[int] | None = None):
        super().__init__()
        if num_bits < 1:
            raise ValueError(f"a code needs a bit at least; got {num_bits}")
        self.code_dim = code_dim
        self.num_bits = num_bits
        self.table = nn.Parameter(torch.randn(num_bits, code_dim))
        self.digits = Digits([2] * num_bits, slot_bits or slots_of(num_bits), first_is_high=True)

    @property
    def latent_dim(self) -> int:
        """Logits: one a bit."""
        return self.num_bits

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot."""
        return self.digits.levels

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
            chances = latents.float().sigmoid()
            threshold = torch.full_like(chances, 0.5)
            if sample:
                threshold = torch.empty_like(chances).uniform_(generator=generator)
            bits = (chances.detach() > threshold).float()
            again = chances.sigmoid()
            loss = (again * (1 - again)).mean() if chances.numel() else chances.sum()
            codes = straight_through(chances, bits) @ self.table.float()
            return Quantized(codes, self.digits.pack(bits), None, {"commitment_loss": loss})

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L) or (B, L, D) -> codes (B, L, C) float32."""
        check_indices(indices, self.levels)
        with without_autocast(indices.device):
            return self.digits.unpack(indices).float() @ self.table.float()

    def entropy(self, latents: Tensor) -> Entropy:
        """Of the draw itself, exact, over all 2^n words."""
        return bit_entropy(latents.float().flatten(0, -2))
