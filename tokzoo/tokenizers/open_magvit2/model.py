"""Open-MAGVIT2, arXiv:2409.04410: a token is the signs of its channels, a word of 18 bits that no table holds."""

from typing import Any

from tokzoo.decoders.magvit2_cnn import Magvit2CnnDecoder
from tokzoo.encoders.magvit2_cnn import Magvit2CnnEncoder
from tokzoo.quantizers.sign import LookupFreeQuantizer
from tokzoo.tokenizers.on_grid import GridTokenizer
from tokzoo.tokenizers.open_magvit2.config import Magvit2CnnSizes, OpenMagvit2Config


def magvit2_sizes(config: Magvit2CnnSizes) -> dict[str, Any]:
    """What the constructors of `Magvit2CnnEncoder` and `Magvit2CnnDecoder` take alike."""
    return {name: getattr(config, name) for name in ("width", "multipliers", "num_blocks", "code_dim")}


class OpenMagvit2(GridTokenizer):
    """One token per f x f pixels, row-major; bit k of an index is set where channel k is above 0."""

    photo_protocol = "bilinear"

    def __init__(self, config: OpenMagvit2Config):
        super().__init__(config)
        self.encoder = Magvit2CnnEncoder(**magvit2_sizes(config))
        self.quantizer = LookupFreeQuantizer(config.code_dim, slot_bits=config.slot_bits)
        self.decoder = Magvit2CnnDecoder(**magvit2_sizes(config))
