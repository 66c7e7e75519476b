"""KARL and ALIT learn: a base tokenizer's words first, pixels after; halting beyond what was enough."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml

import tokzoo
from tests.helpers import some_images, tiny
from tests.training.test_training import config, photos  # noqa: F401
from tokzoo.encoders.halting_query import ERRORS
from tokzoo.registry import override
from tokzoo.tokenizers.karl import config as karl_sizes
from tokzoo.tokenizers.karl.model import Karl
from tokzoo.training.adaptive_length import AlitCodes, KarlPixels, karl_budgets, lend, round_weights, two_passes
from tokzoo.training.config import LossConfig
from tokzoo.training.loop import train

PIXELS_ONLY = LossConfig(perceptual=0.0)


def small_karl() -> Karl:
    """On pixels, without a base tokenizer."""
    torch.manual_seed(0)
    return Karl(override(karl_sizes.TINY, {"base": {"kind": "none"}, "num_tokens": 6}))


def test_budgets_are_the_published_ones() -> None:
    assert karl_budgets(256) == list(range(16, 369, 16))
    assert karl_budgets(16) == list(range(1, 24))
    assert round_weights(8) == [2.5, 2.0, 1.5, 1.25, 1.0, 1.0, 1.0, 1.0]


def test_karl_is_told_the_error_that_its_first_pass_reached() -> None:
    tok, images = small_karl(), some_images(small_karl())
    asked = (torch.tensor(ERRORS) <= 0.04).float()
    seen: list[dict] = []
    forward = tok.forward
    tok.forward = lambda *given, **options: seen.append(options) or forward(*given, **options)
    passes = two_passes(tok, images, asked, torch.Generator().manual_seed(0))
    first, second = seen
    assert first["masked"] is False and "needed" not in first
    assert second["num_tokens"] == 6 and second["needed"] == min(6, first["num_tokens"])
    reached = (passes.estimate.reconstruction - images).abs().flatten(1).mean(1)
    torch.testing.assert_close(second["max_error"], reached)
    assert (first["max_error"] <= 0.04).all()
    assert float(asked.sum()) == pytest.approx(1.0)
    assert asked[len(ERRORS) // 2 :].sum() == 0


def test_karl_learns_pixels_and_when_to_halt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokzoo.training.adaptive_length.BUDGETS", 1)  # four times the passes are four times the wait
    tok, objective = small_karl(), KarlPixels(PIXELS_ONLY)
    colours = torch.rand(16, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    images = 0.7 * colours + torch.linspace(0.02, 0.3, 16)[:, None, None, None] * some_images(tok, 16)
    optimizer = torch.optim.AdamW(tok.parameters(), lr=1e-3)
    errors, halting = [], []
    for step in range(160):
        losses = objective(tok, images, step, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        errors.append(float(losses.terms["mse"].detach()))
        halting.append(float(losses.terms["halting_loss"].detach()))
    assert sum(errors[-10:]) < 10 * 0.6 * errors[0]  # the best single picture for all leaves 0.66
    assert sum(halting[-10:]) < 0.85 * sum(halting[:10])


@pytest.mark.parametrize("family", ["karl", "alit"])
@pytest.mark.parametrize("base", ["vqgan", "vae"])
def test_two_stages_keep_the_base_then_train_it(family: str, base: str, photos: Path, tmp_path: Path) -> None:  # noqa: F811
    teacher = tiny("maskgit_vqgan" if base == "vqgan" else "kl16_vae")
    sizes = tiny(family).config.base
    teacher = type(teacher)(getattr(sizes, base))
    teacher.save_pretrained(tmp_path / "teacher")
    overrides = asdict(tiny(family).config)
    overrides["base"]["kind"] = base
    name = {"karl": "karl_small_vqgan_quantized", "alit": "alit_small_vqgan_quantized"}[family]
    changes = dict(
        model=name,
        recipe=family,
        teacher=str(tmp_path / "teacher"),
        overrides=overrides,
        loss=PIXELS_ONLY,
        batch_size=4,
    )
    first = train(config(photos, tmp_path / "first", steps=2, stage_one_steps=1, **changes))
    tok = tokzoo.from_pretrained(first)
    own = tok.state_dict()
    rows = [yaml.safe_load(line) for line in (tmp_path / "first" / "metrics.jsonl").read_text().splitlines()]
    terms = [set(row) for row in rows if "loss" in row]
    assert "code_error" in terms[0] and ("cross_entropy" in terms[0]) == (base == "vqgan")
    assert "mse" in terms[-1] and ("halting_loss" in terms[-1]) == (family == "karl")
    prefix = "encoder.base." if base == "vqgan" else "encoder.base.encoder."
    lent = {key: value for key, value in teacher.state_dict().items() if key.startswith("encoder.conv_in")}
    moved = [not torch.equal(own[prefix + key.removeprefix("encoder.")], value) for key, value in lent.items()]
    assert any(moved)  # the second stage moved the base
    other = lend(teacher)(tokzoo.create_model(name, **overrides))
    for key, value in lent.items():
        assert torch.equal(other.state_dict()[prefix + key.removeprefix("encoder.")], value)


def test_a_teacher_that_is_not_the_base_is_refused() -> None:
    with pytest.raises(ValueError, match="is not the base tokenizer"):
        lend(tiny("titok"))(tiny("karl"))
    with pytest.raises(ValueError, match="no base tokenizer"):
        without = override(tiny("alit").config, {"base": {"kind": "none"}})
        alit = type(tiny("alit"))(replace(without))
        AlitCodes(PIXELS_ONLY)(alit, some_images(alit), 0, torch.Generator())


@torch.no_grad()
def test_a_karl_on_pixels_begins_with_what_a_titok_knows() -> None:
    titok = tiny("titok", num_tokens=8, patch_size=2)
    changes = {"base": {"kind": "none"}, "num_tokens": 8, "max_tokens": 8, "position_side": 8}
    untrained = Karl(override(karl_sizes.TINY, changes)).eval()
    karl = lend(titok)(untrained)
    images = some_images(titok)
    # their class tokens part them: with these out of the way, and the same token in front, both are one network
    titok.encoder.class_token.zero_()
    titok.encoder.positions[0] = karl.encoder.error_embeddings[0]
    seen = karl.encoder(images, max_error=0.0).latents
    torch.testing.assert_close(seen, titok.features(images))
    codes = titok.codes(titok.encode(images))
    torch.testing.assert_close(karl.decoder.embed(codes), titok.decoder.embed(codes))
    torch.testing.assert_close(karl.decoder.code_positions, titok.decoder.code_positions)
