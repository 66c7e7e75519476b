"""Codes drawn from a categorical distribution each. B batch, L tokens, C code_dim, K codebook_size."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.precision import without_autocast
from tokzoo.losses.entropy import Entropy
from tokzoo.parts import Quantizer, check_indices, check_width
from tokzoo.tokens import Layout, Quantized


class GumbelQuantizer(Quantizer):
    """Logits over the codebook; training draws by Gumbel noise and a softmax. arXiv:1611.01144; VQGAN, DALL-E's dVAE.

    Args:
        codebook_size, code_dim: K, C of the table.
        temperature: of the softmax; set the attribute to anneal it.
        hard: draws are single rows, with the gradient of the softmax's average; else that average.

    Shapes:
        latents (B, L, K), logits -> codes (B, L, C) float32, indices (B, L)

    Without `sample` the index is the greatest logit's: the published VQGAN draws there, too.

    Losses: `kl_loss`, of the distribution to the uniform one, nats a token.
    """

    draws = True

    def __init__(self, codebook_size: int, code_dim: int, *, temperature: float = 1.0, hard: bool = True):
        super().__init__()
        if codebook_size < 1 or temperature <= 0:
            raise ValueError(f"needs a row and a temperature above 0; got {codebook_size}, {temperature}")
        self.code_dim = code_dim
        self.temperature = temperature
        self.hard = hard
        self.codebook = nn.Parameter(torch.randn(codebook_size, code_dim))

    @property
    def latent_dim(self) -> int:
        """Logits: one a row."""
        return len(self.codebook)

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot: one slot of K."""
        return (len(self.codebook),)

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
            logits, rows = latents.float(), self.codebook.float()
            shares = logits.log_softmax(-1)
            divergence = (shares.exp() * (shares + math.log(len(rows)))).sum(-1)
            losses = {"kl_loss": divergence.mean() if divergence.numel() else divergence.sum()}
            if sample:
                noise = -torch.empty_like(logits).exponential_(generator=generator).log()
                logits = logits + noise
            indices = logits.argmax(-1)
            soft = (logits / self.temperature).softmax(-1)
            if sample and not self.hard:
                return Quantized(soft @ rows, indices, None, losses)
            mixed = soft @ rows.detach()
            return Quantized(F.embedding(indices, rows) + (mixed - mixed.detach()), indices, None, losses)

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L) -> codes (B, L, C) float32."""
        check_indices(indices, self.levels)
        return F.embedding(indices, self.codebook.float())

    def entropy(self, latents: Tensor) -> Entropy:
        """Of the distribution that is drawn from."""
        shares = latents.float().flatten(0, -2).log_softmax(-1)
        mean = shares.exp().mean(0)
        return Entropy(-(shares.exp() * shares).sum(-1).mean(), -torch.xlogy(mean, mean).sum())
