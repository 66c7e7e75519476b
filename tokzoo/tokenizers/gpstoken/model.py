"""GPSToken, arXiv:2509.01109: a picture as Gaussians that lie where there is most to see."""

from typing import Any

import torch
from torch import Tensor

from tokzoo.conditions.contract import Condition
from tokzoo.decoders.splatting_cnn import SplattingCnnDecoder
from tokzoo.encoders.region_gaussian import RegionGaussianEncoder
from tokzoo.layers.partition import most_regions, partition
from tokzoo.layers.tile_norm import split_tiles
from tokzoo.quantizers.identity import IdentityBottleneck
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.gpstoken.config import GpsTokenConfig
from tokzoo.tokens import Features, Gaussians, Tokens, TokenSpec

LUMA = (0.299, 0.587, 0.114)
REGIONS = "left, top, right, bottom pixel of the regions of each tile, of tok.prepare(images)"


class GpsToken(VisualTokenizer):
    """Any number of Gaussians a tile, each with features; pictures of whole tiles fit.

    `Tokens.latents` are the features; `Tokens.geometry` float32 (B, L, 5) holds sx, sy, rho, x, y in units of half the
    picture, whose corner pixels lie at -1 and 1. Tokens are in no order, but tile by tile.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    config: GpsTokenConfig
    photo_protocol = "opencv"

    def __init__(self, config: GpsTokenConfig):
        super().__init__(config)
        check_config(config)
        self.encoder = RegionGaussianEncoder(
            tile_size=config.image_size,
            stem_width=config.stem_width,
            num_cells=config.num_cells,
            width=config.width,
            depth=config.depth,
            num_heads=config.num_heads,
            code_dim=config.code_dim,
            groups=config.groups,
        )
        self.quantizer = IdentityBottleneck(config.code_dim)
        self.decoder = SplattingCnnDecoder(
            map_size=config.map_size,
            cutoff=config.cutoff,
            width=config.decoder_width,
            multipliers=config.multipliers,
            num_blocks=config.num_blocks,
            code_dim=config.code_dim,
            seams=config.seams,
            groups=config.groups,
        )

    @property
    def multiple_of(self) -> int:
        return self.config.image_size

    @property
    def most_tokens(self) -> int:
        """Regions that a tile can be cut into."""
        return most_regions(self.config.image_size, self.config.image_size, self.config.least_side)

    @property
    def token_spec(self) -> TokenSpec:
        config = self.config
        return TokenSpec(
            layout=Gaussians(config.num_tokens), levels=None, channels=config.code_dim, lengths=(1, self.most_tokens)
        )

    @property
    def conditions(self) -> dict[str, Condition]:
        return {"regions": Condition(shape=(None, 4), what=REGIONS, parts=("encode",), prepared=True)}

    def prepare(self, images: Tensor, *, num_tokens: int | None = None) -> dict[str, Tensor]:
        """The partition: regions int64 (B, L, 4), tile by tile, of which `encode` makes as many tokens.

        Args:
            num_tokens: of each tile; None: as the config has it.

        Raises:
            ValueError: images that `encode` would refuse; more tokens than a tile can be cut into.
        """
        self._check_images(images)
        side = self.config.image_size
        rows, columns = images.shape[2] // side, images.shape[3] // side
        grey = (split_tiles(images, (rows, columns)).float() * images.new_tensor(LUMA).float()[:, None, None]).sum(1)
        number = self.config.num_tokens if num_tokens is None else num_tokens
        config = self.config
        with torch.no_grad():
            regions = partition(
                grey,
                number,
                least_side=config.least_side,
                power=config.entropy_power,
                looked_side=config.looked_side,
            )
        return {"regions": regions.reshape(len(images), -1, 4)}

    def training_draws(self, images: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """The partition, into one of the numbers of regions that training draws from."""
        lengths = self.config.training_lengths or (self.config.num_tokens,)
        drawn = int(torch.randint(len(lengths), (), generator=generator, device=generator.device))
        return self.prepare(images, num_tokens=lengths[drawn])

    def encode(  # type: ignore[override]  # a number of tokens is no tensor
        self,
        images: Tensor,
        *,
        num_tokens: int | None = None,
        sample: bool = False,
        generator: torch.Generator | None = None,
        **conditions: Tensor,
    ) -> Tokens:
        """Images -> Tokens, `num_tokens` of each tile (None: as the config has it, or as many as there are `regions`).

        Raises:
            ValueError: as every tokenizer's `encode`; more tokens than a tile can be cut into.
        """
        if num_tokens is not None:
            if "regions" in conditions:
                raise ValueError("give num_tokens or regions, not both: regions say how many tokens there are")
            conditions = {**conditions, **self.prepare(images, num_tokens=num_tokens)}
        return super().encode(images, sample=sample, generator=generator, **conditions)

    def _encode(self, images: Tensor, conditions: dict[str, Tensor]) -> Features:
        regions = conditions.get("regions")
        if isinstance(regions, Tensor) and not torch.compiler.is_compiling() and regions.device.type != "meta":
            side = self.config.image_size
            if regions.is_floating_point() or bool(((regions < 0) | (regions >= side)).any()):
                raise ValueError(f"regions must be whole pixels of a tile, 0 to {side - 1}; tok.prepare makes them")
        return super()._encode(images, conditions)

    def _check_tokens(self, tokens: Tokens) -> None:
        super()._check_tokens(tokens)
        length = tokens.num_tokens
        if tokens.geometry is None or tuple(tokens.geometry.shape[1:]) != (length, 5):
            raise ValueError(
                f"tokens that lie on {length} Gaussians need geometry (B, {length}, 5): sx, sy, rho, x, y; "
                f"got {None if tokens.geometry is None else tuple(tokens.geometry.shape)}"
            )
        if tokens.extent is not None and any(side % self.multiple_of for side in tokens.extent):
            raise ValueError(f"sides must be multiples of {self.multiple_of}; got {tokens.extent}")


def check_config(config: GpsTokenConfig) -> None:
    """Raises ValueError where sizes do not fit each other."""
    factor = 2 ** (len(config.multipliers) - 1)
    if config.image_size % factor:
        raise ValueError(
            f"image_size {config.image_size} must be a multiple of {factor}, by which the decoder enlarges"
        )
    most = most_regions(config.image_size, config.image_size, config.least_side)
    for number in (config.num_tokens, *config.training_lengths):
        if not 1 <= number <= most:
            raise ValueError(
                f"a number of tokens must be 1 to {most}, the regions that a tile can be cut into; got {number}"
            )
