"""VQGAN, arXiv:2012.09841: the convolutional grid tokenizer that most later ones start from."""

from tokzoo.decoders.ldm_cnn import LdmCnnDecoder
from tokzoo.encoders.ldm_cnn import LdmCnnEncoder
from tokzoo.quantizers.gumbel import GumbelQuantizer
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.on_grid import GridTokenizer, cnn_sizes
from tokzoo.tokenizers.vqgan.config import VqganConfig


class Vqgan(GridTokenizer):
    """One token per f x f pixels, row-major; the nearest codebook row, or the likeliest one of the Gumbel variant."""

    photo_protocol = "opencv"

    def __init__(self, config: VqganConfig):
        super().__init__(config)
        self.encoder = LdmCnnEncoder(**cnn_sizes(config))
        self.quantizer = (GumbelQuantizer if config.gumbel else VectorQuantizer)(config.codebook_size, config.code_dim)
        self.decoder = LdmCnnDecoder(**cnn_sizes(config))
