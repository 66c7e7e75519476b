"""Training of FlexTok."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import tokzoo
from tests.helpers import some_images, tiny
from tokzoo._torchvision import import_with_torchvision
from tokzoo.training import train
from tokzoo.training.checkpoints import load_newest
from tokzoo.training.config import FlowConfig, LossConfig, OptimizerConfig, TrainConfig
from tokzoo.training.flow_matching import (
    FROZEN,
    EfficientNetTeacher,
    FlowMatching,
    Teacher,
    TimmTeacher,
    draw_lengths,
    initialise,
    lend,
)


def test_lengths_are_drawn_as_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    powers = draw_lengths(2000, 8, "powers_of_two", generator=generator)
    shares = torch.stack([(powers == length).float().mean() for length in (1, 2, 4, 8)])
    torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.05, rtol=0)
    uniform = draw_lengths(2000, 6, "uniform", generator=generator)
    assert set(uniform.tolist()) == set(range(1, 7))
    up = draw_lengths(2000, 6, "uniform_powers_of_two", generator=generator)
    assert set(up.tolist()) == {1, 2, 4, 6}
    with pytest.raises(ValueError, match="'other'"):
        draw_lengths(2, 6, "other", generator=generator)


def test_an_initialised_flextok_predicts_no_velocity() -> None:
    tok = tiny("flextok", vae=None)
    initialise(tok)
    losses = FlowMatching(LossConfig())(tok, some_images(tok), 0, torch.Generator().manual_seed(0))
    assert losses.output.aux["velocity"].abs().max() == 0
    torch.testing.assert_close(losses.total, losses.output.aux["target"].square().mean())


class Colours(Teacher):
    """A teacher whose features are the colours of four quarters, and a constant."""

    width = 4

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        quarters = nn.functional.adaptive_avg_pool2d(images, 2)
        return torch.cat([quarters - 0.5, torch.ones_like(quarters[:, :1])], dim=1)


def test_twenty_steps_lower_the_error_and_turn_patches_to_the_teacher() -> None:
    tok = tiny("flextok", vae=None)
    initialise(tok)
    torch.manual_seed(0)
    objective = FlowMatching(
        LossConfig(),
        FlowConfig(null_chance=0.0, repa_tap=0),
        teacher=Colours(),
        width=tok.config.decoder.width,
    )
    optimizer = torch.optim.AdamW([*tok.parameters(), *objective.parameters()], lr=3e-3)
    images = some_images(tok, 8)
    first = last = None
    for step in range(20):
        losses = objective(tok, images, step, torch.Generator().manual_seed(step % 2))
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        first, last = first or losses, losses
    assert last.terms["flow"] < 0.9 * first.terms["flow"]
    assert last.terms["alignment"] < 0.5 * first.terms["alignment"]


def test_the_autoencoder_can_be_kept_as_it_is() -> None:
    tok = tiny("flextok")
    for name, parameter in tok.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and not name.startswith(FROZEN))
    losses = FlowMatching(LossConfig())(tok, some_images(tok), 0, torch.Generator().manual_seed(0))
    losses.total.backward()
    without = [name for name, value in tok.named_parameters() if value.requires_grad and value.grad is None]
    assert not without
    assert not any(value.grad is not None for name, value in tok.named_parameters() if name.startswith(FROZEN))


def test_without_a_condition_the_images_tokens_have_no_say() -> None:
    tok = tiny("flextok", vae=None)
    objective = FlowMatching(LossConfig(), FlowConfig(null_chance=1.0))
    images = some_images(tok)
    draw = objective.draw(tok, images, torch.Generator().manual_seed(0))
    one, other = (tok(images, draw=draw._replace(lengths=torch.full((2,), length))) for length in (1, 8))
    torch.testing.assert_close(one.aux["velocity"], other.aux["velocity"])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, values in enumerate((some_images(tiny("flextok"), 12) * 255).byte()):
        Image.fromarray(values.permute(1, 2, 0).numpy()).save(folder / f"{number:02}.png")
    return folder


def told(photos: Path, out: Path, **options) -> TrainConfig:
    few = dict(batch_size=4, eval_images=4, device="cpu", precision="float32", workers=1)
    return TrainConfig(data=str(photos), out=str(out), recipe="flextok", **{**few, **options})


def test_the_recipe_trains_and_leaves_the_autoencoder_alone(tmp_path: Path, photos: Path) -> None:
    start = tiny("flextok")
    start.save_pretrained(tmp_path / "start")
    train(told(photos, tmp_path / "run", init=str(tmp_path / "start"), steps=3))
    before, after = start.state_dict(), tokzoo.from_pretrained(tmp_path / "run" / "final").state_dict()
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert moved
    assert not any(key.startswith(FROZEN) for key in moved)


VIT_KL = dict(
    encoder=dict(name="vit", patch_size=4, width=32, depth=1, num_heads=2),
    quantizer=dict(name="kl", code_dim=4),
    decoder=dict(name="vit", patch_size=4, width=32, depth=1, num_heads=2),
)


def test_an_autoencoder_lends_its_weights_to_a_flextok_that_trains_on_its_latents(tmp_path: Path, photos: Path) -> None:
    vae = tokzoo.create_model("grid", image_size=16, **VIT_KL).eval()
    vae.save_pretrained(tmp_path / "vae")
    model = dict(name="flextok_d12_d12", image_size=16, vae="grid", vae_config=VIT_KL, patch_size=1, num_registers=4)
    small = dict(width=32, depth=1, num_heads=2)
    model |= dict(encoder=small, decoder=small, scale=[2.0], shift=[0.5, 0.0, 0.0, 0.0], steps=2)
    final = train(told(photos, tmp_path / "run", model=model, teacher=str(tmp_path / "vae"), steps=2))
    tok, images = tokzoo.from_pretrained(final), some_images(vae)
    latents = vae.codes(vae.encode(images))
    made = (latents - torch.tensor([0.5, 0.0, 0.0, 0.0])) * 2
    seen = tok.encoder.latent_map(images)
    torch.testing.assert_close(seen.flatten(2).transpose(1, 2), made)
    torch.testing.assert_close(tok.decoder.paint(seen), vae.decode(vae.encode(images), clamp=False))
    assert tok.multiple_of is None
    tokens = tok.encode(images)
    compiled = torch.compile(tok.decode, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(tokens), tok.decode(tokens))
    with pytest.raises(ValueError, match="takes 16x16 images"):
        tok.encode(images[:, :, :8])


def test_weights_that_are_no_autoencoders_of_it_are_refused(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(ValueError, match="needs teacher=: weights of flextok_vae_c16"):
        train(told(photos, tmp_path / "run", model="flextok_d12_d12", overrides=SMALL, steps=1))
    with pytest.raises(ValueError, match="stands on no autoencoder"):
        lend(tiny("flextok", vae=None), tiny("flextok_vae"))
    with pytest.raises(ValueError, match="teacher="):
        lend(tiny("flextok"), tiny("kl16_vae"))


SMALL = asdict(tiny("flextok").config)


@pytest.mark.parametrize(
    ("network", "grid"), [("vit_tiny_patch16_224", (2, 2)), ("tf_efficientnet_lite0", (1, 1)), (None, (2, 2))]
)
def test_networks_of_timm_teach_with_features_on_a_grid(network: str | None, grid: tuple[int, int]) -> None:
    images = torch.rand(2, 3, 16, 16)
    if network is None:
        teacher = EfficientNetTeacher(32)
    else:
        sized = {"img_size": 32, "depth": 1} if network.startswith("vit") else {}
        timm = import_with_torchvision("timm")
        teacher = TimmTeacher(timm.create_model(network, num_classes=0, **sized).eval(), 32)
    features = teacher(images)
    assert features.shape == (2, teacher.width, *grid)
    assert not torch.equal(features[0], features[1])


def test_repas_network_learns_in_the_loop_and_resumes_exactly(tmp_path: Path, photos: Path) -> None:
    tiny("flextok").save_pretrained(tmp_path / "start")
    flow = FlowConfig(repa="effnet_lite0", repa_size=32, repa_tap=0, null_chance=0.0)
    options = dict(init=str(tmp_path / "start"), flow=flow, log_every=1, ema=0.0, keep=9)
    options |= dict(optimizer=OptimizerConfig(lr=3e-3, warmup=1))
    whole = train(told(photos, tmp_path / "whole", steps=12, save_every=12, **options)).parent
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    alignment = [line["alignment"] for line in lines if "alignment" in line]
    assert sum(alignment[-3:]) < 0.9 * sum(alignment[:3])
    halves = told(photos, tmp_path / "halves", steps=12, save_every=5, **options)
    train(replace(halves, max_seconds=0.0))
    last = max((tmp_path / "halves").glob("step_*"))
    assert last.name != "step_00000012"
    train(halves)
    one, other = (tokzoo.from_pretrained(tmp_path / run / "final").state_dict() for run in ("whole", "halves"))
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    ended = [load_newest(tmp_path / run).objective for run in ("whole", "halves")]
    assert ended[0] and all(torch.equal(value, ended[1][key]) for key, value in ended[0].items())
