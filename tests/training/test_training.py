"""Training learns, resumes bit for bit, stops on NaN, fine-tunes and freezes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import tokzoo
from tests.helpers import tiny
from tokzoo.quantizers.usage import CodeUse
from tokzoo.tokenizers.base import TokenizerOutput
from tokzoo.training import loop
from tokzoo.training.checkpoints import load_newest
from tokzoo.training.config import LossConfig, OptimizerConfig, TrainConfig, plain
from tokzoo.training.export import averaged_model
from tokzoo.training.loop import NonFiniteLossError, mixed_precision, train
from tokzoo.training.objectives import Losses, Reconstruction
from tokzoo.training.optimizers import build_optimizers, learning_rate
from tokzoo.training.recipes import Stage

TINY = {
    "image_size": 16,
    "patch_size": 4,
    "num_tokens": 4,
    "encoder": {"width": 32, "depth": 1, "num_heads": 2},
    "decoder": {"width": 32, "depth": 1, "num_heads": 2},
    "codebook_size": 16,
    "code_dim": 6,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small pictures: a bright square somewhere on a coloured ground."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number in range(40):
        picture = np.full((20, 20, 3), generator.integers(0, 120, 3), dtype=np.uint8)
        top, left = generator.integers(0, 12, 2)
        picture[top : top + 8, left : left + 8] = generator.integers(130, 255, 3)
        Image.fromarray(picture).save(folder / f"{number:02}.png")
    return folder


def config(photos: Path, out: Path, **changes: object) -> TrainConfig:
    base = TrainConfig(
        data=str(photos),
        out=str(out),
        overrides=TINY,
        steps=12,
        batch_size=8,
        loss=LossConfig(perceptual=0.0),
        optimizer=OptimizerConfig(lr=2e-3, warmup=2),
        ema=0.9,
        revive_every=3,
        device="cpu",
        precision="float32",
        log_every=1,
        eval_every=6,
        eval_images=8,
        save_every=4,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def losses(run: Path) -> dict[int, float]:
    rows = [yaml.safe_load(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def test_sixty_steps_on_one_batch_halve_the_pixel_error(photos: Path, tmp_path: Path) -> None:
    train(config(photos, tmp_path, steps=60, batch_size=32, save_every=60))
    rows = [yaml.safe_load(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    errors = [row["mse"] for row in rows if "mse" in row]
    assert np.mean(errors[-5:]) < 0.5 * errors[0]
    assert any("val_psnr" in row for row in rows)
    assert tokzoo.from_pretrained(tmp_path / "final").config.num_tokens == 4


@pytest.mark.parametrize("muon_lr", [None, 5e-3])
def test_a_run_killed_by_signal_9_goes_on_bit_for_bit(photos: Path, tmp_path: Path, muon_lr: float | None) -> None:
    optimizer = OptimizerConfig(lr=1e-3, muon_lr=muon_lr, warmup=2)
    whole = config(photos, tmp_path / "whole", steps=40, optimizer=optimizer)
    broken = replace(whole, out=str(tmp_path / "broken"))
    train(whole)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(plain(broken)))
    command = [sys.executable, "-m", "tokzoo.cli.main", "train", "--config", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if any((tmp_path / "broken").glob("step_*")):
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    assert process.wait() in (-signal.SIGKILL, 0)
    cut = load_newest(tmp_path / "broken")
    assert cut is not None
    train(broken)
    first, second = losses(tmp_path / "whole"), losses(tmp_path / "broken")
    assert {step: second[step] for step in first} == first
    one, two = (tokzoo.from_pretrained(tmp_path / name / "final").state_dict() for name in ("whole", "broken"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_stopped_by_the_clock_it_says_so_and_goes_on(photos: Path, tmp_path: Path) -> None:
    late = config(photos, tmp_path, max_seconds=0.0)
    assert train(late) == tmp_path
    assert load_newest(tmp_path).step == 1
    averaged, checkpoint = averaged_model(tmp_path)
    assert checkpoint.step == 1 and torch.equal(averaged.quantizer.codebook, checkpoint.ema["quantizer.codebook"])
    assert train(replace(late, max_seconds=None)) == tmp_path / "final"


def test_another_config_in_the_same_folder_is_refused_by_field(photos: Path, tmp_path: Path) -> None:
    train(config(photos, tmp_path))
    with pytest.raises(ValueError, match=r"batch_size: 8 -> 4"):
        train(config(photos, tmp_path, batch_size=4))


def test_a_diverging_run_stops_with_a_diagnosis_and_keeps_its_checkpoint(photos: Path, tmp_path: Path) -> None:
    wild = config(photos, tmp_path, steps=200, optimizer=OptimizerConfig(lr=1e30, warmup=6, clip=1e30))
    with pytest.raises(NonFiniteLossError, match=r"terms .*mse.*Try a lower learning rate"):
        train(wild)
    kept = load_newest(tmp_path)
    assert kept is None or all(value.isfinite().all() for value in kept.model.values())


def test_fine_tuning_starts_from_the_weights_and_leaves_frozen_parts_alone(photos: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    tok = tiny("titok")
    tok.save_pretrained(start)
    final = train(config(photos, tmp_path / "run", overrides={}, init=str(start), freeze=("encoder", "quantizer")))
    tuned = tokzoo.from_pretrained(final)
    before, after = tok.state_dict(), tuned.state_dict()
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert all(key in same for key in before if key.startswith(("encoder.", "quantizer.")))
    assert any(key not in same for key in before if key.startswith("decoder."))


def test_a_freeze_that_names_nothing_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'encodr' names no parameter; names begin with \['decoder', 'encoder'"):
        train(config(photos, tmp_path, freeze=("encodr",)))


def test_the_continuous_bottleneck_trains_too(photos: Path, tmp_path: Path) -> None:
    train(config(photos, tmp_path, overrides={**TINY, "bottleneck": "kl"}))
    assert all(np.isfinite(value) for value in losses(tmp_path).values())


def test_entropy_and_adversary_take_part(photos: Path, tmp_path: Path) -> None:
    loss = LossConfig(perceptual=0.0, entropy=0.1, adversarial=0.1, adversarial_start=2, lecam=0.001)
    train(config(photos, tmp_path, steps=4, overrides={**TINY, "image_size": 32, "patch_size": 8}, loss=loss))
    rows = [yaml.safe_load(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert "entropy" in rows[0] and "adversarial" not in rows[0]
    assert "adversarial" in next(row for row in rows if row["step"] == 4 and "loss" in row)
    assert "objective.discriminator.layers.0.weight" in load_newest(tmp_path).objective


class Tinted(Reconstruction):
    """An objective that learns a colour to add to what came back, and has a discriminator, which it must not touch."""

    def __init__(self, weights: LossConfig):
        super().__init__(weights)
        self.tint = torch.nn.Parameter(torch.zeros(3, 1, 1))

    def score(self, tok: torch.nn.Module, images: torch.Tensor, output: TokenizerOutput, step: int) -> Losses:
        tinted = output._replace(reconstruction=output.reconstruction + self.tint)
        return super().score(tok, images, tinted, step)


def test_parameters_of_an_objective_learn_and_resume_exactly(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "build_stages", lambda told: [Stage(Tinted(told.loss), ("",), told.steps)])
    loss = LossConfig(perceptual=0.0, adversarial=0.1, adversarial_start=6)
    sizes = {**TINY, "image_size": 32, "patch_size": 8}
    whole = config(photos, tmp_path / "whole", overrides=sizes, loss=loss, save_every=12)
    broken = replace(whole, out=str(tmp_path / "broken"), max_seconds=0.0)
    train(whole)
    train(broken)
    assert load_newest(tmp_path / "broken").step == 1
    train(replace(broken, max_seconds=None))
    one, two = (load_newest(tmp_path / name) for name in ("whole", "broken"))
    assert one.objective["objective.tint"].abs().min() > 0
    assert all(torch.equal(one.objective[key], two.objective[key]) for key in one.objective)
    assert "tint" not in str(one.ema) and one.ema.keys() == one.model.keys()


def test_titok_learns_codes_first_and_pixels_after(photos: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    vqgan = tiny("maskgit_vqgan", multipliers=(1, 1, 2))
    vqgan.save_pretrained(teacher)
    two = config(photos, tmp_path / "run", recipe="titok_two_stage", teacher=str(teacher), stage_one_steps=6)
    tok = tokzoo.from_pretrained(train(two))
    assert tok.config.head == "code_mixture"
    stages = [yaml.safe_load(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert "cross_entropy" in stages[0] and any("mse" in row for row in stages)
    assert tok.decode(tok.encode(torch.rand(1, 3, 16, 16))).shape == (1, 3, 16, 16)


def test_the_learning_rate_warms_up_and_falls_to_its_floor() -> None:
    schedule = OptimizerConfig(lr=1.0, min_lr=0.1, warmup=4)
    rates = [learning_rate(step, 20, schedule) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0 and rates[-1] < 0.12
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_every_weight_has_one_optimizer_and_muon_has_the_matrices_of_blocks() -> None:
    tok = tiny("titok")
    adamw, muon = build_optimizers(tok, OptimizerConfig(lr=1e-3, muon_lr=5e-3))
    held = [value for each in (adamw, muon) for group in each.param_groups for value in group["params"]]
    assert {id(value) for value in held} == {id(value) for value in tok.parameters()}
    assert len(held) == len(list(tok.parameters()))
    blocks = {
        id(module.weight) for name, module in tok.named_modules() if "blocks." in name and hasattr(module, "bias")
    }
    matrices = {id(value) for value in muon.param_groups[0]["params"]}
    assert matrices <= blocks and len(matrices) == 2 * 4  # qkv, proj, fc1, fc2 of one block in either half
    assert muon.param_groups[0]["share"] == 5 and adamw.param_groups[0]["share"] == 1
    assert len(build_optimizers(tok, OptimizerConfig(muon_lr=None))) == 1


def test_automatic_precision_is_bf16_where_the_processor_computes_in_it(photos: Path, tmp_path: Path) -> None:
    native = torch.cpu._is_avx512_bf16_supported()
    assert mixed_precision(config(photos, tmp_path, precision="auto")) == ("bf16" if native else "no")
    assert mixed_precision(config(photos, tmp_path, precision="bf16")) == "bf16"


def test_dead_codes_move_onto_latents() -> None:
    quantizer = tiny("titok").quantizer
    use = CodeUse(16)
    use.update(torch.zeros(1, 8).long())  # all on code 0
    latents = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    kept = quantizer.codebook[0].clone()
    assert use.usage() == 1 / 16
    assert use.revive(quantizer, latents, torch.Generator().manual_seed(0)) == 15
    assert torch.equal(quantizer.codebook[0], kept)
    places = torch.nn.functional.normalize(latents.flatten(0, 1), dim=-1)
    assert torch.cdist(quantizer.codebook[1:].detach(), places).min(1).values.max() < 1e-3  # rounding of cdist
    assert use.usage() == 1
