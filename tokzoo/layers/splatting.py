"""Painting with Gaussians: N anisotropic 2D Gaussians, each with C features, become a map (C, H, W).

B batch, H W pixels, P pixels of a tile, M pairs of a Gaussian and a tile that it reaches; one step of the work has T
rows, each a tile and up to K of its Gaussians.

A Gaussian is five numbers: standard deviations sx and sy, correlation rho, and centre x and y. All are in units of half
the map, whose corner pixels lie at -1 and 1. Any 2x2 covariance can be said so, that of a projected 3D Gaussian too.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tokzoo.layers.precision import without_autocast

TILE = 16  # pixels per side of a tile
STEP = 2**18  # weights, of a Gaussian at a pixel, that are held at once
MOST = 256  # Gaussians of a tile in one row; a fuller tile takes several
SCALES, STRAIGHT = (1e-6, 1e6), 1 - 1e-6  # what is beyond counts as the bound: degenerate Gaussians stay finite


def splat(geometry: Tensor, features: Tensor, size: tuple[int, int], *, cutoff: float = 3.0) -> Tensor:
    """Sum over Gaussians of weight times features at every pixel. GPSToken, arXiv:2509.01109, section 3.2.

    The weight is exp(-(u^2 - 2 rho u v + v^2) / (2 (1 - rho^2))), u = dx / sx and v = dy / sy, where |u| and |v| are at
    most `cutoff`, and 0 elsewhere. It is 1 at the centre: there is no normalisation. Opacity is a factor of the
    features; for depth order see `tile_pairs`, which keeps the order of the Gaussians.

    Work and memory go by pixels that Gaussians reach: there is no (N, H, W). It computes in float32, or float64 of
    float64, gives gradients to both inputs (holding constant who reaches which pixel), and is one operator to a
    compiler.

    Args:
        geometry: (B, N, 5), floating-point: sx, sy, rho, x, y. Scales are brought into `SCALES`, |rho| below 1.
        features: (B, N, C).
        size: (H, W).

    Returns:
        (B, C, H, W) in the dtype of `features`.

    Raises:
        ValueError: other shapes, no pixels, a cutoff that is not positive, NaN in the geometry.
    """
    _check(geometry, features, size, cutoff)
    dtype = torch.float64 if torch.float64 in (geometry.dtype, features.dtype) else torch.float32
    scales, rho, centres = geometry.to(dtype).split((2, 1, 2), dim=-1)
    bounded = torch.cat([scales.clamp(*SCALES), rho.clamp(-STRAIGHT, STRAIGHT), centres], dim=-1)
    return _splat(bounded, features.to(dtype), *size, cutoff).to(features.dtype)


def splat_mean(
    geometry: Tensor, features: Tensor, size: tuple[int, int], *, cutoff: float = 3.0, eps: float = 1e-6
) -> Tensor:
    """The same, divided by the sum of weights plus `eps`: the mean feature of the Gaussians at every pixel."""
    weighted = splat(geometry, torch.cat([features, torch.ones_like(features[..., :1])], dim=-1), size, cutoff=cutoff)
    return weighted[:, :-1] / (weighted[:, -1:] + eps)


def _check(geometry: Tensor, features: Tensor, size: tuple[int, int], cutoff: float) -> None:
    if geometry.ndim != 3 or geometry.shape[-1] != 5 or not geometry.is_floating_point():
        raise ValueError(f"geometry must be floating-point (B, N, 5); got {geometry.dtype} {tuple(geometry.shape)}")
    if features.ndim != 3 or features.shape[:2] != geometry.shape[:2]:
        wanted = f"({geometry.shape[0]}, {geometry.shape[1]}, C)"
        raise ValueError(f"features must be {wanted}, as many as Gaussians; got {tuple(features.shape)}")
    if min(size) < 1 or not cutoff > 0:
        raise ValueError(f"a map has at least 1x1 pixels and a cutoff above 0; got {size[0]}x{size[1]}, {cutoff}")
    if torch.compiler.is_compiling() or geometry.device.type == "meta":
        return
    if bool(geometry.isnan().any()):
        bad = int(geometry.isnan().any(-1).sum())
        raise ValueError(f"{bad} of {geometry[..., 0].numel()} Gaussians hold NaN: find where they come from")


# --- which Gaussian reaches which tile -------------------------------------------------------------------------------


class TilePairs(NamedTuple):
    """Pairs of a Gaussian and a tile, sorted by tile; in a tile, Gaussians keep their order (say, by depth).

    `gaussian` int64 (M,) counts over the whole batch, b * N + n; `tile_sizes` int64 (B * rows * columns,) is how many
    pairs each tile has. Tiles are row-major, image by image.
    """

    gaussian: Tensor
    tile_sizes: Tensor
    rows: int
    columns: int


def tile_pairs(geometry: Tensor, size: tuple[int, int], *, cutoff: float, tile: int = TILE) -> TilePairs:
    """Finds the pairs of Gaussians (B, N, 5) and tiles that their cut-off boxes overlap. NaN reaches nothing."""
    (height, width), (batch, number) = size, geometry.shape[:2]
    rows, columns = -(-height // tile), -(-width // tile)
    scale_x, scale_y, _, x, y = geometry.detach().flatten(0, 1).unbind(-1)  # (B * N,) each
    left, right = _reach(x, scale_x * cutoff, width, tile)
    top, bottom = _reach(y, scale_y * cutoff, height, tile)
    wide, high = (right - left + 1).clamp_min(0), (bottom - top + 1).clamp_min(0)
    area = wide * high
    gaussian = torch.repeat_interleave(torch.arange(len(area), device=area.device), area)  # (M,)
    place = torch.arange(len(gaussian), device=area.device) - (area.cumsum(0) - area)[gaussian]
    across = wide[gaussian]
    row, column = top[gaussian] + place // across, left[gaussian] + place % across
    image = gaussian // max(number, 1)
    tiles, order = ((image * rows + row) * columns + column).sort(stable=True)
    return TilePairs(gaussian[order], torch.bincount(tiles, minlength=batch * rows * columns), rows, columns)


def _reach(centre: Tensor, reach: Tensor, length: int, tile: int) -> tuple[Tensor, Tensor]:
    """First and last tile along one side; the last is before the first where none is met."""
    half = (length - 1) / 2
    slack = 1e-3  # of a pixel: rounding must not lose one that is just inside; who is inside is asked again there
    first = ((centre - reach + 1) * half - slack).ceil().nan_to_num(nan=float(length)).clamp(0, length)
    last = ((centre + reach + 1) * half + slack).floor().nan_to_num(nan=-1.0).clamp(-1, length - 1)
    none = first > last
    first_tile, last_tile = first.long() // tile, last.long().div(tile, rounding_mode="floor")
    return first_tile, torch.where(none, first_tile - 1, last_tile)


class _Rows(NamedTuple):
    """Work of one step: T rows of at most K pairs. `pair` (T, K) into the sorted pairs, `real` says which are there."""

    tile: Tensor
    pair: Tensor
    real: Tensor


def _steps(pairs: TilePairs, pixels: int) -> Iterator[_Rows]:
    """Rows in steps of `STEP` weights, the fullest first, so that those of a step are about equally full."""
    device = pairs.tile_sizes.device
    segments = (pairs.tile_sizes + MOST - 1) // MOST
    tile = torch.repeat_interleave(torch.arange(len(segments), device=device), segments)  # (rows,)
    number = torch.arange(len(tile), device=device) - (segments.cumsum(0) - segments)[tile]
    start = (pairs.tile_sizes.cumsum(0) - pairs.tile_sizes)[tile] + number * MOST
    count = (pairs.tile_sizes[tile] - number * MOST).clamp_max(MOST)
    count, order = count.sort(descending=True)
    tile, start = tile[order], start[order]
    fullness, begin = count.tolist(), 0
    while begin < len(fullness):
        most = fullness[begin]
        end = begin + max(1, STEP // (most * pixels))
        slot = torch.arange(most, device=device)
        real = slot < count[begin:end, None]
        yield _Rows(tile[begin:end], torch.where(real, start[begin:end, None] + slot, 0), real)
        begin = end


# --- weights of Gaussians at the pixels of tiles ---------------------------------------------------------------------


class _Weights(NamedTuple):
    """`value` (T, K, h, w) is 0 out of reach; `u` (T, K, w) and `v` (T, K, h) are distances in standard deviations."""

    value: Tensor
    u: Tensor
    v: Tensor


def _weigh(chosen: Tensor, rows: _Rows, pairs: TilePairs, size: tuple[int, int], cutoff: float) -> _Weights:
    """Weights of the Gaussians `chosen` (T, K, 5)."""
    scale_x, scale_y, rho, x, y = chosen.unsqueeze(-1).unbind(2)  # (T, K, 1) each
    row = rows.tile // pairs.columns % pairs.rows
    dx = _pixels(rows.tile % pairs.columns, size[1], chosen).unsqueeze(1) - x
    dy = _pixels(row, size[0], chosen).unsqueeze(1) - y
    u, v = dx / scale_x, dy / scale_y
    # a sum of two squares cannot turn positive by cancellation: u^2 + ((v - rho u) / sqrt(1 - rho^2))^2
    narrow = (1 - rho.square()).rsqrt()
    inside = (dx.abs() <= scale_x * cutoff) & rows.real.unsqueeze(-1)
    along = torch.where(inside, u.square() * -0.5, -torch.inf).unsqueeze(2)
    skewed = torch.where(dy.abs() <= scale_y * cutoff, v * narrow, torch.inf).unsqueeze(3) - (
        u * rho * narrow
    ).unsqueeze(2)
    return _Weights(torch.addcmul(along, skewed, skewed, value=-0.5).exp_(), u, v)


def _pixels(tile: Tensor, length: int, like: Tensor) -> Tensor:
    """Places (T, TILE) of the pixels along one side of tiles; a side of one pixel lies at -1."""
    number = tile.unsqueeze(1) * TILE + torch.arange(TILE, device=tile.device)
    return number.to(like.dtype) * 2 / max(length - 1, 1) - 1


def _tiled(plane: Tensor, rows: int, columns: int) -> Tensor:
    """(B, C, H, W), padded to whole tiles -> (B * rows * columns, C, P)."""
    padded = torch.nn.functional.pad(plane, (0, columns * TILE - plane.shape[3], 0, rows * TILE - plane.shape[2]))
    tiles = padded.unflatten(3, (columns, TILE)).unflatten(2, (rows, TILE))  # (B, C, rows, h, columns, w)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(-1, plane.shape[1], TILE * TILE)


def _untiled(tiles: Tensor, batch: int, pairs: TilePairs, size: tuple[int, int]) -> Tensor:
    """The way back of `_tiled`, cropped."""
    plane = tiles.view(batch, pairs.rows, pairs.columns, -1, TILE, TILE).permute(0, 3, 1, 4, 2, 5)
    return plane.flatten(4, 5).flatten(2, 3)[:, :, : size[0], : size[1]].contiguous()


# --- the operator ----------------------------------------------------------------------------------------------------


@torch.library.custom_op("tokzoo::splat", mutates_args=())
def _splat(geometry: Tensor, features: Tensor, height: int, width: int, cutoff: float) -> Tensor:
    size, (batch, _, channels) = (height, width), features.shape
    pairs = tile_pairs(geometry, size, cutoff=cutoff)
    flat, vectors = geometry.flatten(0, 1), features.flatten(0, 1)
    tiles = features.new_zeros(len(pairs.tile_sizes), channels, TILE * TILE)
    with without_autocast(geometry.device):
        for rows in _steps(pairs, TILE * TILE):
            gaussian = pairs.gaussian[rows.pair]  # (T, K)
            weights = _weigh(flat[gaussian], rows, pairs, size, cutoff)
            # (T, C, K) @ (T, K, P)
            tiles.index_add_(0, rows.tile, vectors[gaussian].transpose(1, 2) @ weights.value.flatten(2))
    return _untiled(tiles, batch, pairs, size)


@_splat.register_fake
def _(geometry: Tensor, features: Tensor, height: int, width: int, cutoff: float) -> Tensor:
    return features.new_empty(features.shape[0], features.shape[2], height, width)


@torch.library.custom_op("tokzoo::splat_backward", mutates_args=())
def _splat_backward(gradient: Tensor, geometry: Tensor, features: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    size = (gradient.shape[2], gradient.shape[3])
    pairs = tile_pairs(geometry, size, cutoff=cutoff)
    flat, vectors = geometry.flatten(0, 1), features.flatten(0, 1)
    to_geometry, to_features = torch.zeros_like(flat), torch.zeros_like(vectors)
    tiles = _tiled(gradient, pairs.rows, pairs.columns)
    with without_autocast(geometry.device):
        for rows in _steps(pairs, TILE * TILE):
            gaussian = pairs.gaussian[rows.pair]
            chosen, received = flat[gaussian], tiles[rows.tile]  # (T, K, 5), (T, C, P)
            weights = _weigh(chosen, rows, pairs, size, cutoff)
            of_features = weights.value.flatten(2) @ received.transpose(1, 2)  # (T, K, C)
            of_exponent = (vectors[gaussian] @ received).view_as(weights.value).mul_(weights.value)  # (T, K, h, w)
            of_geometry = _through_exponent(_moments(of_exponent, weights.u, weights.v), chosen)
            to_features.index_add_(0, gaussian.flatten(), of_features.flatten(0, 1))
            to_geometry.index_add_(0, gaussian.flatten(), of_geometry.flatten(0, 1))
    return to_geometry.view_as(geometry), to_features.view_as(features)


def _moments(of_exponent: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Sums over pixels of the gradient times v^i u^j, i and j in 0 to 2: (T, K, 3, 3)."""
    across = torch.stack([torch.ones_like(u), u, u * u], dim=-1)  # (T, K, w, 3)
    down = torch.stack([torch.ones_like(v), v, v * v], dim=-2)  # (T, K, 3, h)
    return down @ (of_exponent @ across)


