"""GPSToken: Gaussians in any number, on pictures of any number of tiles."""

import pytest
import torch

from tests.helpers import tiny
from tokzoo.layers.gaussians import region_gaussians, to_picture, to_tiles
from tokzoo.layers.splatting import splat
from tokzoo.tokens import Features, Gaussians, Tokens


def some_images(height: int = 16, width: int = 16, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
@pytest.mark.parametrize("number", [1, 5, 16])
def test_the_number_of_tokens_is_chosen_when_encoding(number: int) -> None:
    tok, images = tiny("gpstoken"), some_images()
    tokens = tok.encode(images, num_tokens=number)
    assert tokens.layout == Gaussians(number) and tokens.geometry.shape == (2, number, 5)
    assert torch.equal(tok.encode(images, **tok.prepare(images, num_tokens=number)).geometry, tokens.geometry)
    assert tok.decode(tokens).shape == images.shape


@torch.no_grad()
def test_larger_pictures_are_tiles_whose_gaussians_lie_on_the_whole() -> None:
    tok, images = tiny("gpstoken"), some_images(32, 48)
    tokens = tok.encode(images)
    assert tokens.num_tokens == 6 * 6 and tokens.extent == (32, 48)
    assert tok.decode(tokens).shape == images.shape
    alone = tok.encode(images[:, :, 16:, 32:])  # the last tile
    apart = to_tiles(tokens.geometry, 2, 3)[:, 5]
    torch.testing.assert_close(apart, alone.geometry, atol=1e-5, rtol=1e-5)
    assert bool((tokens.geometry[:, -6:, 3] > 1 / 3).all() and (tokens.geometry[:, -6:, 4] > 0).all())


@torch.no_grad()
def test_with_seams_every_tile_is_decoded_as_if_alone() -> None:
    tok, images = tiny("gpstoken", seams=True), some_images(16, 32)
    whole = tok.decode(tok.encode(images))
    halves = [tok.decode(tok.encode(images[..., :16])), tok.decode(tok.encode(images[..., 16:]))]
    torch.testing.assert_close(whole, torch.cat(halves, dim=3), atol=1e-4, rtol=1e-4)
    together = tiny("gpstoken")
    assert not torch.allclose(together.decode(together.encode(images)), whole, atol=1e-3)


@torch.no_grad()
def test_tokens_are_in_no_order() -> None:
    tok = tiny("gpstoken")
    tokens = tok.encode(some_images())
    order = torch.randperm(tokens.num_tokens, generator=torch.Generator().manual_seed(0))
    mixed = Tokens(
        layout=tokens.layout,
        latents=tokens.latents[:, order],
        geometry=tokens.geometry[:, order],
        extent=tokens.extent,
    )
    torch.testing.assert_close(tok.decode(mixed), tok.decode(tokens), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_regions_given_in_another_order_give_the_same_tokens_in_that_order() -> None:
    tok, images = tiny("gpstoken"), some_images()
    regions = tok.prepare(images)["regions"]
    tokens, turned = tok.encode(images, regions=regions), tok.encode(images, regions=regions.flip(1))
    torch.testing.assert_close(turned.latents, tokens.latents.flip(1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_moving_a_gaussian_moves_what_it_paints() -> None:
    tok = tiny("gpstoken")
    tokens = tok.encode(some_images())
    first = torch.cat([tokens.geometry[:1, :1, :3] * 0 + 0.2, torch.zeros(1, 1, 2)], dim=-1)
    first[..., 2] = 0.0
    moved = first + torch.tensor([0.0, 0.0, 0.0, 0.5, -0.25])
    places = torch.linspace(-1, 1, 65)
    for geometry, (x, y) in ((first, (0.0, 0.0)), (moved, (0.5, -0.25))):
        painted = splat(geometry, torch.ones(1, 1, 1), (65, 65))[0, 0]
        assert float((painted.sum(0) * places).sum() / painted.sum()) == pytest.approx(x, abs=0.02)
        assert float((painted.sum(1) * places).sum() / painted.sum()) == pytest.approx(y, abs=0.02)


def test_a_region_becomes_the_gaussian_that_lies_on_it() -> None:
    left = region_gaussians(torch.tensor([[[0, 0, 127, 255]]]), (256, 256))
    wanted = torch.tensor([[[127 / 256 * 2 / 3, 255 / 256 * 2 / 3, 0.0, 127 / 255 - 1, 0.0]]])
    torch.testing.assert_close(left, wanted, atol=1e-6, rtol=1e-6)
    pieces = torch.rand(2, 6, 4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(to_tiles(to_picture(pieces, 2, 3), 2, 3), pieces)


@torch.no_grad()
def test_a_plain_picture_is_encoded() -> None:
    tok = tiny("gpstoken")
    for value in (0.0, 0.5, 1.0):
        tokens = tok.encode(torch.full((1, 3, 16, 16), value))
        assert bool(tokens.geometry.isfinite().all() and tok.decode(tokens).isfinite().all())


def test_bad_requests_are_refused_by_name() -> None:
    tok, images = tiny("gpstoken"), some_images()
    tokens = tok.encode(images)
    with pytest.raises(ValueError, match=r"1 to 64 regions .*got 65"):
        tok.encode(images, num_tokens=65)
    with pytest.raises(ValueError, match="not both"):
        tok.encode(images, num_tokens=3, **tok.prepare(images))
    with pytest.raises(ValueError, match="whole pixels of a tile, 0 to 15"):
        tok.encode(images, regions=torch.full((2, 3, 4), 16))
    with pytest.raises(ValueError, match="as many in each of 2 tiles"):
        tok.encode(some_images(16, 32), regions=torch.zeros(2, 3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"geometry \(B, 6, 5\)"):
        tok.decode(Tokens(layout=tokens.layout, latents=tokens.latents))
    with pytest.raises(ValueError, match="12 of 12 Gaussians hold NaN"):
        tok.decode(Tokens(layout=tokens.layout, latents=tokens.latents, geometry=tokens.geometry * torch.nan))
    with pytest.raises(ValueError, match="96 NaN values"):
        tok.encode(images.index_fill(3, torch.tensor([5]), torch.nan))
    with pytest.raises(ValueError, match=r"multiples of 16; got 8x8\. The nearest fit is 16x16"):
        tok.encode(some_images(8, 8))
    with pytest.raises(ValueError, match="need geometry"):
        tok.decoder(Features(tokens.latents, tokens.layout))
    with pytest.raises(ValueError, match="multiples of 16"):
        tok.decode(Tokens(layout=tokens.layout, latents=tokens.latents, geometry=tokens.geometry, extent=(16, 20)))


DEGENERATE = {
    "without extent": (0.0, 0.0, 0.0, 0.0, 0.0),
    "huge": (1e9, 1e9, 0.0, 0.0, 0.0),
    "a line": (0.2, 0.2, 1.0, 0.0, 0.0),
    "beyond a line": (0.2, 0.2, -7.0, 0.0, 0.0),
    "off screen": (0.1, 0.1, 0.0, 40.0, -40.0),
}


@pytest.mark.parametrize("kind", DEGENERATE)
def test_degenerate_gaussians_give_finite_pixels_and_gradients(kind: str) -> None:
    tok = tiny("gpstoken")
    geometry = torch.tensor(DEGENERATE[kind]).repeat(1, 6, 1).requires_grad_()
    latents = torch.ones(1, 6, 4, requires_grad=True)
    images = tok.decode(Tokens(layout=Gaussians(6), latents=latents, geometry=geometry), clamp=False)
    images.square().sum().backward()
    assert bool(images.isfinite().all() and geometry.grad.isfinite().all() and latents.grad.isfinite().all())
    assert all(bool(value.grad.isfinite().all()) for value in tok.decoder.parameters())


def test_numbers_of_tokens_are_drawn_from_the_generator_for_training() -> None:
    tok, images = tiny("gpstoken"), some_images()
    seeds = range(12)
    drawn = [tok.training_draws(images, torch.Generator().manual_seed(seed))["regions"].shape[1] for seed in seeds]
    again = [tok.training_draws(images, torch.Generator().manual_seed(seed))["regions"].shape[1] for seed in seeds]
    assert drawn == again and set(drawn) == {4, 6}
    with pytest.raises(ValueError, match=r"1 to 64, .* got 99"):
        tiny("gpstoken", training_lengths=(4, 99))


def test_it_learns_one_batch() -> None:
    tok = tiny("gpstoken").train()
    coarse = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")
    given, losses = tok.prepare(images), []
    optimizer = torch.optim.Adam(tok.parameters(), lr=3e-3)
    for _ in range(31):
        loss = (tok(images, **given).reconstruction - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
