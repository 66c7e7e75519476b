"""MaskGIT's VQGAN, arXiv:2202.04200: a convolutional grid tokenizer, and the pixel decoder of TiTok's first models."""

from typing import Any

from tokzoo.decoders.maskgit_cnn import MaskgitCnnDecoder
from tokzoo.encoders.maskgit_cnn import MaskgitCnnEncoder
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.maskgit_vqgan.config import MaskgitVqganConfig
from tokzoo.tokens import Grid, TokenSpec


def cnn_sizes(config: MaskgitVqganConfig) -> dict[str, Any]:
    """What the encoder's and the decoder's constructors take."""
    return dict(
        width=config.width,
        multipliers=config.multipliers,
        num_blocks=config.num_blocks,
        code_dim=config.code_dim,
        num_middle_blocks=config.num_middle_blocks,
    )


class MaskgitVqgan(VisualTokenizer):
    """A grid of tokens, one per `downsample` x `downsample` pixels; any size that is a multiple of it."""

    def __init__(self, config: MaskgitVqganConfig):
        super().__init__(config)
        sizes = cnn_sizes(config)
        self.encoder = MaskgitCnnEncoder(**sizes)
        self.quantizer = VectorQuantizer(config.codebook_size, config.code_dim)
        self.decoder = MaskgitCnnDecoder(**sizes)

    @property
    def multiple_of(self) -> int:
        return int(self.config.downsample)

    @property
    def token_spec(self) -> TokenSpec:
        side = self.config.image_size // self.config.downsample
        return TokenSpec(
            layout=Grid(side, side),
            levels=self.quantizer.levels,
            channels=self.config.code_dim,
            lengths=(1, side**2),
        )