def _through_exponent(moments: Tensor, chosen: Tensor) -> Tensor:
    """Moments and Gaussians (T, K, 5) -> gradients (T, K, 5), by the derivatives of the exponent."""
    (_, s_u, s_uu), (s_v, s_uv, _), (s_vv, _, _) = (row.unbind(-1) for row in moments.unbind(-2))
    scale_x, scale_y, rho, _, _ = chosen.unbind(-1)
    rest = 1 - rho.square()
    square = s_uu - 2 * rho * s_uv + s_vv
    return torch.stack(
        [
            (s_uu - rho * s_uv) / (rest * scale_x),
            (s_vv - rho * s_uv) / (rest * scale_y),
            (s_uv - rho * square / rest) / rest,
            (s_u - rho * s_v) / (rest * scale_x),
            (s_v - rho * s_u) / (rest * scale_y),
        ],
        dim=-1,
    )


@_splat_backward.register_fake
def _(gradient: Tensor, geometry: Tensor, features: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    return geometry.new_empty(geometry.shape), features.new_empty(features.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    geometry, features, _, _, cutoff = inputs
    ctx.save_for_backward(geometry, features)
    ctx.cutoff = cutoff


def _back(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    to_geometry, to_features = _splat_backward(gradient, *ctx.saved_tensors, ctx.cutoff)
    return to_geometry, to_features, None, None, None


_splat.register_autograd(_back, setup_context=_keep)
