"""Encoders and decoders that a composed tokenizer can have: names, options, and the places where their tokens lie."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from tokzoo.decoders.ldm_cnn import LdmCnnDecoder
from tokzoo.decoders.mask_token import MaskTokenDecoder, PixelHead
from tokzoo.decoders.maskgit_cnn import MaskgitCnnDecoder
from tokzoo.decoders.vit import VitDecoder
from tokzoo.encoders.latent_query import LatentQueryEncoder
from tokzoo.encoders.ldm_cnn import LdmCnnEncoder
from tokzoo.encoders.maskgit_cnn import MaskgitCnnEncoder
from tokzoo.encoders.vit import VitEncoder
from tokzoo.tokens import Grid, Layout
from tokzoo.tokens import Sequence as Row


class Placed(NamedTuple):
    """A part, with the width of the vectors that it gives or reads, and how they lie; None: in any way."""

    part: Any
    width: int
    layout: Layout | None


# --- options, with the values that they have if nothing is said ------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CnnOptions:
    """Of `maskgit_cnn`: one token per 2 ** (levels - 1) pixels. Widths are multiples of 32."""

    width: int = 64
    multipliers: Sequence[int] = (1, 2, 2, 4)  # of the width, per level
    num_blocks: int = 1

    @property
    def downsample(self) -> int:
        """Pixels per token side."""
        return int(2 ** (len(self.multipliers) - 1))


@dataclass(frozen=True, kw_only=True)
class LdmCnnOptions(CnnOptions):
    """Of `cnn`, which may have attention."""

    attention_levels: Sequence[int] = ()
    middle_attention: bool = True


@dataclass(frozen=True, kw_only=True)
class VitOptions:
    """Of `vit` and `mask_token`: one token, or one place of the picture, per patch."""

    patch_size: int = 8
    width: int = 192
    depth: int = 4
    num_heads: int = 3

    @property
    def downsample(self) -> int:
        """Pixels per token side."""
        return self.patch_size


@dataclass(frozen=True, kw_only=True)
class LatentQueryOptions(VitOptions):
    """Of `latent_query`, whose tokens lie in a row."""

    num_tokens: int = 32


# --- parts -----------------------------------------------------------------------------------------------------------


def cnn_encoder(*, image_size: int, code_dim: int, **options: Any) -> Placed:
    """VQGAN's: a grid."""
    chosen = LdmCnnOptions(**options)
    encoder = LdmCnnEncoder(latent_dim=code_dim, **asdict(chosen))
    return Placed(encoder, code_dim, _grid(image_size, chosen.downsample, "cnn"))


def cnn_decoder(*, image_size: int, layout: Layout, code_dim: int, **options: Any) -> Placed:
    """VQGAN's, from a grid."""
    chosen = LdmCnnOptions(**options)
    decoder = LdmCnnDecoder(latent_dim=code_dim, **asdict(chosen))
    return Placed(decoder, code_dim, _grid(image_size, chosen.downsample, "cnn"))


def maskgit_cnn_encoder(*, image_size: int, code_dim: int, **options: Any) -> Placed:
    """MaskGIT's: a grid; no attention, pooling between levels."""
    chosen = CnnOptions(**options)
    encoder = MaskgitCnnEncoder(code_dim=code_dim, **asdict(chosen))
    return Placed(encoder, code_dim, _grid(image_size, chosen.downsample, "maskgit_cnn"))


def maskgit_cnn_decoder(*, image_size: int, layout: Layout, code_dim: int, **options: Any) -> Placed:
    """MaskGIT's, from a grid."""
    chosen = CnnOptions(**options)
    decoder = MaskgitCnnDecoder(code_dim=code_dim, **asdict(chosen))
    return Placed(decoder, code_dim, _grid(image_size, chosen.downsample, "maskgit_cnn"))


def vit_encoder(*, image_size: int, code_dim: int, **options: Any) -> Placed:
    """A plain ViT: a grid."""
    chosen = VitOptions(**options)
    grid = _grid(image_size, chosen.downsample, "vit")
    return Placed(VitEncoder(grid_size=grid.height, code_dim=code_dim, **asdict(chosen)), code_dim, grid)


def vit_decoder(*, image_size: int, layout: Layout, code_dim: int, **options: Any) -> Placed:
    """A plain ViT, from a grid."""
    chosen = VitOptions(**options)
    grid = _grid(image_size, chosen.downsample, "vit")
    return Placed(VitDecoder(grid_size=grid.height, code_dim=code_dim, **asdict(chosen)), code_dim, grid)


def latent_query_encoder(*, image_size: int, code_dim: int, **options: Any) -> Placed:
    """TiTok's: a row of tokens, read from the picture by learned queries."""
    chosen = LatentQueryOptions(**options)
    _grid(image_size, chosen.downsample, "latent_query")
    encoder = LatentQueryEncoder(image_size=image_size, code_dim=code_dim, **asdict(chosen))
    return Placed(encoder, code_dim, Row(chosen.num_tokens))


def mask_token_decoder(*, image_size: int, layout: Layout, code_dim: int, **options: Any) -> Placed:
    """TiTok's: mask tokens of the picture read the codes, which may lie in any way."""
    chosen = VitOptions(**options)
    grid = _grid(image_size, chosen.downsample, "mask_token")
    decoder = MaskTokenDecoder(
        grid_size=grid.height,
        num_tokens=layout.num_tokens or 0,
        width=chosen.width,
        depth=chosen.depth,
        num_heads=chosen.num_heads,
        code_dim=code_dim,
        head=PixelHead(chosen.width, chosen.patch_size),
    )
    return Placed(decoder, code_dim, None)


HERE = "tokzoo.tokenizers.grid.parts"
ENCODERS = {
    "cnn": f"{HERE}:cnn_encoder",
    "latent_query": f"{HERE}:latent_query_encoder",
    "maskgit_cnn": f"{HERE}:maskgit_cnn_encoder",
    "vit": f"{HERE}:vit_encoder",
}
DECODERS = {
    "cnn": f"{HERE}:cnn_decoder",
    "mask_token": f"{HERE}:mask_token_decoder",
    "maskgit_cnn": f"{HERE}:maskgit_cnn_decoder",
    "vit": f"{HERE}:vit_decoder",
}


def _grid(image_size: int, downsample: int, name: str) -> Grid:
    if image_size % downsample:
        raise ValueError(
            f"{name!r} makes one token of {downsample} x {downsample} pixels, which do not fill {image_size} x "
            f"{image_size}; the nearest size that fits is {max(1, round(image_size / downsample)) * downsample}"
        )
    return Grid(image_size // downsample, image_size // downsample)
