"""Tiny autoencoders, github.com/madebyollin/taesd: distilled from large ones, they read and write the same latents.

The latents are those that a diffusion model sees, so the large model's scale and shift are in them already.
"""

from tokzoo.decoders.tiny_cnn import TinyCnnDecoder
from tokzoo.encoders.tiny_cnn import TinyCnnEncoder
from tokzoo.quantizers.identity import IdentityBottleneck
from tokzoo.tokenizers.on_grid import GridTokenizer
from tokzoo.tokenizers.taesd.config import TaesdConfig


class Taesd(GridTokenizer):
    """A grid of continuous tokens, one per 8 x 8 or 32 x 32 pixels."""

    def __init__(self, config: TaesdConfig):
        super().__init__(config)
        self.encoder = TinyCnnEncoder(
            width=config.width,
            num_blocks=config.num_blocks,
            code_dim=config.code_dim,
            pooled=config.pooled,
            stem=config.stem,
        )
        self.quantizer = IdentityBottleneck(config.code_dim)
        num_blocks = config.decoder_num_blocks or config.num_blocks
        self.decoder = TinyCnnDecoder(
            widths=config.decoder_widths or (config.width,) * len(num_blocks),
            num_blocks=num_blocks,
            code_dim=config.code_dim,
            pooled=config.pooled,
        )
