"""The generator of Gaussian tokens."""

import json
import math
from pathlib import Path

import pytest
import torch

from tokzoo import _state
from tokzoo.diffusion.stochastic import stochastic
from tokzoo.generators.gpstoken.config import TINY
from tokzoo.generators.gpstoken.model import GpsSit
from tokzoo.registry import architectures, load_object
from tokzoo.tokens import Gaussians, Tokens

MANIFEST = Path(__file__).parents[1] / "golden" / "manifests" / "gpstoken_sit_xl.json"


def some_layouts(count: int = 2, number: int = 6) -> torch.Tensor:
    unit = torch.rand(count, number, 5, generator=torch.Generator().manual_seed(0))
    return torch.cat([unit[..., :2] * 0.3 + 0.1, unit[..., 2:3] * 0, unit[..., 3:] * 2 - 1], dim=-1)


def some_model(*, trained: bool = True) -> GpsSit:
    torch.manual_seed(0)
    model = GpsSit(TINY).eval()
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
    with pytest.raises(ValueError, match=r"needs layouts=, \(2, 6, 5\)"):
        model.sample([1, 2])
    with pytest.raises(ValueError, match=r"layouts must be \(N, 5\) or \(3, N, 5\)"):
        model.sample([1, 2, 3], layouts=some_layouts())
    with pytest.raises(ValueError, match="method must be"):
        model.sample([1, 2], layouts=some_layouts(), method="dopri5")
    with pytest.raises(ValueError, match="at least 2 steps"):
        model.sample([1, 2], layouts=some_layouts(), num_steps=1)
    spec = load_object(architectures()["titok_nano"].model)(architectures()["titok_nano"].config).token_spec
    with pytest.raises(ValueError, match="no pair"):
        model.check_pair(spec)
