"""Open-MAGVIT2's video tokenizer, arXiv:2409.04410: signs of 18 channels, by convolutions that are causal in time."""

from tokzoo.decoders.magvit2_video_cnn import Magvit2VideoCnnDecoder
from tokzoo.encoders.magvit2_video_cnn import Magvit2VideoCnnEncoder
from tokzoo.quantizers.sign import LookupFreeQuantizer
from tokzoo.tokenizers.on_volume import VideoTokenizer
from tokzoo.tokenizers.open_magvit2.model import magvit2_sizes
from tokzoo.tokenizers.open_magvit2_video.config import OpenMagvit2VideoConfig


class OpenMagvit2Video(VideoTokenizer):
    """Tokens by frame, then row-major; bit k of an index is set where channel k is above 0."""

    def __init__(self, config: OpenMagvit2VideoConfig):
        super().__init__(config)
        self.encoder = Magvit2VideoCnnEncoder(**magvit2_sizes(config), strides=config.strides)
        self.quantizer = LookupFreeQuantizer(config.code_dim)
        self.decoder = Magvit2VideoCnnDecoder(**magvit2_sizes(config), strides=config.strides)
