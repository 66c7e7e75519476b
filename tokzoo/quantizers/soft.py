"""Codes that are averages of rows. B batch, L tokens, C code_dim, K codebook_size, G codebooks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.precision import without_autocast
from tokzoo.losses.entropy import Entropy, codebook_entropy
from tokzoo.parts import Quantizer, check_width
from tokzoo.quantizers.nearest import best_rows
from tokzoo.quantizers.vector import ENTROPY_TEMPERATURE, VectorQuantizer
from tokzoo.tokens import Layout, Quantized


class SoftVectorQuantizer(Quantizer):
    """The average of a codebook's rows, weighted by a softmax of their similarity. SoftVQ-VAE, arXiv:2412.10958, 3.2.

    The sequence is cut into G consecutive segments, each with a codebook of its own. The rows get gradients as what is
    averaged, not through the weights. Tokens are the averages: continuous, without indices.

    Args:
        codebook_size, code_dim: K, C.
        num_codebooks: G; it must divide the number of tokens.
        temperature: of the softmax.
        normalize: latents and rows at unit length, before both comparison and average.

    Shapes:
        latents (B, L, C) -> codes (B, L, C) float32, no indices; `nearest` gives those of the most similar rows (B, L)

    Raises:
        ValueError: a number of tokens that G does not divide.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        *,
        num_codebooks: int = 1,
        temperature: float = 0.07,
        normalize: bool = True,
    ):
        super().__init__()
        if codebook_size < 1 or num_codebooks < 1 or temperature <= 0:
            raise ValueError(
                f"needs rows, codebooks and a temperature above 0; got {codebook_size}, {num_codebooks}, {temperature}"
            )
        self.code_dim = code_dim
        self.num_codebooks = num_codebooks
        self.temperature = temperature
        self.normalize = normalize
        self.codebook = nn.Parameter(torch.randn(num_codebooks, codebook_size, code_dim))

    def rows(self) -> Tensor:
        """The codebooks as they are compared and averaged, float32 (G, K, C)."""
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
        check_width(self, latents)
        with without_autocast(latents.device):
            points, rows = self._segments(latents).unsqueeze(1), self.rows().unsqueeze(1)
            keys = rows.detach()  # attention over the rows: fused kernels never hold the (tokens x rows) weights
            codes = F.scaled_dot_product_attention(points, keys, rows, scale=1 / self.temperature).squeeze(1)
            return Quantized(self._joined(codes, latents.shape), None, None, {})

    @torch.no_grad()
    def nearest(self, latents: Tensor) -> Tensor:
        """Latents (B, L, C) -> index of the most similar row of each token's codebook, int64 (B, L)."""
        found = [best_rows(points, rows) for points, rows in zip(self._segments(latents), self.rows(), strict=True)]
        return self._joined(torch.stack(found).unsqueeze(-1), latents.shape).squeeze(-1)

    def entropy(self, latents: Tensor) -> Entropy:
        """Of a softmax over similarities at temperature 0.01, mean over the codebooks."""
        with without_autocast(latents.device):
            pairs = zip(self._segments(latents), self.rows(), strict=True)
            terms = [codebook_entropy(points, rows / ENTROPY_TEMPERATURE) for points, rows in pairs]
            return Entropy(*(torch.stack(term).mean() for term in zip(*terms, strict=True)))

    def _segments(self, latents: Tensor) -> Tensor:
        """(B, L, C) -> (G, B L/G, C), as they are compared."""
        if latents.shape[1] % self.num_codebooks:
            raise ValueError(
                f"{latents.shape[1]} tokens do not fall into {self.num_codebooks} segments of equal length"
            )
        points = latents.float()
        points = F.normalize(points, dim=-1) if self.normalize else points
        length = latents.shape[1] // self.num_codebooks
        return points.unflatten(1, (self.num_codebooks, length)).transpose(0, 1).flatten(1, 2)

    def _joined(self, segments: Tensor, shape: torch.Size) -> Tensor:
        length = shape[1] // self.num_codebooks
        return segments.unflatten(1, (shape[0], length)).transpose(0, 1).flatten(1, 2)


def soft_codes(quantizer: VectorQuantizer, logits: Tensor, *, sharpness: float = 1.0) -> Tensor:
    """Codes of uncertain indices: the rows' mean under softmax(sharpness logits). AiT, arXiv:2301.02229, section 3.3.

    Shapes:
        logits (B, L, K) -> (B, L, C) float32
    """
    with without_autocast(logits.device):
        return (logits.float() * sharpness).softmax(-1) @ quantizer.rows()
