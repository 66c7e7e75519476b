"""Features of boxes of a map, whatever their size. B batch, C channels, H W places, N boxes, S places per side out.

n boxes have one size; h w are the places of the map that one of them reads.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor


def region_align(features: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Averages of a map over S x S cells of each box. RoIAlign, arXiv:1703.06870, section 3, in its aligned form.

    A place's centre is half a place inside of it, so that a box from x0 to x1 begins at x0 - 1/2. In every cell the
    map is read, by bilinear interpolation, on a grid of ceil(box / S) points per side. These points average to two
    matrices a box, one for rows and one for columns, which is how it is computed: boxes of one size together, each on
    its own part of the map. Places out of the map are its border's up to one place away, and 0 beyond.

    Gradients go to the map; boxes are constants. It is one operator to a compiler.

    Args:
        features: (B, C, H, W).
        boxes: (B, N, 4): left, top, right, bottom, in places of the map.
        side: S.

    Returns:
        (B, N, S, S, C).
    """
    return _align(features, boxes, side)


class _Group(NamedTuple):
    """Boxes that read windows of one size; `box` (n,) counts over the batch, `place` (n, h, w) over B * H * W."""

    box: Tensor
    place: Tensor
    rows: Tensor
    columns: Tensor


def _groups(like: Tensor, boxes: Tensor, size: tuple[int, int], side: int) -> Iterator[_Group]:
    """Boxes by the size of what they read, with their matrices (n, S, h) and (n, S, w) in the dtype of `like`."""
    height, width = size
    wanted = torch.float64 if like.dtype == torch.float64 else torch.float32
    flat = boxes.flatten(0, 1).to(wanted) - 0.5  # (B * N, 4)
    left, top, right, bottom = flat.unbind(1)
    first_column, wide = _window(left, right, width)
    first_row, high = _window(top, bottom, height)
    kinds, kind = (high * (width + 1) + wide).unique(return_inverse=True)
    for number, packed in enumerate(kinds.tolist()):
        box = (kind == number).nonzero().squeeze(1)
        h, w = packed // (width + 1), packed % (width + 1)
        row = first_row[box, None] + torch.arange(h, device=box.device)
        column = first_column[box, None] + torch.arange(w, device=box.device)
        image = box // boxes.shape[1]
        place = ((image[:, None] * height + row)[:, :, None]) * width + column[:, None, :]
        rows = _shares(top[box], bottom[box], row, height, side)
        columns = _shares(left[box], right[box], column, width, side)
        yield _Group(box, place, rows.to(like.dtype), columns.to(like.dtype))


def _window(begin: Tensor, end: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """First place that is read and how many are, at least one."""
    first = begin.floor().clamp(0, length - 1)
    last = end.ceil().clamp(0, length - 1)
    return first.long(), (torch.maximum(last, first) - first + 1).long()


def _shares(begin: Tensor, end: Tensor, places: Tensor, length: int, side: int) -> Tensor:
    """How much of each place (n, p) goes into each cell: (n, S, p)."""
    cell = (end - begin) / side
    points = cell.ceil().clamp_min(1)  # per cell, of each box
    number = torch.arange(int(points.max()), device=begin.device, dtype=begin.dtype)
    within = (number + 0.5) / points[:, None]  # (n, q)
    cells = torch.arange(side, device=begin.device, dtype=begin.dtype)[:, None]
    at = begin[:, None, None] + (cells + within[:, None]) * cell[:, None, None]  # (n, S, q)
    counts = (number < points[:, None])[:, None] & (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    nearness = (1 - (at.unsqueeze(3) - places[:, None, None]).abs()).clamp_min(0)  # (n, S, q, p)
    return (nearness * counts.unsqueeze(3)).sum(2) / points[:, None, None]


@torch.library.custom_op("tokzoo::region_align", mutates_args=())
def _align(features: Tensor, boxes: Tensor, side: int) -> Tensor:
    places = features.permute(0, 2, 3, 1).flatten(0, 2)  # (B * H * W, C)
    out = features.new_zeros(boxes.shape[0] * boxes.shape[1], side, side, features.shape[1])
    for group in _groups(features, boxes, (features.shape[2], features.shape[3]), side):
        window = places[group.place]  # (n, h, w, C)
        lines = (group.rows @ window.flatten(2)).unflatten(2, window.shape[2:])  # (n, S, w, C)
        out[group.box] = group.columns.unsqueeze(1) @ lines  # (n, S, S, C)
    return out.unflatten(0, boxes.shape[:2])


@_align.register_fake
def _(features: Tensor, boxes: Tensor, side: int) -> Tensor:
    return features.new_empty(*boxes.shape[:2], side, side, features.shape[1])


@torch.library.custom_op("tokzoo::region_align_backward", mutates_args=())
def _align_backward(gradient: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    flat, channels = gradient.flatten(0, 1), gradient.shape[4]  # (B * N, S, S, C)
    out = gradient.new_zeros(len(gradient) * height * width, channels)
    for group in _groups(gradient, boxes, (height, width), gradient.shape[2]):
        lines = group.columns.transpose(1, 2).unsqueeze(1) @ flat[group.box]  # (n, S, w, C)
        window = group.rows.transpose(1, 2) @ lines.flatten(2)  # (n, h, w * C)
        out.index_add_(0, group.place.flatten(), window.view(-1, channels))
    return out.view(-1, height, width, channels).permute(0, 3, 1, 2).contiguous()


@_align_backward.register_fake
def _(gradient: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    return gradient.new_empty(gradient.shape[0], gradient.shape[4], height, width)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, boxes, _ = inputs
    ctx.save_for_backward(boxes)
    ctx.size = features.shape[2:]


def _back(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (boxes,) = ctx.saved_tensors
    return _align_backward(gradient, boxes, *ctx.size), None, None


_align.register_autograd(_back, setup_context=_keep)
