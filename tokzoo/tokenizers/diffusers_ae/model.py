"""Autoencoders of diffusers, with their own networks inside. B batch, C code_dim, H W pixels, h w latent places."""

from fractions import Fraction
from typing import Any, get_args

from torch import Tensor, nn

from tokzoo._torchvision import import_with_torchvision
from tokzoo.layers.patches import to_map, to_tokens
from tokzoo.layers.tiles import by_tiles
from tokzoo.parts import Decoder, Encoder, Quantizer
from tokzoo.quantizers.gaussian import GaussianBottleneck
from tokzoo.quantizers.identity import IdentityBottleneck
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.diffusers_ae.config import DiffusersAeConfig, Kind
from tokzoo.tokenizers.diffusers_ae.consistency import DiffusersConsistencyDecoder
from tokzoo.tokenizers.on_grid import GridTokenizer
from tokzoo.tokens import Features, Grid, TokenSpec

OVERLAP = 4  # a tile's share that it has in common with the next: a quarter


class DiffusersEncoder(Encoder):
    """The network of an autoencoder before its bottleneck.

    Args:
        net: images in [-1, 1] to a map of latents.
        to_code: the 1x1 conv on top, where there is one.
        downsample: pixels per latent side.
        tile: pixels per side of tiles; None: the image whole.
    """

    def __init__(self, net: nn.Module, to_code: nn.Module | None, *, downsample: int, tile: int | None):
        super().__init__()
        self.net = net
        self.to_code = to_code
        self.downsample = downsample
        self.tile = tile

    def forward(self, images: Tensor) -> Features:
        if self.tile is None:
            latents = self._latents(images)  # (B, C or 2C, h, w)
        else:
            tile, overlap, factor = self.tile, _overlap(self.tile, self.downsample), Fraction(1, self.downsample)
            latents = by_tiles(self._latents, images, tile=tile, overlap=overlap, factor=factor)
        return Features(to_tokens(latents), Grid(*latents.shape[2:]))

    def _latents(self, images: Tensor) -> Tensor:
        latents: Tensor = self.net(images * 2 - 1)
        return latents if self.to_code is None else self.to_code(latents)


class DiffusersDecoder(Decoder):
    """The network of an autoencoder after its bottleneck; arguments as the encoder's, `from_code` goes first."""

    def __init__(self, net: nn.Module, from_code: nn.Module | None, *, downsample: int, tile: int | None):
        super().__init__()
        self.net = net
        self.from_code = from_code
        self.downsample = downsample
        self.tile = tile

    def forward(self, codes: Features) -> Tensor:
        if not isinstance(codes.layout, Grid):
            raise ValueError(f"a convolutional decoder reads codes on a Grid; got {codes.layout}")
        latents = to_map(codes.latents, codes.layout.height, codes.layout.width)
        if self.tile is None:
            return self._images(latents)
        overlap = _overlap(self.tile, self.downsample) // self.downsample
        tile, factor = self.tile // self.downsample, Fraction(self.downsample)
        return by_tiles(self._images, latents, tile=tile, overlap=overlap, factor=factor)

    def _images(self, latents: Tensor) -> Tensor:
        images: Tensor = self.net(latents if self.from_code is None else self.from_code(latents))
        return (images + 1) / 2


def _overlap(tile: int, downsample: int) -> int:
    """Pixels that tiles have in common, whole latent places."""
    return tile // OVERLAP // downsample * downsample


class DiffusersAe(GridTokenizer):
    """A grid of tokens, continuous or of a VQModel's codebook, one per `downsample` x `downsample` pixels.

    Tokens are as the network gives them; generators model (latents - shift) * scale, as `token_spec` says. The batch
    norm by which FLUX.2 scales patches of 2 x 2 latents belongs to its generator and is not kept.

    Raises:
        ValueError: a class that is none of the known ones, tiles that are no multiple of `downsample`, or tiles of a
            decoder that draws.
    """

    def __init__(self, config: DiffusersAeConfig):
        super().__init__(config)
        if config.tile is not None and (config.tile < 1 or config.tile % config.downsample):
            raise ValueError(f"tile must be a multiple of {config.downsample} pixels, or None; got {config.tile}")
        if config.tile is not None and config.kind == "ConsistencyDecoderVAE":
            raise ValueError("a ConsistencyDecoderVAE draws pictures whole: tile must be None")
        net = build_net(config)
        sizes: dict[str, Any] = dict(downsample=config.downsample, tile=config.tile)
        self.encoder = DiffusersEncoder(net.encoder, getattr(net, "quant_conv", None), **sizes)
        self.quantizer = build_bottleneck(config)
        self.decoder: Decoder = (
            DiffusersConsistencyDecoder(net, downsample=config.downsample)
            if config.kind == "ConsistencyDecoderVAE"
            else DiffusersDecoder(net.decoder, getattr(net, "post_quant_conv", None), **sizes)
        )

    @property
    def token_spec(self) -> TokenSpec:
        side, config = self.config.image_size // self.config.downsample, self.config
        return TokenSpec(
            layout=Grid(side, side),
            levels=self.quantizer.levels,
            channels=config.code_dim,
            lengths=(1, side**2),
            scale=config.scale,
            shift=config.shift,
        )


def build_net(config: DiffusersAeConfig) -> Any:
    """The whole autoencoder of diffusers.

    Raises:
        ValueError: an unknown class, or one that this version of diffusers lacks.
    """
    diffusers = import_with_torchvision("diffusers")
    if config.kind not in get_args(Kind):
        raise ValueError(f"the autoencoder must be one of {', '.join(get_args(Kind))}; got {config.kind!r}")
    if not hasattr(diffusers, config.kind):
        raise ValueError(f"diffusers {diffusers.__version__} has no {config.kind}: update it")
    return getattr(diffusers, config.kind)(**config.fields)


def build_bottleneck(config: DiffusersAeConfig) -> Quantizer:
    """What lies between encoder and decoder."""
    if config.kind == "VQModel":
        return VectorQuantizer(config.fields.get("num_vq_embeddings", 256), config.code_dim)
    return (
        IdentityBottleneck(config.code_dim) if config.kind == "AutoencoderDC" else GaussianBottleneck(config.code_dim)
    )
