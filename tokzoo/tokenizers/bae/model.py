"""ELM's binary autoencoder, arXiv:2410.16257 (after arXiv:2304.04820): a token is bits, each with its own chance."""

from typing import Any

from tokzoo.decoders.ldm_cnn import LdmCnnDecoder
from tokzoo.encoders.ldm_cnn import LdmCnnEncoder
from tokzoo.quantizers.bernoulli import BernoulliQuantizer
from tokzoo.tokenizers.bae.config import BaeConfig
from tokzoo.tokenizers.on_grid import GridTokenizer, cnn_sizes


class Bae(GridTokenizer):
    """One token per f x f pixels, row-major; channel 0 is the most significant bit of an index.

    `encode(images, sample=True)` draws the bits, as the authors do with all but their deterministic weights.
    """

    photo_protocol = "adm"

    def __init__(self, config: BaeConfig):
        super().__init__(config)
        same: dict[str, Any] = dict(signed=False, activate_out=False)  # pixels in [0, 1]; no SiLU after the last norms
        sizes = cnn_sizes(config)
        self.encoder = LdmCnnEncoder(**{**sizes, "code_dim": config.num_bits}, **same)
        self.quantizer = BernoulliQuantizer(config.num_bits, config.code_dim, slot_bits=config.slot_bits)
        self.decoder = LdmCnnDecoder(**{**sizes, "code_dim": None}, **same, extra_blocks=0, norm_in=True)
