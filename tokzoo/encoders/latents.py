"""Another model's latents as features. B batch, L tokens, C channels."""

import torch
from torch import Tensor

from tokzoo.layers.latent_scale import LatentScale
from tokzoo.parts import Encoder, Quantizer
from tokzoo.tokens import Features


class LatentsEncoder(Encoder):
    """What another model reads of a continuous tokenizer: its codes, or a draw of them, scaled.

    Args:
        encoder, bottleneck: of the tokenizer, e.g. a variational autoencoder's and its `GaussianBottleneck`.
        scale: of the codes.

    Shapes:
        images (B, 3, H, W) -> latents (B, L, C), as the encoder lays them
    """

    def __init__(self, encoder: Encoder, bottleneck: Quantizer, scale: LatentScale):
        super().__init__()
        self.encoder = encoder
        self.bottleneck = bottleneck
        self.scale = scale

    def forward(self, images: Tensor, *, sample: bool = False, generator: torch.Generator | None = None) -> Features:
        features = self.encoder(images)
        codes = self.bottleneck(features.latents, features.layout, sample=sample, generator=generator).codes
        return features._replace(latents=self.scale(codes.to(images.dtype)))
