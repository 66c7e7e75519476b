"""The continuous bottleneck of a variational autoencoder. B batch, L tokens, C channels."""

import torch
from torch import Tensor

from tokzoo.parts import Quantizer
from tokzoo.tokens import Layout, Posterior, Quantized

LOGVAR_RANGE = (-30.0, 20.0)


class GaussianBottleneck(Quantizer):
    """A diagonal Gaussian per token, with the KL divergence to N(0, 1). arXiv:1312.6114, section 3 and appendix B.

    Args:
        code_dim: C, channels of a token; the latents hold 2C: mean, then log-variance (clamped to [-30, 20]).

    Shapes:
        latents (B, L, 2C) -> codes (B, L, C), float32: the mean, or a draw with `sample=True`; no indices

    Losses: `kl_loss`, the divergence in nats summed over a sample's tokens and channels, mean over the batch.
    """

    draws = True

    def __init__(self, code_dim: int):
        super().__init__()
        self.code_dim = code_dim

    @property
    def latent_dim(self) -> int:
        """Mean and log-variance."""
        return 2 * self.code_dim

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        if latents.shape[-1] != 2 * self.code_dim:
            raise ValueError(
                f"latents must hold {2 * self.code_dim} channels, mean and logvar; got {tuple(latents.shape)}"
            )
        mean, logvar = latents.float().chunk(2, dim=-1)
        posterior = Posterior(mean, logvar.clamp(*LOGVAR_RANGE))
        losses = {"kl_loss": divergence(posterior).sum((1, 2)).mean()}
        return Quantized(draw(posterior, generator) if sample else mean, None, posterior, losses)


def divergence(posterior: Posterior) -> Tensor:
    """KL(posterior || N(0, 1)) in nats, elementwise (B, L, C)."""
    return (posterior.mean.square() + posterior.logvar.exp() - 1 - posterior.logvar) / 2


def draw(posterior: Posterior, generator: torch.Generator | None = None, *, noise: Tensor | None = None) -> Tensor:
    """A sample of the posterior; `noise` (B, L, C) takes the place of the generator's draw."""
    if noise is None:
        noise = torch.empty_like(posterior.mean).normal_(generator=generator)
    return posterior.mean + (posterior.logvar / 2).exp() * noise
