"""The bench of the quantizers leaves none out, compares equal things, and was won."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from tokzoo import shelf
from tokzoo.benchmarks.quantizers import _ours, _settings

RECORDED = Path(__file__).parents[2] / "eval" / "results" / "micro_quantizers.json"
DRAWN = ("bae", "gumbel")  # by chance
PLAIN = [entry for entry in _settings() if entry.plain is not None and entry.name not in DRAWN]


def names_in(described: object) -> set[str]:
    """Of a described quantizer and those inside it."""
    if isinstance(described, Mapping):
        return {str(described["name"])}.union(*(names_in(value) for value in described.values()))
    return set().union(*map(names_in, described)) if isinstance(described, list | tuple) else set()


def test_every_quantizer_of_the_shelf_is_measured() -> None:
    measured = {entry.name for entry in _settings()}
    assert set().union(*(names_in(entry.described) for entry in _settings())) == set(shelf.QUANTIZERS)
    recorded = json.loads(RECORDED.read_text())["comparisons"]
    assert {entry["setting"].partition(":")[0] for entry in recorded} == measured


def test_no_recorded_way_is_faster_than_ours() -> None:
    recorded = json.loads(RECORDED.read_text())["comparisons"]
    ratios = {
        (entry["setting"], other): ratio["cpu_time"]
        for entry in recorded
        for other, ratio in entry["times_as_fast_as"].items()
    }
    assert not {key: ratio for key, ratio in ratios.items() if ratio < 1}


@pytest.mark.parametrize(("name", "described", "plain"), [(e[0], e[2], e[3]) for e in PLAIN], ids=[e[0] for e in PLAIN])
def test_the_plain_way_has_the_same_loss_and_gradient(name: str, described: dict, plain: object) -> None:
    torch.manual_seed(0)
    quantizer = shelf.build_quantizer(described).train()
    latents = torch.randn(2, 256, quantizer.latent_dim)
    ours, others = latents.clone().requires_grad_(), latents.clone().requires_grad_()
    expected = plain(quantizer)(others)
    made = _ours(quantizer, entropy="entropy" in name)(ours)
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-4)
    made.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, others.grad, rtol=1e-2, atol=1e-5)
