"""WeTok, arXiv:2508.05599: Open-MAGVIT2's networks; signs in groups, each an index of its own."""

from tokzoo.decoders.magvit2_cnn import Magvit2CnnDecoder
from tokzoo.encoders.magvit2_cnn import Magvit2CnnEncoder
from tokzoo.quantizers.sign import GroupedBinaryQuantizer
from tokzoo.tokenizers.on_grid import GridTokenizer
from tokzoo.tokenizers.open_magvit2.model import magvit2_sizes
from tokzoo.tokenizers.wetok.config import WetokConfig


class Wetok(GridTokenizer):
    """One token per f x f pixels, row-major; group by group of channels, the first is the least significant bit.

    A generative decoder draws its noise (B, L, C) from `decode(tokens, generator=...)`, or takes `noise=`.
    """

    photo_protocol = "bilinear"

    def __init__(self, config: WetokConfig):
        super().__init__(config)
        self.encoder = Magvit2CnnEncoder(**magvit2_sizes(config))
        self.quantizer = GroupedBinaryQuantizer(config.code_dim, config.num_groups)
        self.decoder = Magvit2CnnDecoder(**magvit2_sizes(config), generative=config.generative)
