"""VQGAN, arXiv:2012.09841: the convolutional grid tokenizer that most later ones start from."""

from torch import nn

from tokzoo.decoders.ldm_cnn import LdmCnnDecoder
from tokzoo.encoders.ldm_cnn import LdmCnnEncoder
from tokzoo.parts import Quantizer
from tokzoo.quantizers.gumbel import GumbelQuantizer
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.on_grid import GridTokenizer, cnn_sizes
from tokzoo.tokenizers.vqgan.config import VqganConfig


class Vqgan(GridTokenizer):
    """One token per f x f pixels, row-major; the nearest codebook row, or the likeliest one of the Gumbel variant.

    The published Gumbel variant draws codes even when it is evaluated: `encode(images, sample=True)`.
    """

    photo_protocol = "opencv"

    def __init__(self, config: VqganConfig):
        super().__init__(config)
        self.encoder = encoder = LdmCnnEncoder(**cnn_sizes(config))
        self.quantizer: Quantizer
        if config.gumbel:  # the encoder says each token's chances of all codes
            encoder.to_code = nn.Sequential(
                nn.Conv2d(config.latent_dim, config.code_dim, 1), nn.Conv2d(config.code_dim, config.codebook_size, 1)
            )
            self.quantizer = GumbelQuantizer(config.codebook_size, config.code_dim)
        else:
            self.quantizer = VectorQuantizer(config.codebook_size, config.code_dim)
        self.decoder = LdmCnnDecoder(**cnn_sizes(config))
