"""Nearest-neighbour vector quantization. B batch, L tokens, C code_dim, K codebook_size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.precision import without_autocast
from tokzoo.parts import Quantizer
from tokzoo.quantizers.nearest import nearest_rows
from tokzoo.tokens import Layout, Quantized


class VectorQuantizer(Quantizer):
    """Each token becomes its nearest codebook row. VQ-VAE, arXiv:1711.00937, section 3.2.

    Args:
        codebook_size: K.
        code_dim: C.
        normalize: tokens and rows are compared, and rows returned, at unit length (cosine lookup, arXiv:2110.04627,
            section 3.2); the stored codebook is not normalised.

    Shapes:
        latents (B, L, C) of any float dtype -> codes (B, L, C) float32, indices (B, L) int64 in [0, K)

    Gradients pass straight through to the latents. Losses, unweighted means: `commitment_loss` pulls latents to their
    codes, `codebook_loss` codes to latents.

    Raises:
        ValueError: latents of another width.
    """

    def __init__(self, codebook_size: int, code_dim: int, *, normalize: bool = False):
        super().__init__()
        self.code_dim = code_dim
        self.normalize = normalize
        self.codebook = nn.Parameter(torch.empty(codebook_size, code_dim))
        if normalize:
            nn.init.normal_(self.codebook)
        else:
            nn.init.uniform_(self.codebook, -1 / codebook_size, 1 / codebook_size)

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot: one slot of K."""
        return (len(self.codebook),)

    def rows(self) -> Tensor:
        """The codebook as it is compared and returned, float32 (K, C)."""
        codebook = self.codebook.float()
        return F.normalize(codebook, dim=-1) if self.normalize else codebook

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        if latents.shape[-1] != self.code_dim:
            raise ValueError(f"this codebook has {self.code_dim} channels; got latents {tuple(latents.shape)}")
        with without_autocast(latents.device):
            latents = latents.float()
            if self.normalize:
                latents = F.normalize(latents, dim=-1)
            rows = self.rows()
            indices = nearest_rows(latents.detach().flatten(0, -2), rows.detach()).view(latents.shape[:-1])
            codes = F.embedding(indices, rows)
            losses = {
                "commitment_loss": F.mse_loss(latents, codes.detach()),
                "codebook_loss": F.mse_loss(codes, latents.detach()),
            }
            straight_through = latents + (codes - latents).detach()
        return Quantized(straight_through, indices, None, losses)

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L) -> codes (B, L, C) float32."""
        return F.embedding(indices, self.rows())
