"""Cutting a picture into regions of about equal content, the busiest first. B batch, H W pixels, N regions.

S is the side that a region is resized to. M regions are known while the search goes on, over all images; n of them have
one size.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BINS, REACH = 512, 5.5  # of the histogram of gradients, from -REACH to REACH
CHUNK = 32  # regions that are scored at once: their maps stay in the cache


def partition(
    grey: Tensor, num_regions: int, *, least_side: int = 8, power: float = 2.5, looked_side: int = 64
) -> Tensor:
    """Halves the region of greatest complexity until there are `num_regions`. GPSToken, arXiv:2509.01109, section 3.1.

    A region is cut across its longer side; a square one where the less complex of two halves is least so. Complexity is
    `complexity`. What no longer splits, because neither side exceeds `least_side` + 1 pixels, is passed over.

    Regions of all images are scored together: in each of some ten rounds the halves of all that may be among those cut.

    Args:
        grey: (B, H, W) in [0, 1], float32.
        power, looked_side: of `complexity`; the published side is 64, and time goes by its square.

    Returns:
        int64 (B, N, 4): left, top, right, bottom pixel of each region, all of them inside it, in the authors' order:
        by complexity, but for the last two, which were one before.

    Raises:
        ValueError: no regions, or more than the picture can be cut into; grey of another shape; NaN.
    """
    if grey.ndim != 3:
        raise ValueError(f"grey images must be (B, H, W); got {tuple(grey.shape)}")
    height, width = grey.shape[1:]
    most = most_regions(height, width, least_side)
    if not 1 <= num_regions <= most:
        raise ValueError(
            f"a picture of {height}x{width} is cut into 1 to {most} regions where sides are halved down to "
            f"{least_side}; got {num_regions}. Choose fewer, or a smaller least_side"
        )
    if grey.device.type == "meta":
        return torch.empty(len(grey), num_regions, 4, dtype=torch.int64, device="meta")
    if bool(grey.isnan().any()):
        raise ValueError(f"grey images hold {int(grey.isnan().sum())} NaN values; find where they come from")
    tree = _grow(grey.float(), num_regions - 1, least_side, _Look(power, looked_side))
    return _cut(tree, len(grey), num_regions)


def most_regions(height: int, width: int, least_side: int) -> int:
    """How many regions a picture can be cut into."""
    if max(height, width) <= least_side + 1:
        return 1
    short, long = sorted((height, width))
    return most_regions(short, long // 2, least_side) + most_regions(short, long - long // 2, least_side)


# --- complexity ------------------------------------------------------------------------------------------------------


def complexity(grey: Tensor, image: Tensor, boxes: Tensor, *, power: float = 2.5, looked_side: int = 64) -> Tensor:
    """Entropy of the gradients' lengths to the `power`, times area: float64 (M,).

    A region is resized to SxS pixels (bilinear, as OpenCV does), so that small ones are judged by their own detail;
    gradients are Sobel's, entropy is in bits over 512 bins.

    Args:
        grey: (B, H, W) float32.
        image, boxes: int64 (M,) and (M, 4), regions as `partition` gives them.
        looked_side: S.
    """
    entropy = torch.empty(len(boxes), dtype=torch.float64, device=grey.device)
    width, height = (boxes[:, 2:] - boxes[:, :2] + 1).unbind(1)
    kinds, kind = (width * grey.shape[1] + height - 1).unique(return_inverse=True)
    for number, size in enumerate(kinds.tolist()):
        chosen = (kind == number).nonzero().squeeze(1)
        high, wide = size % grey.shape[1] + 1, size // grey.shape[1]
        rows, columns = _lerp(high, looked_side, grey.device), _lerp(wide, looked_side, grey.device)
        for part in chosen.split(CHUNK):
            pixels = _regions(grey, image[part], boxes[part], high, wide)
            entropy[part] = _entropy(_gradients(_resize(pixels, rows, columns)))
    return entropy.pow_(power) * (height * width)


class _Lerp(NamedTuple):
    """For each of S + 2 places along a side: the two pixels of the region that it lies between, and their shares.

    The first and last place repeat their neighbours, as Sobel's border wants them.
    """

    before: Tensor
    after: Tensor
    share_before: Tensor
    share_after: Tensor


@lru_cache(maxsize=64)
def _lerp(length: int, side: int, device: torch.device) -> _Lerp:
    number = torch.arange(-1, side + 1, device=device).clamp_(0, side - 1)
    place = ((number + 0.5) * (length / side) - 0.5).clamp_(0, length - 1)
    before = place.long()
    share = place - before
    return _Lerp(before, (before + 1).clamp_max_(length - 1), 1 - share, share)


def _regions(grey: Tensor, image: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Pixels (height, width, n) of regions of one size; from here on regions are innermost, so that rows are long."""
    windows = grey.unfold(1, height, 1).unfold(2, width, 1)  # (B, H', W', height, width), a view
    return windows[image, boxes[:, 1], boxes[:, 0]].permute(1, 2, 0).contiguous()


