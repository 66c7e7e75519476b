"""Averages over cells of boxes are those of RoIAlign."""

import math

import pytest
import torch

from tokzoo.layers.region_align import region_align


def plain(features: torch.Tensor, box: list[float], side: int) -> torch.Tensor:
    """RoIAlign of one box of a map (C, H, W), point by point."""
    height, width = features.shape[1:]
    left, top, right, bottom = (value - 0.5 for value in box)
    cell_h, cell_w = (bottom - top) / side, (right - left) / side
    num_h, num_w = math.ceil(cell_h), math.ceil(cell_w)
    out = torch.zeros(side, side, len(features), dtype=features.dtype)
    for row in range(side):
        for column in range(side):
            for i in range(num_h):
                for j in range(num_w):
                    y = top + (row + (i + 0.5) / num_h) * cell_h
                    x = left + (column + (j + 0.5) / num_w) * cell_w
                    if -1 <= y <= height and -1 <= x <= width:
                        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                        near = [(int(y), 1 - y % 1), (min(int(y) + 1, height - 1), y % 1)]
                        beside = [(int(x), 1 - x % 1), (min(int(x) + 1, width - 1), x % 1)]
                        for r, share in near:
                            for c, part in beside:
                                out[row, column] += features[:, r, c] * share * part / (num_h * num_w)
    return out


BOXES = [[0.0, 0.0, 15.0, 11.0], [4.0, 3.0, 7.0, 9.0], [2.3, 1.7, 13.1, 2.9], [-4.0, -3.0, 5.0, 20.0], [8, 0, 15, 3]]


@pytest.mark.parametrize("side", [1, 3, 4])
def test_every_cell_is_the_average_of_its_points(side: int) -> None:
    features = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    boxes = torch.tensor([BOXES, BOXES[::-1]], dtype=torch.float64)
    found = region_align(features, boxes, side)
    for image in range(2):
        for number, box in enumerate(boxes[image].tolist()):
            torch.testing.assert_close(found[image, number], plain(features[image], box, side))


def test_gradients_are_the_derivatives() -> None:
    features = torch.rand(2, 2, 6, 8, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[[0, 0, 3, 2], [2, 1, 7, 5]], [[4, 0, 7, 5], [-3, 2, 2, 9]]])
    assert torch.autograd.gradcheck(lambda each: region_align(each, boxes, 2), (features,))


def test_it_is_one_operator_to_a_compiler() -> None:
    features, boxes = torch.rand(1, 4, 8, 8), torch.tensor([[[0, 0, 3, 7], [4, 0, 7, 7]]])
    compiled = torch.compile(lambda *both: region_align(*both, 2), backend="eager", fullgraph=True)
    assert torch.equal(compiled(features, boxes), region_align(features, boxes, 2))
    assert region_align(features.to("meta"), boxes.to("meta"), 2).shape == (1, 2, 2, 2, 4)
