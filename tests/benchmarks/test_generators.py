"""The bench of sampling counts what a step reads, and runs where the authors' code is not."""

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