def _resize(pixels: Tensor, rows: _Lerp, columns: _Lerp) -> Tensor:
    """(h, w, n) -> (S + 2, S + 2, n), first along rows, as OpenCV does."""
    before, after = columns.share_before.unsqueeze(1), columns.share_after.unsqueeze(1)
    across = pixels.index_select(1, columns.before).mul_(before)
    across.addcmul_(pixels.index_select(1, columns.after), after)
    before, after = rows.share_before[:, None, None], rows.share_after[:, None, None]
    down = across.index_select(0, rows.before).mul_(before)
    return down.addcmul_(across.index_select(0, rows.after), after)


def _gradients(resized: Tensor) -> Tensor:
    """Lengths (S, S, n) of Sobel's gradients of (S + 2, S + 2, n)."""
    above, middle, below = resized[:-2], resized[1:-1], resized[2:]
    smooth = (above + below).add_(middle, alpha=2)  # (S, S + 2, n)
    across = smooth[:, 2:] - smooth[:, :-2]
    step = below - above
    down = (step[:, :-2] + step[:, 2:]).add_(step[:, 1:-1], alpha=2)
    return across.square_().addcmul_(down, down).sqrt_()  # authors: in float64, which moves a pixel in a million


def _entropy(lengths: Tensor) -> Tensor:
    """Entropy in bits, float64 (n,), of the histograms of (S, S, n). What is beyond REACH is left out.

    A length is not negative, so that only half of the bins are ever filled.
    """
    half, number = BINS // 2, lengths.shape[2]
    first = torch.arange(number, device=lengths.device, dtype=torch.int32).mul_(half + 1)
    bins = lengths.mul(half / REACH).int().clamp_(0, half).add_(first)
    counts = torch.bincount(bins.flatten(), minlength=number * (half + 1)).view(number, half + 1)[:, :half].double()
    shares = counts / (counts.sum(1, keepdim=True) + 1e-5)
    return -(shares * (shares + 1e-10).log2_()).sum(1)


# --- the search ------------------------------------------------------------------------------------------------------


class _Tree(NamedTuple):
    """All regions that were looked at; `child` is the first of two that follow each other, -1 where none are known.

    `bottleneck` is the least score among a region and those it was cut from: of all regions that split, the greedy
    search cuts those whose bottleneck is greatest, whatever the order in which it meets them.
    """

    image: Tensor
    boxes: Tensor
    scores: Tensor
    bottleneck: Tensor
    child: Tensor


class _Look(NamedTuple):
    """How complexity is told, as `complexity` takes it."""

    power: float
    looked_side: int


def _grow(grey: Tensor, num_cuts: int, least_side: int, look: _Look) -> _Tree:
    """The whole picture, and the halves of every region that is among the `num_cuts` an image to cut."""
    batch, height, width = grey.shape
    image = torch.arange(batch, device=grey.device)
    boxes = torch.tensor([0, 0, width - 1, height - 1], device=grey.device).expand(batch, 4)
    scores = complexity(grey, image, boxes, **look._asdict())
    tree = _Tree(image, boxes, scores, scores, torch.full_like(image, -1))
    while len(cut := _to_cut(tree, num_cuts, least_side)):
        halves, judged = _halve(grey, tree.image[cut], tree.boxes[cut], look)
        tree.child[cut] = len(tree.image) + 2 * torch.arange(len(cut), device=cut.device)
        bottleneck = torch.minimum(judged, tree.bottleneck[cut, None])
        tree = _Tree(
            torch.cat([tree.image, tree.image[cut].repeat_interleave(2)]),
            torch.cat([tree.boxes, halves.flatten(0, 1)]),
            torch.cat([tree.scores, judged.flatten()]),
            torch.cat([tree.bottleneck, bottleneck.flatten()]),
            F.pad(tree.child, (0, 2 * len(cut)), value=-1),
        )
    return tree


