"""PSNR against numbers worked out by hand."""

import math

import pytest
import torch

from tokzoo.losses.reconstruction import psnr


def test_psnr_gains_20_db_for_a_tenth_of_the_error():
    reference = torch.full((3, 3, 4, 4), 0.5)
    errors = torch.tensor([0.1, 0.01, 0.0]).view(3, 1, 1, 1)
    decibels = psnr(reference + errors, reference)
    assert decibels.tolist() == pytest.approx([20, 40, math.inf], abs=1e-3)
