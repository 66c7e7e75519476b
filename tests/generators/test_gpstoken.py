"""The generator of Gaussian tokens."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tokzoo
from tests.helpers import tiny
from tokzoo import _state
from tokzoo.diffusion.stochastic import stochastic
from tokzoo.generators.gpstoken.config import TINY
from tokzoo.generators.gpstoken.flow import Way
from tokzoo.generators.gpstoken.halving import halve
from tokzoo.generators.gpstoken.layouts import LayoutBank, LayoutFlow, points_of
from tokzoo.generators.gpstoken.model import GpsSit
from tokzoo.layers.gaussians import region_gaussians
from tokzoo.layers.partition import partition
from tokzoo.registry import architectures, load_object
from tokzoo.tokens import Gaussians, Tokens

MANIFEST = Path(__file__).parents[1] / "golden" / "manifests" / "gpstoken_sit_xl.json"


def some_layouts(count: int = 2, number: int = 6) -> torch.Tensor:
    unit = torch.rand(count, number, 5, generator=torch.Generator().manual_seed(0))
    return torch.cat([unit[..., :2] * 0.3 + 0.1, unit[..., 2:3] * 0, unit[..., 3:] * 2 - 1], dim=-1)


def some_model(*, trained: bool = True, layout_depth: int = 0) -> GpsSit:
    torch.manual_seed(0)
    model = GpsSit(replace(TINY, layout_depth=layout_depth, layout_width=16, layout_heads=2)).eval()
    if trained:  # fresh ones say 0
        for value in model.parameters():
            torch.nn.init.normal_(value, std=0.1)
    return model


def test_the_manifest_maps_whole() -> None:
    about = json.loads(MANIFEST.read_text())
    architecture = architectures()["gpstoken_sit_xl"]
    with torch.device("meta"):
        model = load_object(architecture.model)(architecture.config)
        published = {f"ema_model.{key}": torch.empty(shape) for key, (shape, _) in about["state_dict"].items()}
    ours = load_object(architecture.convert)(published, architecture.config)
    _state.check_fit(model.state_dict(), ours, "gpstoken_sit_xl")
    positions = math.prod(about["state_dict"]["pos_embed"][0])  # of tokens without a layout
    assert sum(value.numel() for value in model.parameters()) == about["params"] - positions


def test_a_stochastic_way_ends_in_the_distribution_of_its_velocity() -> None:
    mean, spread = 2.0, 0.5  # of what is drawn, a normal number: its velocity is known

    def velocity(place: torch.Tensor, moment: float) -> torch.Tensor:
        variance = moment**2 * spread**2 + (1 - moment) ** 2
        away = (place - moment * mean) / variance
        return mean + moment * spread**2 * away - (1 - moment) * away

    generator = torch.Generator().manual_seed(0)
    made = stochastic(velocity, torch.randn(20000, generator=generator), 100, generator=generator)
    assert float(made.mean()) == pytest.approx(mean, abs=0.03)
    assert float(made.std()) == pytest.approx(spread, abs=0.03)


def test_a_model_that_knows_nothing_gives_its_noise_in_the_scale_of_tokens() -> None:
    layouts, noise = some_layouts(), torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(1)) * 0.1
    tokens = some_model(trained=False).sample([1, 2], layouts=layouts, noise=noise, method="heun", num_steps=2)
    assert tokens.layout == Gaussians(6) and tokens.extent == (16, 16)
    torch.testing.assert_close(tokens.latents, noise[..., 5:] * 0.5 + 0.1)
    torch.testing.assert_close(tokens.geometry, layouts + noise[..., :5] * 0.5 + 0.1)


def test_tokens_are_in_no_order() -> None:
    model, layouts = some_model(), some_layouts()
    noise = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(1))
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    one = model.sample([1, 2], layouts=layouts, noise=noise, method="euler", num_steps=3)
    other = model.sample([1, 2], layouts=layouts[:, order], noise=noise[:, order], method="euler", num_steps=3)
    torch.testing.assert_close(other.latents, one.latents[:, order], atol=1e-5, rtol=1e-5)


def test_guidance_begins_where_it_is_told_to() -> None:
    model, given = some_model(), dict(layouts=some_layouts(), method="euler", num_steps=4)
    given["noise"] = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(1))
    plain = model.sample([1, 2], **given).latents
    assert torch.equal(model.sample([1, 2], guidance=3.0, guided_from=0.9, **given).latents, plain)
    late, early = (model.sample([1, 2], guidance=3.0, guided_from=at, **given).latents for at in (0.6, 0.0))
    assert not torch.allclose(late, plain) and not torch.allclose(early, late)


def test_the_same_generator_gives_the_same_tokens() -> None:
    model = some_model()
    first, second = (
        model.sample([3], layouts=some_layouts(1), num_steps=5, generator=torch.Generator().manual_seed(4)).latents
        for _ in range(2)
    )
    assert torch.equal(first, second)


def test_it_learns_one_batch() -> None:
    model, layouts = some_model(trained=False).train(), some_layouts()
    features = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(2))
    tokens = Tokens(layout=Gaussians(6), latents=features, geometry=layouts + 0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for step in range(60):
        generator = torch.Generator().manual_seed(step)
        loss = model.loss(tokens, [1, 2], layouts=layouts, label_dropout=0.1, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_bad_requests_are_refused_by_name() -> None:
    model = some_model()
    with pytest.raises(ValueError, match=r"has no layout stage, so it needs layouts=, \(2, 6, 5\)"):
        model.sample([1, 2])
    for number in (0, 7):
        with pytest.raises(ValueError, match=f"num_tokens must be 1 to 6; got {number}"):
            some_model(layout_depth=1).sample([1, 2], num_tokens=number)
    with pytest.raises(ValueError, match="has 64 regions of at least 2 pixels; got 65"):
        halve(torch.rand(1, 65, 2), torch.ones(1, 65, 2), 16)
    with pytest.raises(ValueError, match="num_tokens=4, but the layouts are of 6"):
        model.sample([1, 2], layouts=some_layouts(), num_tokens=4)
    with pytest.raises(ValueError, match=r"labels must be 0 to 9; got \[10\]"):
        some_model(layout_depth=1).sample([1, 10])
    tokens = Tokens(layout=Gaussians(6), latents=torch.zeros(2, 6, 4), geometry=some_layouts())
    with pytest.raises(ValueError, match="give layouts= or regions="):
        model.loss(tokens, [1, 2])
    with pytest.raises(ValueError, match=r"layouts must be \(2, 6, 5\), as the tokens; got \(2, 5, 5\)"):
        model.loss(tokens, [1, 2], layouts=some_layouts(number=5))
    with pytest.raises(ValueError, match="build it with image_size=16"):
        tokzoo.create_model("gpstoken_sit_nano", tokenizer=tiny("gpstoken"), num_tokens=6)
    with pytest.raises(ValueError, match=r"layouts must be \(N, 5\) or \(3, N, 5\)"):
        model.sample([1, 2, 3], layouts=some_layouts())
    with pytest.raises(ValueError, match="the layouts hold NaN"):
        model.sample([1, 2], layouts=some_layouts() * torch.nan)
    with pytest.raises(ValueError, match="method must be"):
        model.sample([1, 2], layouts=some_layouts(), method="dopri5")
    with pytest.raises(ValueError, match="at least 2 steps"):
        model.sample([1, 2], layouts=some_layouts(), num_steps=1)
    spec = load_object(architectures()["titok_nano"].model)(architectures()["titok_nano"].config).token_spec
    with pytest.raises(ValueError, match="no pair"):
        model.check_pair(spec)


# --- layouts ---------------------------------------------------------------------------------------------------------


def some_partitions(count: int = 4, number: int = 9) -> torch.Tensor:
    grey = torch.rand(count, 16, 16, generator=torch.Generator().manual_seed(0))
    return region_gaussians(partition(grey, number, least_side=2, power=2.5, looked_side=16), (16, 16))


def some_flow(layouts: torch.Tensor, **changes: int) -> LayoutFlow:
    torch.manual_seed(0)
    points = points_of(layouts, 16).flatten(0, 1)
    means, deviations = (tuple(each.tolist()) for each in (points.mean(0), points.std(0)))
    sizes = dict(image_size=16, num_classes=3, width=32, depth=2, num_heads=2) | changes
    return LayoutFlow(**sizes, means=means, deviations=deviations)


def test_a_layout_goes_to_points_and_back_whole() -> None:
    layouts = some_partitions()
    flow = some_flow(layouts)
    near = flow.to_points(layouts) + 0.01 * torch.randn(4, 9, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flow.to_layouts(near), layouts)


@pytest.mark.parametrize(("size", "number"), [(16, 1), (16, 64), (24, 20), (64, 32)])
@pytest.mark.parametrize("spread", [0.01, 1.0, 3.0])
def test_whatever_points_are_drawn_regions_fill_the_picture(size: int, number: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(0)
    centres = size / 2 + spread * size / 2 * torch.randn(3, number, 2, generator=generator)
    regions = halve(centres, size / 4 * torch.rand(3, number, 2, generator=generator), size)
    pixels = torch.arange(size)
    inside = (regions[..., :2, None] <= pixels) & (pixels <= regions[..., 2:, None])  # (B, N, 2, S)
    covers = inside[:, :, 0, None, :] & inside[:, :, 1, :, None]
    assert bool((covers.sum(1) == 1).all()) and bool((regions[..., 2:] > regions[..., :2]).all())


@torch.no_grad()
def test_layouts_are_drawn_in_no_order() -> None:
    flow = some_flow(some_partitions()).double()
    for value in flow.parameters():
        torch.nn.init.normal_(value, std=0.1)
    noise = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(1))
    order, way = torch.randperm(9, generator=torch.Generator().manual_seed(2)), Way(num_steps=4, method="heun")
    given = (torch.tensor([0, 1]), lambda classes: torch.full_like(classes, 2), way)
    one, other = flow.sample(noise, *given), flow.sample(noise[:, order], *given)
    assert torch.equal(other, one[:, order]) and not torch.equal(other, one)


def test_layouts_of_two_classes_are_learned_and_told_apart() -> None:
    left = [(8, 0, 15, 15), (0, 0, 7, 7), (0, 8, 3, 15), (4, 8, 7, 15)]  # small regions on the left, or on the right
    right = [(0, 0, 7, 15), (8, 0, 15, 7), (8, 8, 11, 15), (12, 8, 15, 15)]
    layouts = region_gaussians(torch.tensor([left, right]), (16, 16))
    flow, generator = some_flow(layouts, width=64, depth=1), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(flow.parameters(), lr=3e-3)
    classes = torch.arange(2).repeat(32)
    for _ in range(400):
        loss = flow.loss(layouts[classes], classes, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    asked = torch.arange(2).repeat_interleave(20)
    with torch.no_grad():
        noise = torch.randn(40, 4, 4, generator=generator)
        made = flow.sample(noise, asked, lambda classes: classes, Way(num_steps=20, method="heun"))
    on_the_right = ((made[..., 3] > 0).sum(1) > 2).long()  # most regions
    assert float((on_the_right == asked).float().mean()) > 0.85
    whole = [sorted(each.tolist()) == sorted(layouts[label].tolist()) for each, label in zip(made, asked, strict=True)]
    assert sum(whole) > 20  # of 40; untrained, 4 were


def test_labels_alone_give_layouts_and_textures() -> None:
    model, generator = some_model(layout_depth=1), torch.Generator()
    options = dict(num_samples=2, method="euler", num_steps=3, generator=generator)
    both = model.sample([1, 2], **options)
    assert both.geometry.shape == (4, 6, 5) and both.layout == Gaussians(6)
    assert model.sample([1], num_tokens=3, **options).layout == Gaussians(3)
    generator.manual_seed(0)
    one = model.sample([1, 2], layouts=some_layouts(1)[0], **options)
    generator.manual_seed(0)
    assert torch.equal(GpsSit.sample(model, [1, 2], layouts=some_layouts(1), **options).latents, one.latents)


def test_in_bfloat16_both_stages_draw_and_textures_are_nearly_the_same() -> None:
    model = some_model(layout_depth=1)
    noise = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(1))
    given = dict(layouts=some_layouts(), noise=noise, method="heun", num_steps=4)
    before = model.sample([1, 2], **given).latents
    after = model.to(torch.bfloat16).sample([1, 2], **given).latents
    assert after.dtype == torch.float32 and float((after - before).abs().mean()) < 0.1 * float(before.std())
    assert bool(model.sample([1, 2], method="heun", num_steps=4).latents.isfinite().all())


def test_both_stages_learn_from_one_loss() -> None:
    model = some_model(layout_depth=1)
    tokens = Tokens(layout=Gaussians(6), latents=torch.zeros(2, 6, 4), geometry=some_layouts() + 0.1)
    model.loss(tokens, [1, 2], layouts=some_layouts(), label_dropout=0.1).backward()
    assert all(value.grad is not None and bool(value.grad.any()) for value in model.velocity.blocks.parameters())
    assert all(
        value.grad is not None and bool(value.grad.any()) for value in model.layouts.velocity.blocks.parameters()
    )


def test_a_bank_gives_each_sample_a_layout_of_its_class(tmp_path: Path) -> None:
    held = {name: torch.full((3, 6, 5), 0.1 * (number + 1)) for number, name in enumerate(("cat", "ant"))}
    bank = LayoutBank.read(LayoutBank(held).save(tmp_path / "bank.safetensors"))
    assert list(bank.layouts) == ["cat", "ant"]
    labels = torch.tensor([0, 1, 1])
    assert bank.draw(labels, (), None)[:, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.2])
    assert bank.draw(labels, ("ant", "cat"), None)[:, 0, 0].tolist() == pytest.approx([0.2, 0.1, 0.1])
    model = some_model(trained=False)
    made = model.sample([0, 1], layouts=bank, noise=torch.zeros(2, 6, 9), method="euler", num_steps=1)
    torch.testing.assert_close(made.geometry[:, 0, 3], torch.tensor([0.2, 0.3]))  # 0.1 is the mean change
    with pytest.raises(ValueError, match="no layouts of class '2'; of cat, ant it does"):
        bank.draw(torch.tensor([2]), (), None)
    with pytest.raises(ValueError, match="a bank holds layouts"):
        LayoutBank({"cat": torch.zeros(0, 6, 5)})
    (tmp_path / "pickle").write_bytes(b"no bank")
    with pytest.raises(ValueError, match="is no bank of layouts"):
        LayoutBank.read(tmp_path / "pickle")