def _to_cut(tree: _Tree, num_cuts: int, least_side: int) -> Tensor:
    """Regions, int64 (n,), not yet cut, whose bottleneck is among the `num_cuts` greatest known of their image."""
    if not num_cuts:
        return tree.image[:0]
    splits = _splits(tree.boxes, least_side).nonzero().squeeze(1)
    by_worth = splits[tree.bottleneck[splits].argsort(descending=True)]
    ordered = by_worth[tree.image[by_worth].argsort(stable=True)]
    image = tree.image[ordered]
    counts = torch.bincount(image, minlength=int(tree.image.max()) + 1)
    starts = counts.cumsum(0) - counts
    last = ordered[starts + torch.minimum(counts, counts.new_tensor(num_cuts)) - 1]
    enough = tree.bottleneck[ordered] >= tree.bottleneck[last][image]
    return ordered[enough & (tree.child[ordered] < 0)]


def _splits(boxes: Tensor, least_side: int) -> Tensor:
    return ((boxes[:, 2:] - boxes[:, :2]) > least_side).any(1)


def _halve(grey: Tensor, image: Tensor, boxes: Tensor, look: _Look) -> tuple[Tensor, Tensor]:
    """Regions -> their halves (n, 2, 4) and the scores of those (n, 2)."""
    width, height = (boxes[:, 2:] - boxes[:, :2] + 1).unbind(1)
    left, top, right, bottom = boxes.unbind(1)
    middle, centre = left + width // 2, top + height // 2
    beside = torch.stack([left, top, middle - 1, bottom, middle, top, right, bottom], dim=1).view(-1, 2, 4)
    stacked = torch.stack([left, top, right, centre - 1, left, centre, right, bottom], dim=1).view(-1, 2, 4)
    halves = torch.where((width > height)[:, None, None], beside, stacked)
    square = (width == height).nonzero().squeeze(1)
    tried = torch.cat([halves, beside[square]])
    scores = complexity(
        grey, torch.cat([image, image[square]]).repeat_interleave(2), tried.flatten(0, 1), **look._asdict()
    )
    scores, others = scores.view(-1, 2).split([len(halves), len(square)])
    better = others.amin(1) < scores[square].amin(1)
    scores = scores.clone()
    halves[square[better]], scores[square[better]] = beside[square[better]], others[better]
    return halves, scores


def _cut(tree: _Tree, batch: int, num_regions: int) -> Tensor:
    """Runs the greedy search of all images side by side on what `_grow` found; regions (B, N, 4)."""
    scores, child = tree.scores.cpu().numpy(), tree.child.cpu().numpy()
    waits = np.where(child < 0, -np.inf, scores)  # what is not cut is never asked for
    # a place for each region in the order in which they are made; the whole of image b is region b
    region = np.zeros((batch, 2 * num_regions - 1), dtype=np.int64)
    queue = np.full(region.shape, -np.inf)
    region[:, 0], image = np.arange(batch), np.arange(batch)
    queue[:, 0] = waits[:batch]
    gone = np.zeros(region.shape, dtype=bool)
    for first in range(1, region.shape[1], 2):
        place = queue.argmax(1)
        queue[image, place], gone[image, place] = -np.inf, True
        halves = child[region[image, place]]
        region[:, first], region[:, first + 1] = halves, halves + 1
        queue[:, first], queue[:, first + 1] = waits[halves], waits[halves + 1]
    order = np.where(gone, np.inf, -scores[region])
    order[:, 1:][:, -2:] = np.finfo(order.dtype).max  # the authors sort before each cut, and not after the last
    kept = np.take_along_axis(region, order.argsort(axis=1, kind="stable")[:, :num_regions], axis=1)
    return tree.boxes[torch.from_numpy(kept).to(tree.boxes.device)]
