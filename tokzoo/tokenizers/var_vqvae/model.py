"""VAR's tokenizer, arXiv:2404.02905: planes of tokens of growing size, each of what coarser ones have left."""

from tokzoo.decoders.ldm_cnn import LdmCnnDecoder
from tokzoo.encoders.ldm_cnn import LdmCnnEncoder
from tokzoo.quantizers.multi_scale import MultiScaleQuantizer, ScaleSmoothing
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.on_grid import cnn_sizes
from tokzoo.tokenizers.var_vqvae.config import VarVqvaeConfig
from tokzoo.tokens import Pyramid, TokenSpec

CODE_KERNEL = 3  # of the convs between networks and codes


class VarVqvae(VisualTokenizer):
    """A pyramid of tokens, scale after scale, each row-major; the tokens of any leading scales decode.

    Raises:
        ValueError: a last scale that is not the size of the latents.
    """

    quantizer: MultiScaleQuantizer
    photo_protocol = "lanczos_zoom"

    def __init__(self, config: VarVqvaeConfig):
        super().__init__(config)
        side = config.image_size // config.downsample
        if config.scales[-1] != side:
            raise ValueError(
                f"images of {config.image_size} pixels have latents of {side}x{side}: "
                f"the last of the scales must be {side}; got {config.scales}"
            )
        self.encoder = LdmCnnEncoder(**cnn_sizes(config), code_kernel=CODE_KERNEL)
        self.quantizer = MultiScaleQuantizer(
            VectorQuantizer(config.codebook_size, config.code_dim),
            config.scales,
            smoothing=ScaleSmoothing(
                config.code_dim, len(config.scales), num_convs=config.num_smoothing, ratio=config.smoothing_ratio
            ),
        )
        self.decoder = LdmCnnDecoder(**cnn_sizes(config), code_kernel=CODE_KERNEL)

    @property
    def token_spec(self) -> TokenSpec:
        layout = Pyramid(self.quantizer.scales)
        first = Pyramid(self.quantizer.scales[:1])
        return TokenSpec(
            layout=layout,
            levels=self.quantizer.levels,
            channels=self.config.code_dim,
            lengths=(first.num_tokens, layout.num_tokens),
        )
