"""Saved and loaded, a generator says the same; in bfloat16, nearly."""

from pathlib import Path

import pytest
import torch

import tokzoo
from tests.generators import test_maskgen, test_open_magvit2, test_var
from tokzoo.generators.base import Generator

KINDS = {
    "var": test_var.made,
    "open_magvit2": test_open_magvit2.made,
    "maskgen_vq": lambda: test_maskgen.made("vq"),
    "maskgen_kl": lambda: test_maskgen.made("kl"),
}


def said(kind: str, model: Generator) -> torch.Tensor:
    """What it says of some tokens, all in one tensor."""
    if kind == "var":
        noise = torch.randn(2, 29, 8, generator=torch.Generator().manual_seed(0)).to(model.dtype)
        return model.predict(noise, torch.tensor([1, 2]))
    if kind == "open_magvit2":
        return torch.cat(model.part_logits(torch.arange(32).view(2, 16), torch.tensor([1, 2])), dim=-1)
    condition = model.condition(test_maskgen.caption(2))
    if kind == "maskgen_vq":
        return model.logits(torch.arange(24).view(2, 12) * 40 // 24, condition)
    known = torch.tensor([[0, 3], [1, 7]])
    return model.backbone(torch.ones(2, 8, 4), known, condition).float()


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_says_the_same(kind: str, tmp_path: Path) -> None:
    model = KINDS[kind]()
    again = tokzoo.from_pretrained(model.save_pretrained(tmp_path))
    assert type(again) is type(model) and again.config == model.config
    before, after = said(kind, model), said(kind, again)
    assert before.std() > 1e-3 and torch.equal(before, after)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_in_bfloat16_it_says_nearly_the_same(kind: str) -> None:
    model = KINDS[kind]()
    before = said(kind, model)
    after = said(kind, model.to(torch.bfloat16))
    assert (before - after).abs().mean() < 0.1 * before.std()
