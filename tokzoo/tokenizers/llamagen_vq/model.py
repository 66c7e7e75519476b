"""LlamaGen's tokenizer, arXiv:2406.06525: VQGAN's networks around a codebook of 8 channels, compared by cosine."""

from tokzoo.decoders.ldm_cnn import LdmCnnDecoder
from tokzoo.encoders.ldm_cnn import LdmCnnEncoder
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.llamagen_vq.config import LlamagenVqConfig
from tokzoo.tokenizers.on_grid import GridTokenizer, cnn_sizes


class LlamagenVq(GridTokenizer):
    """One token per f x f pixels, row-major; the decoder reads codebook rows of unit length."""

    photo_protocol = "adm"

    def __init__(self, config: LlamagenVqConfig):
        super().__init__(config)
        self.encoder = LdmCnnEncoder(**cnn_sizes(config))
        self.quantizer = VectorQuantizer(config.codebook_size, config.code_dim, normalize=True)
        self.decoder = LdmCnnDecoder(**cnn_sizes(config))
