"""Categorical codes drawn by the Gumbel trick. B batch, L tokens, C code_dim, K codebook_size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.precision import without_autocast
from tokzoo.losses.entropy import Entropy
from tokzoo.parts import Quantizer, check_indices
from tokzoo.tokens import Layout, Quantized


class GumbelQuantizer(Quantizer):
    """A linear map says a token's chances of each code; the likeliest is taken, or one is drawn. arXiv:1611.01144.

    The Gumbel VQGAN of arXiv:2012.09841 (after DALL-E's dVAE, arXiv:2102.12092). Its published `encode` draws even when
    it is evaluated; here that is `sample=True`.

    Args:
        codebook_size: K.
        code_dim: C, of codes and of the latents that the chances are told from.
        temperature: of the softmax through which gradients pass.

    Shapes:
        latents (B, L, C) of any float dtype -> codes (B, L, C) float32, indices (B, L) int64 in [0, K)

    Gradients are those of the softmax, straight through: every code's row and chance gets some. Losses: `kl_loss`, the
    divergence of the chances from even ones in nats, mean over tokens.

    Raises:
        ValueError: latents of another width.
    """

    draws = True

    def __init__(self, codebook_size: int, code_dim: int, *, temperature: float = 1.0):
        super().__init__()
        self.code_dim = code_dim
        self.temperature = temperature
        self.to_logits = nn.Linear(code_dim, codebook_size)
        self.codebook = nn.Parameter(torch.randn(codebook_size, code_dim))

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot: one slot of K."""
        return (len(self.codebook),)

    def logits(self, latents: Tensor) -> Tensor:
        """Latents (B, L, C) -> unnormalised log chances (B, L, K), float32."""
        if latents.shape[-1] != self.code_dim:
            raise ValueError(f"this codebook has {self.code_dim} channels; got latents {tuple(latents.shape)}")
        with without_autocast(latents.device):
            return F.linear(latents.float(), self.to_logits.weight.float(), self.to_logits.bias.float())

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        logits = self.logits(latents)
        with without_autocast(latents.device):
            log_chances = logits.log_softmax(-1)
            even = -torch.tensor(float(len(self.codebook))).log().item()
            kl_loss = (log_chances.exp() * (log_chances - even)).sum(-1).mean()
            if sample:
                uniform = torch.empty_like(logits).uniform_(generator=generator).clamp_min(1e-20)
                logits = logits - (-uniform.log()).log()  # Gumbel noise
            soft = (logits / self.temperature).softmax(-1)
            indices = logits.argmax(-1)
            codebook = self.codebook.float()
            codes = F.embedding(indices, codebook)
            mixed = soft @ codebook
            straight_through = mixed + (codes - mixed).detach()
        return Quantized(straight_through, indices, None, {"kl_loss": kl_loss})

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L) -> codes (B, L, C) float32."""
        check_indices(indices, self.levels)
        return F.embedding(indices, self.codebook.float())

    def entropy(self, latents: Tensor) -> Entropy:
        """Of the chances that are drawn from."""
        log_chances = self.logits(latents).flatten(0, -2).log_softmax(-1)
        mean = log_chances.exp().mean(0)
        return Entropy(-(log_chances.exp() * log_chances).sum(-1).mean(), -torch.xlogy(mean, mean).sum())
