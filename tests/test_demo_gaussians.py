"""Gaussians are drawn where they lie."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import tiny
from tokzoo.demo.gaussians import draw_gaussians, gaussians_html, has_gaussians


def outline(gaussian: list[float]) -> np.ndarray:
    """Places (P, 2) of the pixels drawn, x and y, in the units of Gaussians."""
    drawn = draw_gaussians(Image.new("RGB", (65, 65)), torch.tensor([gaussian]), side=260)
    y, x = np.nonzero(np.asarray(drawn).max(2) > 100)
    return (np.stack([x, y], axis=1) + 0.5) / 4 / 32 - 1 - 0.5 / 32  # a pixel of the picture is four of these


def test_an_ellipse_lies_around_the_mean_and_is_as_wide_as_the_scales() -> None:
    places = outline([0.3, 0.1, 0.0, 0.4, -0.5])
    assert places.mean(0).tolist() == pytest.approx([0.4, -0.5], abs=0.01)
    assert (np.ptp(places, axis=0) / 2).tolist() == pytest.approx([0.3, 0.1], abs=0.02)


def test_a_correlated_gaussian_is_a_slanted_ellipse() -> None:
    x, y = outline([0.4, 0.4, 0.9, 0.0, 0.0]).T
    assert np.corrcoef(x, y)[0, 1] > 0.8
    assert (np.ptp(x) / 2, np.ptp(y) / 2) == pytest.approx((0.4, 0.4), abs=0.02)


def test_the_section_links_to_its_sheets(tmp_path: Path) -> None:
    paths = []
    for name in ("apple", "dog", "<rose>"):
        paths.append(tmp_path / f"{name}.png")
        noise = np.random.default_rng(len(paths)).integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(paths[-1])
    page = gaussians_html(tiny("gpstoken"), tmp_path, paths)
    files = {tmp_path / name for name in re.findall(r'src="([^"]+)"', page)}
    assert len(files) == 2 and files == set(tmp_path.glob("gaussians_*/*.png"))


def test_only_tokens_that_lie_on_gaussians_are_drawn_so() -> None:
    assert has_gaussians(tiny("gpstoken")) and not has_gaussians(tiny("titok"))
