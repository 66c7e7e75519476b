"""Encoders and decoders that a composed tokenizer can have: names, options, and the places where their tokens lie."""

from collections.abc import Sequence
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


def cnn_encoder(
    *,
    image_size: int,
    code_dim: int,
    width: int = 64,
    multipliers: Sequence[int] = (1, 2, 2, 4),
    num_blocks: int = 1,
    attention_levels: Sequence[int] = (),
    middle_attention: bool = True,
) -> Placed:
    """VQGAN's: a grid of one token per 2 ** (levels - 1) pixels. Widths are multiples of 32."""
    encoder = LdmCnnEncoder(
        width=width,
        multipliers=multipliers,
        num_blocks=num_blocks,
        latent_dim=code_dim,
        attention_levels=attention_levels,
        middle_attention=middle_attention,
    )
    return Placed(encoder, code_dim, _grid(image_size, 2 ** (len(multipliers) - 1), "cnn"))


def cnn_decoder(
    *,
    image_size: int,
    layout: Layout,
    code_dim: int,
    width: int = 64,
    multipliers: Sequence[int] = (1, 2, 2, 4),
    num_blocks: int = 1,
    attention_levels: Sequence[int] = (),
    middle_attention: bool = True,
) -> Placed:
    """VQGAN's, from a grid."""
    decoder = LdmCnnDecoder(
        width=width,
        multipliers=multipliers,
        num_blocks=num_blocks,
        latent_dim=code_dim,
        attention_levels=attention_levels,
        middle_attention=middle_attention,
    )
    return Placed(decoder, code_dim, _grid(image_size, 2 ** (len(multipliers) - 1), "cnn"))


def maskgit_cnn_encoder(
    *,
    image_size: int,
    code_dim: int,
    width: int = 64,
    multipliers: Sequence[int] = (1, 2, 2, 4),
    num_blocks: int = 1,
) -> Placed:
    """MaskGIT's: no attention, pooling between levels."""
    encoder = MaskgitCnnEncoder(width=width, multipliers=multipliers, num_blocks=num_blocks, code_dim=code_dim)
    return Placed(encoder, code_dim, _grid(image_size, 2 ** (len(multipliers) - 1), "maskgit_cnn"))


def maskgit_cnn_decoder(
    *,
    image_size: int,
    layout: Layout,
    code_dim: int,
    width: int = 64,
    multipliers: Sequence[int] = (1, 2, 2, 4),
    num_blocks: int = 1,
) -> Placed:
    """MaskGIT's, from a grid."""
    decoder = MaskgitCnnDecoder(width=width, multipliers=multipliers, num_blocks=num_blocks, code_dim=code_dim)
    return Placed(decoder, code_dim, _grid(image_size, 2 ** (len(multipliers) - 1), "maskgit_cnn"))


def vit_encoder(
    *, image_size: int, code_dim: int, patch_size: int = 8, width: int = 192, depth: int = 4, num_heads: int = 3
) -> Placed:
    """A plain ViT: a grid of one token per patch."""
    grid = _grid(image_size, patch_size, "vit")
    encoder = VitEncoder(
        grid_size=grid.height, patch_size=patch_size, width=width, depth=depth, num_heads=num_heads, code_dim=code_dim
    )
    return Placed(encoder, code_dim, grid)


def vit_decoder(
    *,
    image_size: int,
    layout: Layout,
    code_dim: int,
    patch_size: int = 8,
    width: int = 192,
    depth: int = 4,
    num_heads: int = 3,
) -> Placed:
    """A plain ViT, from a grid of one token per patch."""
    grid = _grid(image_size, patch_size, "vit")
    decoder = VitDecoder(
        grid_size=grid.height, patch_size=patch_size, width=width, depth=depth, num_heads=num_heads, code_dim=code_dim
    )
    return Placed(decoder, code_dim, grid)


def latent_query_encoder(
    *,
    image_size: int,
    code_dim: int,
    num_tokens: int = 32,
    patch_size: int = 8,
    width: int = 192,
    depth: int = 4,
    num_heads: int = 3,
) -> Placed:
    """TiTok's: a row of `num_tokens`, read from the picture by learned queries."""
    _grid(image_size, patch_size, "latent_query")
    encoder = LatentQueryEncoder(
        image_size=image_size,
        patch_size=patch_size,
        num_tokens=num_tokens,
        width=width,
        depth=depth,
        num_heads=num_heads,
        code_dim=code_dim,
    )
    return Placed(encoder, code_dim, Row(num_tokens))


def mask_token_decoder(
    *,
    image_size: int,
    layout: Layout,
    code_dim: int,
    patch_size: int = 8,
    width: int = 192,
    depth: int = 4,
    num_heads: int = 3,
) -> Placed:
    """TiTok's: mask tokens of the picture read the codes, which may lie in any way."""
    grid = _grid(image_size, patch_size, "mask_token")
    decoder = MaskTokenDecoder(
        grid_size=grid.height,
        num_tokens=layout.num_tokens or 0,
        width=width,
        depth=depth,
        num_heads=num_heads,
        code_dim=code_dim,
        head=PixelHead(width, patch_size),
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
