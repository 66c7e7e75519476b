"""Tiny autoencoders, github.com/madebyollin/taesd: distilled from large ones, they read and write the same latents.

The latents are those that a diffusion model sees, so the large model's scale and shift are in them already.
"""

from tokzoo.decoders.tiny_cnn import TinyCnnDecoder
from tokzoo.encoders.tiny_cnn import TinyCnnEncoder
from tokzoo.quantizers.identity import IdentityBottleneck
from tokzoo.tokenizers.on_grid import GridTokenizer
from tokzoo.tokenizers.taesd.config import TaesdConfig


class Taesd(GridTokenizer):
    """A grid of continuous tokens, one per 8 x 8 pixels."""

    def __init__(self, config: TaesdConfig):
        super().__init__(config)
        sizes = dict(width=config.width, num_blocks=config.num_blocks, code_dim=config.code_dim, pooled=config.pooled)
        self.encoder = TinyCnnEncoder(**sizes)  # type: ignore[arg-type]
        self.quantizer = IdentityBottleneck(config.code_dim)
        self.decoder = TinyCnnDecoder(**sizes)  # type: ignore[arg-type]
