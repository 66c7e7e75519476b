"""The bench of sampling counts what a step reads, and runs where the authors' code is not."""

import importlib.util

import pytest
import torch

from tokzoo.benchmarks import generators
from tokzoo.generators.gpt.config import TINY


def test_a_step_reads_the_weights_and_the_cache_of_every_row() -> None:
    model = generators.speaking(TINY)
    tables = model.embed.weight.numel() + model.condition_embed.weight.numel()
    weights = 4 * (sum(value.numel() for value in model.parameters()) - tables)
    caches = model.new_caches(3, 5)  # and one place for the condition
    held = sum(4 * (cache.keys.numel() + cache.values.numel()) for cache in caches)
    assert generators.bytes_of_token(model, 3, 5) == weights + held


def test_without_the_authors_folder_ours_is_timed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(generators.AUTHORS, raising=False)
    monkeypatch.setattr(generators, "COPIED", 1000)
    with torch.inference_mode():
        comparison = generators.sampling(generators.speaking(TINY), 1, device="cpu", rounds=1)
    assert list(comparison.timings) == ["tokzoo"]
    assert "of the copy bound" in comparison.note


@pytest.mark.slow
def test_compiled_steps_are_timed_beside_eager_ones_and_weights_of_eight_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(generators.AUTHORS, raising=False)
    monkeypatch.setattr(generators, "COPIED", 1000)
    with torch.inference_mode():
        comparison = generators.forms(TINY, 2, device="cpu", rounds=1)
    bits = ["8 bits"] if importlib.util.find_spec("torchao") else []
    assert list(comparison.timings) == ["tokzoo", "eager", *bits]
    assert comparison.note.count("of the copy bound") == len(comparison.timings)


def test_weights_of_eight_bits_are_counted_as_they_are_stored() -> None:
    pytest.importorskip("torchao.quantization")
    whole = generators.speaking(TINY)
    small = generators.in_eight_bits(generators.speaking(TINY))
    fewer = generators.bytes_of_token(whole, 1, 0) - generators.bytes_of_token(small, 1, 0)
    linear = [module for module in whole.modules() if isinstance(module, torch.nn.Linear)]
    weights, rows = sum(each.weight.numel() for each in linear), sum(each.out_features for each in linear)
    assert 3 * weights - 8 * rows <= fewer < 3 * weights  # a scale and an offset for each row
