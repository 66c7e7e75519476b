"""IBQ, arXiv:2412.02692: VQGAN's networks; every row of the codebook learns from every token, through a softmax."""

from tokzoo.decoders.ldm_cnn import LdmCnnDecoder
from tokzoo.encoders.ldm_cnn import LdmCnnEncoder
from tokzoo.quantizers.index_backprop import IndexBackpropQuantizer
from tokzoo.tokenizers.ibq.config import IbqConfig
from tokzoo.tokenizers.on_grid import GridTokenizer, cnn_sizes


class Ibq(GridTokenizer):
    """One token per f x f pixels, row-major: the codebook row of the greatest inner product."""

    photo_protocol = "opencv"

    def __init__(self, config: IbqConfig):
        super().__init__(config)
        self.encoder = LdmCnnEncoder(**cnn_sizes(config))
        self.quantizer = IndexBackpropQuantizer(config.codebook_size, config.code_dim)
        self.decoder = LdmCnnDecoder(**cnn_sizes(config))
