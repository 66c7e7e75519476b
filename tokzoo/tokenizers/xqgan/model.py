"""XQ-GAN, arXiv:2412.01762 (ImageFolder, arXiv:2410.01756): codes side by side, each on planes of growing size."""

from tokzoo.decoders.grid_query import GridQueryDecoder
from tokzoo.encoders.grid_query import GridQueryEncoder
from tokzoo.parts import Quantizer
from tokzoo.quantizers.multi_scale import MultiScaleQuantizer, ScaleSmoothing
from tokzoo.quantizers.product import ProductQuantizer
from tokzoo.quantizers.sign import LookupFreeQuantizer
from tokzoo.quantizers.vector import DirectionVectorQuantizer, VectorQuantizer
from tokzoo.quantizers.wrapped import UnitLatents
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.xqgan.config import XqganConfig
from tokzoo.tokens import Grid, Pyramid, TokenSpec


class Xqgan(VisualTokenizer):
    """A grid of tokens, or a pyramid of them, scale after scale; each token has one index per branch.

    Branch 0's index comes first; the last branch is the one that DINOv2's features guided in training. In a binary
    index channel 0 is the least significant bit. The tokens of any leading scales decode.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    photo_protocol = "adm"

    def __init__(self, config: XqganConfig):
        super().__init__(config)
        check_config(config)
        network = dict(
            image_size=config.image_size,
            patch_size=config.patch_size,
            grid_size=config.grid_size,
            width=config.width,
            depth=config.depth,
            num_heads=config.num_heads,
        )
        branches = [build_branch(config) for _ in range(config.num_branches)]
        self.encoder = GridQueryEncoder(**network, num_branches=config.num_branches, code_dim=config.code_dim)
        self.quantizer: Quantizer = branches[0] if len(branches) == 1 else ProductQuantizer(branches)
        self.decoder = GridQueryDecoder(**network, code_dim=config.num_branches * config.code_dim)

    @property
    def token_spec(self) -> TokenSpec:
        scales = self.config.scales
        grid = Grid(self.config.grid_size, self.config.grid_size)
        layout = grid if len(scales) == 1 else Pyramid(tuple((side, side) for side in scales))
        return TokenSpec(
            layout=layout,
            levels=self.quantizer.levels,
            channels=self.quantizer.code_dim,
            lengths=(scales[0] ** 2, layout.num_tokens),
        )


def build_branch(config: XqganConfig) -> Quantizer:
    """The quantizer of one branch."""
    if len(config.scales) == 1:
        return VectorQuantizer(config.codebook_size, config.code_dim, normalize=True)
    lookup: Quantizer
    if config.lookup == "binary":
        lookup = LookupFreeQuantizer(config.code_dim, magnitude=config.code_dim**-0.5)
    else:
        lookup = DirectionVectorQuantizer(config.codebook_size, config.code_dim)
    scales = MultiScaleQuantizer(
        lookup,
        config.scales,
        smoothing=ScaleSmoothing(config.code_dim, len(config.scales)),
        dropout=config.scale_dropout,
        keep_at_least=config.keep_scales,
    )
    return UnitLatents(scales) if config.lookup == "binary" else scales


def check_config(config: XqganConfig) -> None:
    """Raises ValueError where sizes do not fit each other."""
    if config.image_size % config.patch_size:
        raise ValueError(f"image_size {config.image_size} must be a multiple of patch_size {config.patch_size}")
    if config.lookup == "binary" and config.codebook_size != 2**config.code_dim:
        raise ValueError(
            f"{config.code_dim} signs make {2**config.code_dim} codes; codebook_size is {config.codebook_size}"
        )
    if config.lookup == "binary" and len(config.scales) == 1:
        raise ValueError("binary codes are of several scales in every published model; give scales")
