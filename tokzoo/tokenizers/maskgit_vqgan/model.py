"""MaskGIT's VQGAN, arXiv:2202.04200: a convolutional grid tokenizer, and the pixel decoder of TiTok's first models."""

from typing import Any

from tokzoo.decoders.maskgit_cnn import MaskgitCnnDecoder
from tokzoo.encoders.maskgit_cnn import MaskgitCnnEncoder
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.maskgit_vqgan.config import MaskgitVqganConfig
from tokzoo.tokenizers.on_grid import GridTokenizer


def cnn_sizes(config: MaskgitVqganConfig) -> dict[str, Any]:
    """What the encoder's and the decoder's constructors take alike."""
    names = ("width", "multipliers", "num_blocks", "code_dim", "num_middle_blocks")
    return {name: getattr(config, name) for name in names}


class MaskgitVqgan(GridTokenizer):
    """One token per f x f pixels, row-major; the nearest of `codebook_size` rows."""

    def __init__(self, config: MaskgitVqganConfig):
        super().__init__(config)
        self.encoder = MaskgitCnnEncoder(**cnn_sizes(config))
        self.quantizer = VectorQuantizer(config.codebook_size, config.code_dim)
        self.decoder = MaskgitCnnDecoder(**cnn_sizes(config))
