"""Training of FlexTok."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import tokzoo
from tests.helpers import some_images, tiny
from tokzoo.training import train
from tokzoo.training.config import LossConfig, TrainConfig
from tokzoo.training.flow_matching import FROZEN, FlowMatching, draw_lengths, initialise


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


class Colours(nn.Module):
    """A teacher whose features are the colours of four quarters, and a constant."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        quarters = nn.functional.adaptive_avg_pool2d(images, 2)
        return torch.cat([quarters - 0.5, torch.ones_like(quarters[:, :1])], dim=1)


def test_twenty_steps_lower_the_error_and_turn_patches_to_the_teacher() -> None:
    tok = tiny("flextok", vae=None)
    initialise(tok)
    torch.manual_seed(0)
    objective = FlowMatching(
        LossConfig(), teacher=Colours(), teacher_width=4, width=tok.config.decoder.width, null_chance=0.0, tap=0
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
    objective = FlowMatching(LossConfig(), null_chance=1.0)
    images = some_images(tok)
    draw = objective.draw(tok, images, torch.Generator().manual_seed(0))
    one, other = (tok(images, draw=draw._replace(lengths=torch.full((2,), length))) for length in (1, 8))
    torch.testing.assert_close(one.aux["velocity"], other.aux["velocity"])


def test_the_recipe_trains_and_leaves_the_autoencoder_alone(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, values in enumerate((some_images(tiny("flextok"), 12) * 255).byte()):
        Image.fromarray(values.permute(1, 2, 0).numpy()).save(photos / f"{number:02}.png")
    start = tiny("flextok")
    start.save_pretrained(tmp_path / "start")
    told = TrainConfig(
        data=str(photos),
        out=str(tmp_path / "run"),
        init=str(tmp_path / "start"),
        recipe="flextok",
        steps=3,
        batch_size=4,
        eval_images=4,
        device="cpu",
        precision="float32",
        workers=1,
    )
    train(told)
    before, after = start.state_dict(), tokzoo.from_pretrained(tmp_path / "run" / "final").state_dict()
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert moved
    assert not any(key.startswith(FROZEN) for key in moved)
